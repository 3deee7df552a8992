"""Engines for asyncio.

Invariants:
- All objects of an engine belong to the loop in which it was opened, and are used in its thread alone.
- It is closed once, whoever is cancelled meanwhile: the queue of outcomes is closed behind the engine, never before.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from types import TracebackType
from typing import Any, Mapping

from .. import _engine
from .._engine import Topic
from .._native import Receipt
from .._threads import Checker
from .._values import Option, Start, Time
from ..errors import RinglaneError
from ._outcomes import Outcomes
from ._polling import Consumer, Member, _Polling
from ._producer import Producer

#: As the library has it.
_BUFFER_BYTES = 16 << 20

_run = asyncio.to_thread


class Engine:
    """A directory that is open, for the running loop; `open` and `open_read_only` make one."""

    def __init__(self, engine: _engine.Engine, buffer_bytes_max: int) -> None:
        #: The same engine without asyncio. Its calls block.
        self.sync_engine = engine
        self.path = engine.path
        self.read_only = engine.read_only
        self._loop = asyncio.get_running_loop()
        self._outcomes = Outcomes(self._loop, buffer_bytes_max)
        self._polled: weakref.WeakSet[_Polling[Any]] = weakref.WeakSet()
        #: Ends when the engine is closed, once somebody has begun that.
        self._closing: asyncio.Future[None] | None = None

    # ----- topics -----

    async def create_topic(
        self, name: str, partitions: int = 1, *, exist_ok: bool = False, **given: Option
    ) -> Topic:
        """See `ringlane.Engine.create_topic`."""
        return await _run(self.sync_engine.create_topic, name, partitions, exist_ok=exist_ok, **given)

    def topic(self, name: str) -> Topic:
        """A topic that is there."""
        return self.sync_engine.topic(name)

    def topics(self) -> list[dict[str, Any]]:
        return self.sync_engine.topics()

    async def delete_topic(self, name: str) -> None:
        await _run(self.sync_engine.delete_topic, name)

    # ----- producers -----

    async def producer(
        self,
        name: str | None = None,
        durability: str | None = None,
        max_block: Time | None = None,
        **given: Option,
    ) -> Producer:
        """See `ringlane.Engine.producer`; a send waits for room here, and does not block, however long that takes."""
        return Producer(self, await _run(self.sync_engine.producer, name, durability, max_block, **given))

    def producers(self) -> list[dict[str, Any]]:
        return self.sync_engine.producers()

    async def delete_producer(self, name: str) -> None:
        await _run(self.sync_engine.delete_producer, name)

    async def publish_withheld(self, receipt: Receipt | tuple[int, int, int]) -> None:
        await _run(self.sync_engine.publish_withheld, receipt)

    # ----- consumers and groups -----

    def consumer(self, **given: Option) -> Consumer:
        """See `ringlane.Engine.consumer`."""
        return Consumer(self, self.sync_engine.consumer(**given))

    async def create_group(
        self,
        name: str,
        kind: str = "shared",
        topics: Mapping[str, Start] | None = None,
        *,
        exist_ok: bool = False,
        **given: Option,
    ) -> None:
        """See `ringlane.Engine.create_group`."""
        await _run(self.sync_engine.create_group, name, kind, topics, exist_ok=exist_ok, **given)

    def describe_group(self, name: str) -> dict[str, Any]:
        return self.sync_engine.describe_group(name)

    def groups(self) -> list[dict[str, Any]]:
        return self.sync_engine.groups()

    async def reset_group(self, name: str, topic: str, partition: int, place: Start) -> int:
        return await _run(self.sync_engine.reset_group, name, topic, partition, place)

    async def delete_group(self, name: str) -> None:
        await _run(self.sync_engine.delete_group, name)

    async def redrive(
        self, group: str, *, topic: str | None = None, partition: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """See `ringlane.Engine.redrive`."""
        return await _run(self.sync_engine.redrive, group, topic=topic, partition=partition, offset=offset)

    def join(self, group: str, **given: Option) -> Member:
        """See `ringlane.Engine.join`."""
        return Member(self, self.sync_engine.join(group, **given))

    # ----- transactions -----

    def transactions(self, with_ended: bool = False) -> list[dict[str, Any]]:
        return self.sync_engine.transactions(with_ended)

    def transaction(self, id: str) -> dict[str, Any]:
        return self.sync_engine.transaction(id)

    async def commit_transaction(self, id: str) -> None:
        await _run(self.sync_engine.commit_transaction, id)

    async def roll_back_transaction(self, id: str) -> None:
        await _run(self.sync_engine.roll_back_transaction, id)

    async def register_checker(
        self,
        name: str,
        checker: Checker,
        *,
        first: Time | None = None,
        interval: Time | None = None,
        checks_max: int | None = None,
    ) -> None:
        """See `ringlane.Engine.register_checker`: the checker is a plain function, called on a thread of its own."""
        register = self.sync_engine.register_checker
        await _run(register, name, checker, first=first, interval=interval, checks_max=checks_max)

    async def unregister_checker(self, name: str) -> None:
        await _run(self.sync_engine.unregister_checker, name)

    # ----- the engine itself -----

    def stats(self) -> dict[str, Any]:
        return self.sync_engine.stats()

    def recovery(self) -> dict[str, Any]:
        return self.sync_engine.recovery()

    async def audit(
        self, *topics: str, producers_max: int | None = None, missing_ranges_max: int | None = None
    ) -> dict[str, Any]:
        """See `ringlane.Engine.audit`."""
        audit = self.sync_engine.audit
        return await _run(audit, *topics, producers_max=producers_max, missing_ranges_max=missing_ranges_max)

    async def sync(self) -> None:
        """Waits until everything that was sent before is on the device, buffered records too."""
        await self._outcomes.turn()
        await _run(self.sync_engine.sync)

    async def refresh(self) -> None:
        """See `ringlane.Engine.refresh`."""
        await _run(self.sync_engine.refresh)

    def accept_clock(self) -> None:
        """See `ringlane.Engine.accept_clock`."""
        self.sync_engine.accept_clock()

    @property
    def closed(self) -> bool:
        return self._closing is not None or self.sync_engine.closed

    async def close(self) -> None:
        """Closes it: what was sent is written and flushed, and every send has its outcome. Everybody who calls it waits
        for the same end. Cancelled, it is no longer waited for, and the engine is closed all the same.
        """
        if self._closing is None:
            self._closing = self._loop.create_future()
            for polled in list(self._polled):
                with contextlib.suppress(RinglaneError):
                    polled.close()
            # What still waits for room goes first; there is room again as outcomes arrive.
            self._outcomes.last(self._close_in_thread)
        await asyncio.shield(self._closing)

    def _close_in_thread(self) -> None:
        try:
            # No task: nobody can cancel it.
            ended = self._loop.run_in_executor(None, self.sync_engine.close)
        except RuntimeError as error:
            self._end_closing(error)
        else:
            ended.add_done_callback(lambda ended: self._end_closing(ended.exception()))

    def _end_closing(self, error: BaseException | None) -> None:
        """The thread has ended: all outcomes are there, and are told."""
        assert self._closing is not None
        try:
            self._outcomes.close()
        finally:
            if error is None:
                self._closing.set_result(None)
            else:
                self._closing.set_exception(error)

    async def __aenter__(self) -> "Engine":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


class _Opening:
    """What `open` gives: await it, or use it in `async with`."""

    def __init__(self, path: str | os.PathLike[str], given: Mapping[str, Option], read_only: bool) -> None:
        self._path, self._given, self._read_only = path, given, read_only
        self._engine: Engine | None = None

    async def _open(self) -> Engine:
        opening = _engine.open_read_only if self._read_only else _engine.open
        bytes_max = self._given.get("buffer_bytes_max")
        engine = await _run(opening, self._path, **self._given)
        return Engine(engine, bytes_max if isinstance(bytes_max, int) else _BUFFER_BYTES)

    def __await__(self) -> Any:
        return self._open().__await__()

    async def __aenter__(self) -> Engine:
        self._engine = await self._open()
        return self._engine

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._engine is not None:
            await self._engine.close()


def open(path: str | os.PathLike[str], **given: Option) -> _Opening:
    """Opens a directory: `async with aio.open("data") as engine`, or `engine = await aio.open("data")`."""
    return _Opening(path, given, False)


def open_read_only(path: str | os.PathLike[str], **given: Option) -> _Opening:
    """Opens a directory to be read, also while another process has it open for writing."""
    return _Opening(path, given, True)


__all__ = ["Engine", "open", "open_read_only"]
