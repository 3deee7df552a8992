"""What an asynchronous send comes to: a future as `concurrent.futures` has it."""

from __future__ import annotations

import concurrent.futures
from typing import TypeVar

from . import _processes
from .errors import FATAL, Forked

T = TypeVar("T")


class Future(concurrent.futures.Future[T]):
    """The outcome of what was sent. It cannot be cancelled: a record that was handed over goes its way.

    Works with `concurrent.futures.wait`, `as_completed` and `asyncio.wrap_future`. In a child of fork a future of the
    parent's that has no outcome yet raises `Forked`.
    """

    def __init__(self) -> None:
        super().__init__()
        self._generation = _processes.generation

    def cancel(self) -> bool:
        return False

    def done(self) -> bool:
        # In a child of fork nobody may hold the lock for good.
        return self._state == "FINISHED"

    def running(self) -> bool:
        return self._state != "FINISHED"

    def result(self, timeout: float | None = None) -> T:
        self._check_process()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check_process()
        return super().exception(timeout)

    def _check_process(self) -> None:
        if self._generation != _processes.generation and self._state != "FINISHED":
            raise Forked("the outcome arrives in the process that this one was forked from", flags=FATAL)


class BatchFuture(Future[int]):
    """The outcome of many records: how many there were, when all of them are there."""

    def __init__(self) -> None:
        super().__init__()
        self._parts = 0
        self._count = 0
        self._failure: BaseException | None = None
        self._handed_over = False

    def _add_part(self) -> "_Part":
        with self._condition:
            self._parts += 1
        return _Part(self)

    def _end_of_parts(self) -> None:
        """All was handed over."""
        with self._condition:
            self._handed_over = True
            done = self._parts == 0
        if done:
            self._end()

    def _part_done(self, count: int, failure: BaseException | None) -> None:
        with self._condition:
            self._parts -= 1
            self._count += count
            self._failure = self._failure or failure
            done = self._handed_over and self._parts == 0
        if done:
            self._end()

    def _end(self) -> None:
        if self._failure is not None:
            self.set_exception(self._failure)
        else:
            self.set_result(self._count)


class _Part:
    """One hand-over of a batch."""

    __slots__ = ("_batch",)

    def __init__(self, batch: BatchFuture) -> None:
        self._batch = batch

    def set_result(self, count: int) -> None:
        self._batch._part_done(count, None)

    def set_exception(self, failure: BaseException) -> None:
        self._batch._part_done(0, failure)
