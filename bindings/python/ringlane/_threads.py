"""The threads of an engine: one that brings outcomes, and one for each checker.

Invariants:
- A thread begins when it is first needed, and is joined when the engine is closed. None is a daemon.
- A thread holds the queue, and not the engine: an engine that nobody has any more is collected.
- A program that ends without closing its engine is not held up: when only threads of this package are left, they go.
"""

from __future__ import annotations

import logging
import threading
import weakref
from typing import Callable

from . import _native, _processes
from ._futures import brings_outcomes
from ._values import Outcome
from .errors import RinglaneError

log = logging.getLogger("ringlane")

#: How often a thread looks whether it is the last one, after the main thread has ended.
_LINGER_MS = 50
_all: "weakref.WeakSet[_Worker]" = weakref.WeakSet()


class HalfTransaction:
    """A transaction that a checker is asked of."""

    __slots__ = ("id", "prepared_ms", "records", "unknown")

    def __init__(self, id: str, prepared_ms: int, records: int, unknown: int) -> None:
        self.id = id
        #: When it was prepared, ms since 1970-01-01 UTC.
        self.prepared_ms = prepared_ms
        #: How many records it has.
        self.records = records
        #: How often the answer was UNKNOWN, in this opening.
        self.unknown = unknown

    def __repr__(self) -> str:
        return f"<HalfTransaction {self.id!r} records={self.records}>"


Checker = Callable[[HalfTransaction], Outcome]


def _others_are_there() -> bool:
    """Whether a thread of the application's goes on, that would keep the process."""
    ours = {worker.ident for worker in list(_all)}
    return any(
        thread.is_alive() and not thread.daemon and thread.ident not in ours for thread in threading.enumerate()
    )


class _Worker(threading.Thread):
    """Drains a queue until it is told to stop."""

    def __init__(self, name: str, queue: _native.Queue) -> None:
        super().__init__(name=name, daemon=False)
        self.queue = queue
        self.is_stopping = False
        #: It closes the queue when it ends, as whoever would have done it runs on it.
        self.closes_queue = False
        self.generation = _processes.generation
        _all.add(self)

    def take(self, timeout_ms: int) -> bool:
        """Works off what there is; False: there was nothing, or it was woken."""
        raise NotImplementedError

    def run(self) -> None:
        try:
            self._drain()
        finally:
            if self.closes_queue:
                self.queue.close()

    def _drain(self) -> None:
        waits = -1 if _tells_of_exit else 1000
        while True:
            try:
                worked = self.take(waits)
            except RinglaneError:
                # The queue is closed, or this is a child of fork.
                return
            if worked:
                continue
            if self.is_stopping:
                return
            if not threading.main_thread().is_alive():
                waits = _LINGER_MS
                if self.queue.pending == 0 and not _others_are_there():
                    return

    def stop(self) -> None:
        """Has it work off what is there, waits until it has, and closes the queue."""
        if _processes.is_other(self.generation):
            return
        self.is_stopping = True
        if self is threading.current_thread():
            # A callback closes the engine. What has an outcome is still told.
            self.closes_queue = True
            return
        self.queue.wake()
        if self.is_alive():
            self.join()
        self.queue.close()


class _Completions(_Worker):
    def run(self) -> None:
        brings_outcomes.here = True
        super().run()

    def take(self, timeout_ms: int) -> bool:
        return self.queue.deliver(0 if self.is_stopping else timeout_ms) > 0


class Completions:
    """Where outcomes of asynchronous sends arrive: a queue, and a thread that is there once it is needed."""

    def __init__(self) -> None:
        self.queue = _native.queue()
        self._generation = _processes.generation
        self._lock = threading.Lock()
        self._worker: _Completions | None = None

    def begin(self) -> None:
        """Has the thread there."""
        if _processes.is_other(self._generation):
            # The lock may be held for good, and what is sent is refused anyway.
            return
        with self._lock:
            if self._worker is None:
                worker = _Completions("ringlane-completions", self.queue)
                worker.start()
                self._worker = worker

    def close(self) -> None:
        """After the engine was closed: brings all outcomes, ends the thread, and closes the queue."""
        if self._worker is not None:
            self._worker.stop()
        else:
            self.queue.close()


class CheckerThread(_Worker):
    """Asks a checker of the application's, one transaction after the other."""

    def __init__(self, name: str, checker: Checker) -> None:
        super().__init__(f"ringlane-checker-{name}", _native.queue())
        self._of = name
        self._checker = checker

    def take(self, timeout_ms: int) -> bool:
        questions = self.queue.checks(0 if self.is_stopping else timeout_ms)
        if self.is_stopping:
            # What is asked while the engine closes is asked again after the next opening.
            return False
        for number, id, prepared_ms, records, unknown in questions or ():
            answer = self._ask(HalfTransaction(id, prepared_ms, records, unknown))
            try:
                self.queue.answer(number, answer.value)
            except RinglaneError:
                # Nobody waits for it any more: it was decided, or the engine is closed.
                pass
        return bool(questions)

    def _ask(self, half: HalfTransaction) -> Outcome:
        try:
            answer = self._checker(half)
        except Exception:
            log.exception("the checker %r failed for the transaction %r; it is asked again", self._of, half.id)
            return Outcome.UNKNOWN
        if not isinstance(answer, Outcome):
            log.error("the checker %r answered %r, which is no Outcome; it is asked again", self._of, answer)
            return Outcome.UNKNOWN
        return answer


def _main_thread_ends() -> None:
    """Everybody looks from now on whether they are the last."""
    for worker in list(_all):
        if not _processes.is_other(worker.generation):
            worker.queue.wake()


# What concurrent.futures uses as well: it is called before Python waits for its threads.
_register = getattr(threading, "_register_atexit", None)
_tells_of_exit = _register is not None
if _register is not None:
    _register(_main_thread_ends)

__all__ = ["Checker", "CheckerThread", "Completions", "HalfTransaction"]
