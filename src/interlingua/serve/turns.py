"""A bounded number of requests begins in one round of the event loop; the next ones wait in their order.

So a crowd that sends at the same moment does not hold up whatever else the loop has to do: the answers about health.
"""

from __future__ import annotations

import asyncio
from collections import deque

MOST = 16
"""requests that begin in one round: a few milliseconds"""


class Turns:
    """See the module."""

    def __init__(self, most: int = MOST) -> None:
        self.most, self._left = most, most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._counting = False

    async def take(self) -> None:
        """Waits until it is this request's turn."""
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._round)
        if self._left:
            self._left -= 1
            return
        mine = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        await mine

    def _round(self) -> None:
        """A new round of the loop: the turn of those that wait, and of as many as are left over."""
        self._left = self.most
        while self._waiting and self._left:
            mine = self._waiting.popleft()
            if not mine.done():  # else its client has gone
                mine.set_result(None)
                self._left -= 1
        self._counting = self._left < self.most
        if self._counting:
            asyncio.get_running_loop().call_soon(self._round)
