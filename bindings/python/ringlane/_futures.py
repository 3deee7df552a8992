"""What an asynchronous send comes to: a future as `concurrent.futures` has it."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TypeVar

from . import _processes
from .errors import FATAL, RETRIABLE, UNKNOWN_OUTCOME, Forked, RinglaneError

T = TypeVar("T")

#: Set in threads that bring outcomes.
brings_outcomes = threading.local()


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
        self._check_wait()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._check_wait()
        return super().exception(timeout)

    def _check_wait(self) -> None:
        if self._state != "FINISHED" and getattr(brings_outcomes, "here", False):
            raise RuntimeError(
                "this is a callback, on the thread that brings outcomes: it would wait for itself; add a callback to this "
                "future too, or wait on another thread"
            )
        if _processes.is_other(self._generation) and self._state != "FINISHED":
            raise Forked("the outcome arrives in the process that this one was forked from", flags=FATAL)


class BatchFuture(Future[int]):
    """The outcome of many records: how many there were, when all of them are there.

    They went in parts. Where one of these failed, `result` raises the error of the first that did, and its `done` says
    how many records the parts had that did not fail.
    """

    def __init__(self) -> None:
        super().__init__()
        self._parts = 0
        self._open_parts = 0
        self._count = 0
        self._failures: dict[int, BaseException] = {}
        self._handed_over = False

    def _add_part(self) -> "_Part":
        with self._condition:
            self._parts += 1
            self._open_parts += 1
            return _Part(self, self._parts)

    def _end_of_parts(self) -> None:
        """All was handed over."""
        with self._condition:
            self._handed_over = True
            done = self._open_parts == 0
        if done:
            self._end()

    def _part_done(self, part: int, count: int, failure: BaseException | None) -> None:
        with self._condition:
            self._open_parts -= 1
            self._count += count
            if failure is not None:
                self._failures[part] = failure
            done = self._handed_over and self._open_parts == 0
        if done:
            self._end()

    def _end(self) -> None:
        if self._failures:
            self.set_exception(in_parts(self._failures[min(self._failures)], self._count))
        else:
            self.set_result(self._count)


class _Part:
    """One hand-over of a batch."""

    __slots__ = ("_batch", "_number")

    def __init__(self, batch: BatchFuture, number: int) -> None:
        self._batch = batch
        self._number = number

    def set_result(self, count: int) -> None:
        self._batch._part_done(self._number, count, None)

    def set_exception(self, failure: BaseException) -> None:
        self._batch._part_done(self._number, 0, failure)


def in_parts(failure: BaseException, done: int) -> BaseException:
    """The error of one part as that of all: `done` records of other parts are there."""
    if isinstance(failure, RinglaneError):
        failure.done = done
        if done > 0:
            # To send all of it again would send these twice.
            failure.flags = failure.flags & ~RETRIABLE | UNKNOWN_OUTCOME
    elif done > 0:
        failure.add_note(f"{done} records of the same send_many are there")
    return failure
