"""A finished run as tools of the Model Context Protocol, for assistants: they ask, and change nothing.

Answers are facts of the run with ids; what is wrong with a call is said in words, which the assistant reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import wraps
from inspect import signature
from threading import Lock
from typing import TYPE_CHECKING, Annotated, Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field, ValidationError

from interlingua import __version__
from interlingua.errors import InterlinguaError, unknown
from interlingua.serve.arguments import in_words

if TYPE_CHECKING:
    from interlingua.recommender import Recommender

MOST = 100
"""items of one answer: an assistant reads all of it"""

OTHER_NAMES = {
    "filters": ("where",), "filter": ("where",), "user_id": ("user",), "item_id": ("item",), "item_ids": ("item",),
    "query": ("words", "text"), "q": ("words", "text"), "text": ("words",), "words": ("text",),
}  # fmt: skip
"""name of an argument over HTTP, or a usual one -> ours"""

K = Annotated[int, Field(ge=1, le=MOST, description="how many")]
Ids = Annotated[list[str] | None, Field(description="item ids that somebody had, oldest first; [] is a new user")]
User = Annotated[str | None, Field(description="id of a user whom the run knows")]
Text = Annotated[str | None, Field(description="what is looked for, in words; alone, or beside a user or a history")]
Where = Annotated[
    str | None,
    Field(description="conditions on columns of the items: 'price < 20 and \"Comedy\" in categories and not sold_out'"),
]
Item = Annotated[str, Field(description="item id; search finds it")]
NewShare = Annotated[float, Field(ge=0, le=1, description="at least this share are items that nobody has had yet")]


class Tools(MCPServer):
    """The SDK's server, which says in words what is wrong with a call.

    By itself it passes over arguments that a tool does not have, and of others repeats what its library says.
    """

    arguments: Mapping[str, Sequence[str]] = {}
    """tool -> its arguments"""

    async def call_tool(self, name: str, arguments: dict[str, Any], context: Any = None) -> Any:
        """See :class:`mcp.server.mcpserver.MCPServer`."""
        if name not in self.arguments:
            raise ToolError(unknown("tool", name, self.arguments))
        for given in arguments:
            if given not in self.arguments[name]:
                own = next((word for word in OTHER_NAMES.get(given, ()) if word in self.arguments[name]), None)
                if own is not None:
                    raise ToolError(f"unknown argument {given!r} in the tool {name}; did you mean {own!r}?")
                raise ToolError(unknown("argument", given, self.arguments[name], f"the tool {name}"))
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            cause = error.__cause__  # what the tool said itself, or why it was not asked
            if isinstance(cause, ValidationError):
                raise ToolError(in_words(name, cause)) from None
            raise (cause if isinstance(cause, ToolError) else error) from None


def server_of(recommender: Recommender) -> MCPServer:
    """The server over one recommender; ``run()`` speaks on stdin and stdout."""
    columns = ", ".join(recommender.session.data.catalogue.named)
    server = Tools(
        "interlingua",
        version=__version__,
        instructions=(
            f"Recommendations from a catalogue of {recommender.train.num_items:,} items. Items have the columns "
            f"{columns}. Say of an item only what these tools return."
        ),
        log_level="WARNING",
    )
    lock = Lock()
    """the model is used by one thread at a time"""

    def tool(work: Callable[..., dict[str, Any]]) -> None:
        @wraps(work)
        def answered(**given: Any) -> dict[str, Any]:
            try:
                with lock:
                    return work(**given)
            except InterlinguaError as error:
                raise ToolError(str(error)) from None

        hints = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
        server.tool(annotations=hints)(answered)

    works = tools_of(recommender)
    for work in works:
        tool(work)
    server.arguments = {work.__name__: tuple(signature(work).parameters) for work in works}
    return server


def tools_of(recommender: Recommender) -> list[Callable[..., dict[str, Any]]]:
    """The tools; names, arguments and docstrings are what an assistant sees."""

    def recommend(
        user: User = None, history: Ids = None, text: Text = None, k: K = 10, where: Where = None,
        exclude: Ids = None, new_share: NewShare = 0.0,
    ) -> dict[str, Any]:  # fmt: skip
        """The best items for a user, for a history of item ids, for words, or for words beside one of these."""
        made = recommender.answer(
            user, history, k, text=text, filters=where, exclude=exclude or [], new_share=new_share
        )
        return {"items": [asdict(one) for one in made.items], "notes": list(made.notes)}

    def similar(item: Item, k: K = 10, where: Where = None) -> dict[str, Any]:
        """The items most like one, by the cosine of their vectors, of their texts, or of who had them (``space``)."""
        found = recommender.like(item, k, filters=where)
        return {"items": [one._asdict() for one in found.items], "space": found.space, "notes": found.notes}

    def explain(item: Item, user: User = None, history: Ids = None) -> dict[str, Any]:
        """Why an item fits a user or a history: a sentence, and the history's items by their measured influence."""
        why = recommender.explain(item, user, history)
        return {"sentence": why.sentence, "support": [each._asdict() for each in why.support], "basis": why.basis.value}

    def why_not(
        item: Item, user: User = None, history: Ids = None, text: Text = None, k: K = 10, where: Where = None
    ) -> dict[str, Any]:
        """Why an item is not among the best k: what keeps it out, its places and scores, and what would bring it in."""
        return recommender.why_not(item, user, history, k, text=text, filters=where).facts()

    def search(words: Annotated[str, Field(min_length=1, max_length=2000)], k: K = 10) -> dict[str, Any]:
        """Items by words: those whose titles have all of them, then, where texts are read, those most like them."""
        found = recommender.find(words, k)
        return {"items": [{"item_id": one.item_id, "title": one.title, "found_by": by} for one, by in found]}

    return [recommend, similar, explain, why_not, search]
