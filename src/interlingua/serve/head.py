"""HEAD wherever GET is: the same status and headers, and no body."""

from __future__ import annotations

from interlingua.serve.asgi import App, Message, Receive, Scope, Send


class Headed:
    """A layer: the application sees GET, the client gets what comes before the body."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's message."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        request = dict(scope, method="GET")  # the server reads its own scope again: there it stays HEAD
        try:
            await self.app(request, receive, bare)
        finally:
            scope.update(request, method="HEAD")  # who it was and which route answered, for the log
