"""Where the outcomes of sends arrive in a loop, and where sends wait that would find the buffer full.

Invariants:
- Sends are handed over in the order in which they were made; one that has to wait has been taken already.
- No hand-over that needs no more than half of the send buffer finds it full: while more than the other half is used, all
  wait here.
- Behind the last one nothing is taken any more, and the queue is closed only when every send has its outcome.
"""

from __future__ import annotations

import asyncio
import collections
from typing import Callable

from .. import _native
from ..errors import FATAL, Closed

#: Of the send buffer so much is used.
_BUFFER_PART = 2


class Outcomes:
    """A completion queue whose descriptor the loop watches."""

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer_bytes_max: int) -> None:
        self.queue = _native.queue()
        self.bytes_max = buffer_bytes_max // _BUFFER_PART
        #: Sends that wait for room, in their order.
        self.waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._loop = loop
        #: Nothing more is taken; the last one was called.
        self._is_ending = False
        self._has_ended = False
        loop.add_reader(self.queue.fileno(), self._on_events)

    def _on_events(self) -> None:
        self.queue.deliver(0)
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self.waiting and self.queue.pending_bytes <= self.bytes_max and not self._has_ended:
            self.waiting.popleft()()

    def in_turn(self, call: Callable[[], None]) -> None:
        """Calls something when there is room, and all that waits has gone before it; perhaps at once. It must not
        raise.
        """
        if self._is_ending:
            raise Closed("the engine is closed", flags=FATAL)
        self.waiting.append(call)
        self._send_waiting()

    def turn(self) -> "asyncio.Future[None]":
        """Ends when all that waits now was handed over, and there is room again."""
        future: asyncio.Future[None] = self._loop.create_future()

        def end() -> None:
            if not future.done():
                future.set_result(None)

        self.in_turn(end)
        return future

    def last(self, call: Callable[[], None]) -> None:
        """Calls something in its turn; nothing comes behind it."""

        def end() -> None:
            self._has_ended = True
            # Who looks whether somebody waits finds it, and goes the way that is closed.
            self.waiting.append(end)
            call()

        self.in_turn(end)
        self._is_ending = True

    def close(self) -> None:
        """When the engine was closed: tells the last outcomes."""
        self._loop.remove_reader(self.queue.fileno())
        while self.queue.deliver(0) > 0:
            pass
        self.queue.close()
        self.waiting.clear()


__all__ = ["Outcomes"]
