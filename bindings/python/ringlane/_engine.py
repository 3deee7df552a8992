"""Engines and topics.

Invariants:
- Closing an engine closes what was made of it, waits until all that was sent is on the device and every future has its
  outcome, and joins the threads of this package.
- A topic that is named is looked up once; if it was deleted and made anew, it is looked up again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import warnings
import weakref
from types import TracebackType
from typing import Any, Mapping, NamedTuple, Protocol, TypeVar

from . import _native, _processes, errors
from ._native import Receipt
from ._polling import Consumer, Member
from ._sending import Producer
from ._threads import Checker, CheckerThread, Completions
from ._values import Option, Start, Time, options, parsed, start, start_text, text
from .errors import GroupExists, TopicExists

_native.setup(
    errors.of_status,
    (asyncio.InvalidStateError, concurrent.futures.InvalidStateError),
    threading.main_thread().ident or 0,
)

_REDRIVE_ALL, _REDRIVE_LETTER, _REDRIVE_RECORD = 1, 2, 3


class _Closeable(Protocol):
    def close(self) -> None: ...


C = TypeVar("C", bound=_Closeable)


class Offsets(NamedTuple):
    """Which offsets a partition has."""

    #: The first one that is kept.
    first: int
    #: The one behind the last that is visible.
    next: int


class Topic:
    """A topic that is there. It needs not be closed."""

    def __init__(self, engine: "Engine", native: _native.Topic) -> None:
        self._engine = engine
        self._native = native

    @property
    def name(self) -> str:
        return self._native.name

    @property
    def partitions(self) -> int:
        return self._native.partitions()

    def offsets(self, partition: int) -> Offsets:
        """Which offsets a partition has."""
        return Offsets(*self._native.offsets(partition))

    def delete_records(self, partition: int, before_offset: int) -> int:
        """Gives up the records below an offset; says which is the first that is kept."""
        return self._engine._native.delete_records(self._native, partition, before_offset)

    def set_retention(self, **given: Option) -> None:
        """Changes how long records are kept: `retention`, `retention_bytes`, `keep_unfinished`, `drop_finished`."""
        self._engine._native.set_retention(self.name, options(given))

    def delete(self) -> None:
        """Deletes the topic with all its records."""
        self._engine.delete_topic(self.name)

    def __repr__(self) -> str:
        return f"<Topic {self.name!r}>"


class Engine:
    """A directory that is open. Any number of threads may use it; `open` and `open_read_only` make one."""

    def __init__(self, path: str, given: Mapping[str, Option], read_only: bool) -> None:
        self._is_closed = True
        self.path = path
        self.read_only = read_only
        self._native = _native.open(path, options(given), read_only)
        self._is_closed = False
        self._generation = _processes.generation
        self._children: weakref.WeakSet[_Closeable] = weakref.WeakSet()
        self._topics: dict[str, Topic] = {}
        self._checkers: dict[str, CheckerThread] = {}
        self._lock = threading.Lock()
        self._has_thread = False
        self._completions = Completions()

    # ----- topics -----

    def create_topic(self, name: str, partitions: int = 1, *, exist_ok: bool = False, **given: Option) -> Topic:
        """Creates a topic. Options: `retention`, `retention_bytes`, `keep_unfinished`, `drop_finished`. With `exist_ok`
        one that is there already is given, with the partitions and options that it has.
        """
        try:
            return Topic(self, self._native.create_topic(name, {"partitions": partitions, **options(given)}))
        except TopicExists:
            if not exist_ok:
                raise
            return self.topic(name)

    def topic(self, name: str) -> Topic:
        """A topic that is there."""
        return Topic(self, self._native.topic(name))

    def topics(self) -> list[dict[str, Any]]:
        """All topics: name, id, partitions, created_ms, retention."""
        result: list[dict[str, Any]] = parsed(self._native.topics())
        return result

    def delete_topic(self, name: str) -> None:
        """Deletes a topic with all its records."""
        self._native.delete_topic(name)
        self._topics.pop(name, None)

    def _topic(self, topic: Topic | str) -> _native.Topic:
        if isinstance(topic, Topic):
            return topic._native
        found = self._topics.get(topic)
        if found is None:
            if not isinstance(topic, str):
                raise TypeError(f"topic must be Topic or str, not {type(topic)!r}")
            found = self._topics[topic] = self.topic(topic)
        return found._native

    def _topic_again(self, topic: Topic | str) -> _native.Topic:
        if isinstance(topic, str):
            self._topics.pop(topic, None)
        return self._topic(topic)

    # ----- producers -----

    def producer(
        self,
        name: str | None = None,
        durability: str | None = None,
        max_block: Time | None = None,
        **given: Option,
    ) -> Producer:
        """A producer. One with a name is the same one after a restart, and who opened the name before is fenced. With
        durability "buffered" a record has its receipt before it is on the device. While the send buffer is full a send
        waits up to `max_block` (that of the engine), and then is `QueueFull`; with 0 it never waits.
        """
        named: dict[str, Option] = {"name": text("name", name), "durability": durability, "max_block": max_block}
        native = self._native.producer(options({**named, **given}))
        return self._child(Producer(self, native, name))

    def producers(self) -> list[dict[str, Any]]:
        """All named producers: name, id, epoch."""
        result: list[dict[str, Any]] = parsed(self._native.producers())
        return result

    def delete_producer(self, name: str) -> None:
        """Forgets a named producer and its numbers."""
        self._native.delete_producer(name)

    def publish_withheld(self, receipt: Receipt | tuple[int, int, int]) -> None:
        """Publishes a delayed record now, before its time."""
        self._native.publish_withheld(*(receipt.id if isinstance(receipt, Receipt) else receipt))

    # ----- consumers and groups -----

    def consumer(self, **given: Option) -> Consumer:
        """A consumer, which reads nothing before it is assigned something. Options: `max_poll_records`,
        `max_poll_bytes`, `read_ahead_bytes_max`, `filter`, `continuity`, `producers_max`, `missing_ranges_max`, `findings_max`.
        """
        return self._child(Consumer(self, self._native.consumer(options(given)), given.get("filter") is not None))

    def create_group(
        self,
        name: str,
        kind: str = "shared",
        topics: Mapping[str, Start] | None = None,
        *,
        exist_ok: bool = False,
        **given: Option,
    ) -> None:
        """Creates a group, "shared" or "ordered", of topics and where each begins: `topics={"orders": "beginning"}`. Options:
        `max_deliveries`, `retry_delay`, `retry_delay_max`, `dead_letter_topic`, `unfinished_max`, `inbox_tokens_max`,
        `inbox_age_max`, `filter`. With `exist_ok` one that is there already stays as it is.
        """
        if topics is not None and not isinstance(topics, Mapping):
            raise TypeError(f'topics must say where each topic begins, {{"orders": "beginning"}}, and is {topics!r}')
        named = [f"{topic}:{start_text(place)}" for topic, place in (topics or {}).items()]
        try:
            self._native.create_group(name, {"kind": kind, "topic": named, **options(given)})
        except GroupExists:
            if not exist_ok:
                raise

    def describe_group(self, name: str) -> dict[str, Any]:
        """What a group reads, its members, and how far it has come in each partition."""
        if name is None:
            raise TypeError("name must be str; groups() describes all of them")
        result: dict[str, Any] = parsed(self._native.describe_group(name))
        return result

    def groups(self) -> list[dict[str, Any]]:
        """All groups."""
        result: list[dict[str, Any]] = parsed(self._native.describe_group(None))
        return result

    def reset_group(self, name: str, topic: str, partition: int, place: Start) -> int:
        """Sends a group elsewhere in a partition; says at which offset it begins."""
        kind, value = start(place)
        return self._native.reset_group(name, topic, partition, kind, value)

    def delete_group(self, name: str) -> None:
        """Deletes a group and its progress; its dead letters stay."""
        self._native.delete_group(name)

    def redrive(
        self, group: str, *, topic: str | None = None, partition: int | None = None, offset: int | None = None
    ) -> dict[str, Any]:
        """Hands records of dead letters out again: all; the dead letter at `partition` and `offset`; or, with `topic`,
        that of the record there. Says what it came to: redriven, unfinished, gone, is_full.
        """
        if (partition is None) != (offset is None) or (topic is not None and partition is None):
            raise ValueError("one dead letter is named by partition and offset; topic alone names none")
        what = _REDRIVE_ALL if partition is None else _REDRIVE_LETTER if topic is None else _REDRIVE_RECORD
        result: dict[str, Any] = parsed(self._native.redrive(group, what, topic, partition or 0, offset or 0))
        return result

    def join(self, group: str, **given: Option) -> Member:
        """Joins a group. Options: `lease`, `max_poll_records`, `max_poll_bytes`, `max_in_flight_records`,
        `max_in_flight_bytes`.
        """
        return self._child(Member(self._native.join(group, options(given)), group))

    # ----- transactions -----

    def transactions(self, with_ended: bool = False) -> list[dict[str, Any]]:
        """All transactions that go on; with those that have ended and are remembered, if wanted."""
        result: list[dict[str, Any]] = parsed(self._native.describe_transaction(None, with_ended))
        return result

    def transaction(self, id: str) -> dict[str, Any]:
        """A transaction: id, state, checker, since_ms, records, acknowledged, checks."""
        if id is None:
            raise TypeError("id must be str; transactions() describes all of them")
        result: dict[str, Any] = parsed(self._native.describe_transaction(id, False))
        return result

    def commit_transaction(self, id: str) -> None:
        """Commits a transaction that is prepared, in whichever process it was."""
        self._native.decide_transaction(id, True)

    def roll_back_transaction(self, id: str) -> None:
        """Rolls back a transaction that is prepared, in whichever process it was."""
        self._native.decide_transaction(id, False)

    def register_checker(
        self,
        name: str,
        checker: Checker,
        *,
        first: Time | None = None,
        interval: Time | None = None,
        checks_max: int | None = None,
    ) -> None:
        """Has a function asked of transactions that name this checker and were left undecided. It is called on a thread
        of its own, and answers with an `Outcome`; an exception counts as UNKNOWN.
        """
        if not callable(checker):
            raise TypeError(f"a checker must be callable, not {checker!r}")
        thread = CheckerThread(name, checker)
        try:
            given = options({"first": first, "interval": interval, "checks_max": checks_max})
            self._native.register_checker(name, given, thread.queue)
        except BaseException:
            thread.queue.close()
            raise
        with self._lock:
            before = self._checkers.get(name)
            self._checkers[name] = thread
        thread.start()
        if before is not None:
            before.stop()

    def unregister_checker(self, name: str) -> None:
        """Has a checker asked no more."""
        self._native.unregister_checker(name)
        with self._lock:
            thread = self._checkers.pop(name, None)
        if thread is not None:
            thread.stop()

    # ----- the engine itself -----

    def stats(self) -> dict[str, Any]:
        """The statistics, with the fields of `ringlane stats --json`."""
        result: dict[str, Any] = parsed(self._native.stats())
        return result

    def recovery(self) -> dict[str, Any]:
        """What opening found."""
        result: dict[str, Any] = parsed(self._native.recovery())
        return result

    def audit(
        self, *topics: str, producers_max: int | None = None, missing_ranges_max: int | None = None
    ) -> dict[str, Any]:
        """Compares what was acknowledged with what can be read, in some topics or in all."""
        bounds = {"producers_max": producers_max, "missing_ranges_max": missing_ranges_max}
        result: dict[str, Any] = parsed(self._native.audit({"topic": list(topics), **bounds}))
        return result

    def sync(self) -> None:
        """Waits until everything that was sent before is on the device, buffered records too."""
        self._native.sync()

    def refresh(self) -> None:
        """Takes in what another process has written since, where the engine is open to be read."""
        self._native.refresh()

    def accept_clock(self) -> None:
        """After an alarm in the statistics: the clock is right, and append times follow it from now on."""
        self._native.accept_clock()

    @property
    def closed(self) -> bool:
        return self._is_closed

    def close(self) -> None:
        """Closes it: what was sent is written and flushed, every future has its outcome. Closing again changes nothing.

        In a child of fork it lets go of the parent's engine, and does nothing to that.
        """
        if _processes.is_other(self._generation):
            # The lock may have been held when the process was forked, and then is for good.
            self._is_closed = True
            self._native.close()
            return
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            checkers, self._checkers = list(self._checkers.values()), {}
        for child in list(self._children):
            child.close()
        try:
            self._native.close()
        finally:
            self._completions.close()
            for checker in checkers:
                checker.stop()
            for topic in self._topics.values():
                topic._native.close()
            self._topics = {}

    def _child(self, child: C) -> C:
        self._children.add(child)
        return child

    def _completions_begin(self) -> None:
        if not self._has_thread:
            self._completions.begin()
            self._has_thread = True

    def __enter__(self) -> "Engine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._is_closed and not _processes.is_other(self._generation):
            words = f"{self!r} was never closed: close it, or use it in a `with` block"
            warnings.warn(words, ResourceWarning, source=self)
            self.close()

    def __repr__(self) -> str:
        return f"<Engine {self.path!r}{' closed' if self._is_closed else ''}>"


def open(path: str | os.PathLike[str], **given: Option) -> Engine:
    """Opens a directory, and creates it if it is not there. Options are those of docs/OPERATIONS.md, and
    `held_bytes_max`.
    """
    return Engine(_path(path), given, False)


def open_read_only(path: str | os.PathLike[str], **given: Option) -> Engine:
    """Opens a directory to be read, also while another process has it open for writing."""
    return Engine(_path(path), given, True)


def _path(path: str | os.PathLike[str]) -> str:
    result = os.fspath(path)
    if not isinstance(result, str):
        raise TypeError("path must be str or a path of str")
    return result
