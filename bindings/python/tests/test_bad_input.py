"""Errors and their fields, bad input, closed objects, forks, and what was not closed."""

from __future__ import annotations

import gc
import pathlib
import pickle
import signal
import subprocess
import sys
import time
from typing import Any, Callable

import pytest
from conftest import Python, in_child

import ringlane
from ringlane import _native, errors


def test_each_error_has_a_class_of_its_own_with_the_code_of_the_library() -> None:
    kinds = {kind.status: kind for kind in errors.RinglaneError.__subclasses__()}
    assert len(kinds) == len(errors.RinglaneError.__subclasses__()) >= 48
    for status, kind in kinds.items():
        assert kind.code == _native.status_name(status)
        assert getattr(ringlane, kind.__name__) is kind and kind.__doc__
        made = errors.of_status(status, 7, 28, (1, 2, 3, 4), "text")
        assert type(made) is kind and made.status == status and str(made) == "text"
    # None is missing.
    for status in range(-60, 0):
        assert (_native.status_name(status) == "unknown-status") == (status not in kinds)


def test_an_error_says_what_to_do_about_it() -> None:
    error = errors.of_status(-41, 1, 28, (10, 5, 0, 0), "no room")
    assert isinstance(error, ringlane.NoSpace)
    assert (error.retriable, error.fatal, error.unknown_outcome, error.aborted) == (True, False, False, False)
    assert (error.system_error, error.details, error.done) == (28, (10, 5, 0, 0), None)
    error = errors.of_status(-43, 2 | 4 | 8, 0, (0, 0, 0, 0), "who knows")
    assert (error.retriable, error.fatal, error.unknown_outcome, error.aborted) == (False, True, True, True)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ringlane.UnknownOutcome and str(again) == "who knows" and again.flags == error.flags
    newer = errors.of_status(-77, 0, 0, (0, 0, 0, 0), "of a newer library")
    assert type(newer) is ringlane.OtherError and newer.status == -77
    assert issubclass(ringlane.InvalidArgument, ValueError)


BAD_SENDS: list[tuple[dict[str, Any], type[BaseException], str]] = [
    ({"value": "text"}, TypeError, "value must be bytes or None.*encode"),
    ({"value": 5}, TypeError, "value must be bytes"),
    ({"value": [1, 2]}, TypeError, "value must be bytes"),
    ({"key": "text"}, TypeError, "key must be bytes"),
    ({"headers": "text"}, TypeError, "headers"),
    ({"headers": 5}, TypeError, "not iterable"),
    ({"headers": {"a": "b"}}, TypeError, "a header's value must be bytes"),
    ({"headers": {"a": None}}, TypeError, "not None"),
    ({"headers": {5: b"b"}}, TypeError, "a header's name must be str"),
    ({"headers": [("a",)]}, ValueError, "a name and a value"),
    ({"headers": ["ab"]}, TypeError, "pairs"),
    ({"tag": b"bytes"}, TypeError, "tag must be str"),
    ({"tag": "\ud800"}, UnicodeEncodeError, "surrogates"),
    ({"timestamp_ms": 1.5}, TypeError, "timestamp_ms must be int"),
    ({"timestamp_ms": 1 << 70}, ValueError, "64 bits"),
    ({"partition": 99}, ringlane.InvalidPartition, "99"),
    ({"partition": -1}, ValueError, "partition"),
    ({"partition": 1 << 40}, ValueError, "partition"),
    ({"partition": "0"}, TypeError, "partition must be int"),
    ({"sequence": -1}, ValueError, "sequence"),
    ({"sequence": "1"}, TypeError, "sequence must be int"),
    ({"sequence": 0, "partition": 0}, ringlane.InvalidArgument, "name"),
    ({"message_id": 5}, TypeError, "message_id must be bytes, str"),
    ({"message_id": b""}, ringlane.InvalidArgument, "id"),
    ({"message_id": b"x" * 129}, ringlane.InvalidArgument, "id"),
    ({"visible_after": "soon"}, TypeError, "visible_after must be seconds"),
    ({"visible_after": -1}, ringlane.InvalidArgument, "visible_ms"),
    ({"visible_after": float("nan")}, ValueError, "out of range"),
    ({"visible_at": "tomorrow"}, TypeError, "visible_at must be seconds"),
    ({"visible_after": 1, "visible_at": 1}, ValueError, "visible_after or visible_at"),
    ({"topic": None}, TypeError, "topic"),
    ({"topic": 5}, TypeError, "topic"),
    ({"topic": "nowhere"}, ringlane.UnknownTopic, "nowhere"),
    ({"topic": "a\0b"}, ValueError, "zero"),
]


def test_bad_records_are_refused(producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    for given, kind, words in BAD_SENDS:
        fields = {"topic": orders, "value": b"x", **given}
        for send in (producer.send, producer.send_sync):
            with pytest.raises(kind, match=words):
                send(**fields)
                pytest.fail(f"{given} was not refused")
        if "topic" not in given:
            with pytest.raises(kind):
                producer.send_many(orders, [ringlane.NewRecord(**{"value": b"x", **given})])
        if not given.keys() & {"visible_after", "visible_at", "sequence"}:
            with producer.transaction() as transaction, pytest.raises(kind):
                transaction.send(**fields)
    # Nothing of all this was sent, and nothing is kept.
    assert orders.offsets(0).next + orders.offsets(1).next == 0
    assert producer._queue.pending == 0


def test_bad_arguments_are_refused(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer,
    member: ringlane.Member, path: pathlib.Path,
) -> None:  # fmt: skip
    producer.send_many_sync(orders, [b"x"] * 3)
    (first, *_) = consumer.poll(timeout=1)
    bad: list[tuple[type[BaseException], Callable[[], object]]] = [
        (TypeError, lambda: ringlane.open(None)),  # type: ignore[arg-type]
        (TypeError, lambda: ringlane.open(b"bytes")),  # type: ignore[arg-type]
        (ValueError, lambda: ringlane.open("a\0b")),
        (ringlane.InvalidDirectory, lambda: ringlane.open(__file__)),
        (ringlane.InvalidDirectory, lambda: ringlane.open(path / "absent", create=False)),
        (TypeError, lambda: engine.create_topic(None)),  # type: ignore[arg-type]
        (ringlane.InvalidArgument, lambda: engine.create_topic("new", partitions=0)),
        (TypeError, lambda: engine.create_topic("new", partitions=None) and engine.topic(5)),  # type: ignore[arg-type]
        (ringlane.InvalidArgument, lambda: engine.create_topic("new", unheard_of=1)),
        (TypeError, lambda: engine.create_topic("new", retention="1d")),
        (ValueError, lambda: engine.create_topic("new", retention=1e300)),
        (TypeError, lambda: engine.describe_group(None)),  # type: ignore[arg-type]
        (TypeError, lambda: engine.transaction(None)),  # type: ignore[arg-type]
        (ringlane.InvalidArgument, lambda: engine.create_group("new")),
        (ValueError, lambda: engine.create_group("new", topics={"orders": "middle"})),
        (ringlane.UnknownTopic, lambda: engine.create_group("new", topics={"nowhere": "end"})),
        (ringlane.InvalidArgument, lambda: engine.producer(durability="perhaps")),
        (ringlane.InvalidName, lambda: engine.producer(name="")),
        (TypeError, lambda: engine.producer(name=5) and None),  # type: ignore[arg-type]
        (TypeError, lambda: orders.offsets(None)),  # type: ignore[arg-type]
        (ValueError, lambda: orders.offsets(-1)),
        (ringlane.InvalidPartition, lambda: orders.offsets(9)),
        (TypeError, lambda: consumer.assign(orders, None)),  # type: ignore[arg-type]
        (ringlane.InvalidPartition, lambda: consumer.assign(orders, 9)),
        (TypeError, lambda: consumer.position(orders, None)),  # type: ignore[arg-type]
        (TypeError, lambda: consumer.poll(timeout="1")),  # type: ignore[arg-type]
        (ValueError, lambda: consumer.poll(timeout=-1)),
        (ValueError, lambda: member.ack(first)),
        (TypeError, lambda: member.ack(None)),  # type: ignore[arg-type]
        (TypeError, lambda: member.ack([None])),  # type: ignore[list-item]
        (TypeError, lambda: member.ack(b"x")),  # type: ignore[arg-type]
        (TypeError, lambda: member.ack(("a", "b", "c"))),  # type: ignore[arg-type]
        (ValueError, lambda: member.ack((0, -1, 0))),
        (TypeError, lambda: member.once((0, 0, 0), None)),  # type: ignore[arg-type]
        (TypeError, lambda: member.extend([], None)),  # type: ignore[arg-type]
        (TypeError, lambda: producer.send_many(orders, b"bytes")),  # type: ignore[arg-type]
        (TypeError, lambda: producer.send_many(orders, 5)),  # type: ignore[arg-type]
        (TypeError, lambda: producer.send_many_sync(orders, "text")),  # type: ignore[arg-type]
        (TypeError, lambda: producer.cancel(None)),  # type: ignore[arg-type]
        (ringlane.NotWithheld, lambda: producer.cancel((0, 0, 0))),
        (ringlane.InvalidArgument, lambda: producer.last_sent(orders, 0)),
        (ringlane.InvalidArgument, lambda: engine.join("billing", lease=-1)),
        (ringlane.UnknownTopic, lambda: engine.delete_topic("nowhere")),
        (TypeError, lambda: _native.Record()),
        (TypeError, lambda: _native.Engine()),
        (TypeError, lambda: ringlane.NewRecord()),  # type: ignore[call-arg]
    ]
    for number, (kind, call) in enumerate(bad):
        with pytest.raises(kind):
            result = call()
            pytest.fail(f"call {number} was not refused, but gave {result!r}")
    engine.delete_topic("new")


def test_objects_that_are_closed_say_so(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer, member: ringlane.Member
) -> None:
    transaction = producer.transaction()
    for thing in (transaction, consumer, member, producer):
        assert not thing.closed
        thing.close()
        thing.close()
        assert thing.closed
    for call in (
        lambda: transaction.send(orders, b"x"), transaction.prepare, transaction.receipts, lambda: transaction.state,
        consumer.poll, consumer.poll_views, consumer.wakeup, lambda: consumer.assign_all(orders), consumer.continuity,
        member.poll, member.flush, lambda: member.ack([]), lambda: member.in_flight, lambda: member.once((0, 0, 0), b"t"),
        producer.flush, lambda: producer.epoch, lambda: producer.send(orders, b"x"), producer.transaction,
        lambda: producer.send_many(orders, [b"x"]), lambda: producer.send_sync(orders, b"x"),
    ):  # fmt: skip
        with pytest.raises(ringlane.Closed, match="closed"):
            call()


def test_a_child_of_fork_is_told_and_hangs_nowhere(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer,
    member: ringlane.Member, path: pathlib.Path, tmp_path: pathlib.Path,
) -> None:  # fmt: skip
    ended = producer.send(orders, b"x")
    ended.result(10)
    waiting = ringlane.Future[int]()
    transaction = producer.transaction()
    engine.register_checker("orders", lambda half: ringlane.Outcome.UNKNOWN)

    def child() -> None:
        calls: list[Callable[[], object]] = [
            engine.stats, engine.sync, lambda: engine.topic("orders"), lambda: producer.send(orders, b"y"),
            lambda: producer.send_sync(orders, b"y"), lambda: producer.send_many(orders, [b"y"]), producer.flush,
            consumer.poll, consumer.poll_views, member.poll, lambda: member.ack((0, 0, 0)), member.flush,
            transaction.commit, lambda: transaction.send(orders, b"y"), producer.transaction, waiting.result,
            waiting.exception, lambda: orders.offsets(0),
        ]  # fmt: skip
        for number, call in enumerate(calls):
            try:
                call()
            except ringlane.Forked:
                continue
            raise AssertionError(f"call {number} did not fail")
        assert ended.result().offset == 0 and ended.done() and not waiting.done()
        for thing in (transaction, consumer, member, producer, engine):
            thing.close()
        gc.collect()
        # The child may open what is its own.
        with ringlane.open(tmp_path / "own") as own:
            own.create_topic("orders")
            with own.producer() as mine:
                assert mine.send("orders", b"z").result(10).offset == 0

    assert in_child(child) == 0
    # Nothing of the parent's was harmed.
    assert producer.send(orders, b"y").result(10).synced
    transaction.close()


def test_a_child_of_fork_closes_what_was_locked_when_it_was_forked(path: pathlib.Path) -> None:
    engine = ringlane.open(path)
    engine.create_topic("orders")
    producer = engine.producer()

    def child() -> None:
        # Who held the locks is not there any more.
        signal.alarm(10)
        with pytest.raises(ringlane.Forked):
            producer.send("orders", b"x")
        engine.close()
        assert engine.closed
        engine.close()

    with engine._lock, engine._completions._lock:
        assert in_child(child) == 0
    assert producer.send("orders", b"y").result(10).synced
    producer.close()
    engine.close()


def test_what_is_not_closed_is_reported_and_freed(path: pathlib.Path) -> None:
    engine = ringlane.open(path)
    engine.create_topic("orders")
    engine.create_group("billing", topics={"orders": "beginning"})
    for make, words in (
        (engine.producer, "a producer was never closed"),
        (engine.consumer, "a consumer was never closed"),
        (lambda: engine.join("billing"), "a member was never closed"),
    ):
        with pytest.warns(ResourceWarning, match=words):
            make()
            gc.collect()
    with engine.producer() as producer, pytest.warns(ResourceWarning, match="a transaction was never closed"):
        producer.transaction()
        gc.collect()
    del producer
    future = None
    with engine.producer() as producer:
        future = producer.send("orders", b"x")
    del producer
    with pytest.warns(ResourceWarning, match="Engine .* was never closed"):
        del engine
        gc.collect()
    assert future.result(0).offset == 0
    # It was closed: the directory can be opened again.
    ringlane.open(path).close()


def test_a_program_that_closes_nothing_ends_and_loses_nothing(path: pathlib.Path) -> None:
    code = """
import sys, threading, time, ringlane
engine = ringlane.open(sys.argv[1])
engine.create_topic("orders", partitions=1)
producer = engine.producer()
producer.send("orders", b"main")
def late():
    time.sleep(0.3)
    print(producer.send("orders", b"late").result(10).offset, flush=True)
threading.Thread(target=late).start()
"""
    command = [sys.executable, "-W", "always", "-c", code, str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == "1\n"
    assert "never closed" in ended.stderr
    with ringlane.open(path) as engine:
        assert engine.topic("orders").offsets(0).next == 2


def test_a_wait_ends_with_ctrl_c(path: pathlib.Path) -> None:
    code = """
import sys, ringlane
with ringlane.open(sys.argv[1]) as engine, engine.consumer() as consumer:
    engine.create_topic("orders")
    consumer.assign_all("orders")
    print("waits", flush=True)
    try:
        consumer.poll()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
    with subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == "waits\n"
        time.sleep(0.1)
        begun = time.monotonic()
        child.send_signal(signal.SIGINT)
        assert child.stdout.readline() == "interrupted\n"
        assert child.wait(10) == 0 and time.monotonic() - begun < 3


def test_an_import_is_quiet(python: Python) -> None:
    ended = python("import ringlane, ringlane.aio, threading; assert threading.active_count() == 1")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_objects_do_not_leak_memory(producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    def turn() -> None:
        record = ringlane.NewRecord(b"x" * 1000, key=b"k" * 100, headers={"h" * 50: b"v" * 100}, tag="t")
        producer.send_many(orders, [record] * 100 + [bytearray(b"y")]).result(10)
        for _ in range(20):
            producer.send(orders, b"z", headers=[("a", b"b")] * 6).result(10)
            with pytest.raises(TypeError):
                producer.send(orders, b"z", headers=[("a", b"b"), ("a", None)])  # type: ignore[list-item]
        with producer._engine.consumer() as consumer:
            consumer.assign_all(orders, "end")
            producer.send_many_sync(orders, [record] * 50)
            with consumer.poll_views(timeout=1) as batch:
                packed = batch.packed()
                assert all(view.headers for view in batch)
            producer.send_packed(orders, packed).result(10)
            consumer.poll(timeout=1)
            _native.taken([bytearray(b"x"), record, None])
            for _ in range(10):
                queue.forget(consumer._native.notify(queue, ringlane.Future[None]()))
        with producer.transaction() as transaction:
            transaction.send(orders, b"x")
            transaction.commit()
            transaction.receipts()

    queue = _native.queue()
    turn()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(20):
        turn()
    gc.collect()
    assert sys.getallocatedblocks() - before < 500
    assert queue.pending == 0
    queue.close()


def test_a_group_that_is_there_and_topics_without_a_start(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    engine.create_group("billing", topics={"orders": "end"})
    engine.create_group("billing", topics={"orders": "beginning"}, exist_ok=True)
    with pytest.raises(ringlane.GroupExists):
        engine.create_group("billing", topics={"orders": "end"})
    with pytest.raises(TypeError, match="begins"):
        engine.create_group("more", topics=["orders"])  # type: ignore[arg-type]


def test_what_only_the_writer_knows_is_no_empty_list(path: pathlib.Path, engine: ringlane.Engine) -> None:
    with ringlane.open_read_only(path) as reader:
        for look in (reader.groups, reader.transactions):
            with pytest.raises(ringlane.ReadOnly):
                look()


def test_a_poll_for_ever_of_nothing_is_refused(consumer: ringlane.Consumer) -> None:
    consumer.unassign("orders")
    with pytest.raises(ringlane.InvalidArgument, match="assign"):
        consumer.poll()
    assert consumer.poll(timeout=0.001) == []
