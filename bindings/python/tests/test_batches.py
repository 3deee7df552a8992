"""Many records in several hand-overs, and records in their own layout."""

from __future__ import annotations

import pathlib
from typing import Callable, Iterator

import pytest

import ringlane
from ringlane import NewRecord

PART = 8192
TOO_LARGE = bytes(2 << 20)


def count(topic: ringlane.Topic) -> int:
    return sum(topic.offsets(partition).next for partition in range(topic.partitions))


def test_what_goes_wrong_in_a_later_part_is_told_by_the_future(
    producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    taken: list[int] = []

    def records() -> Iterator[bytes]:
        for number in range(5 * PART):
            taken.append(number)
            yield TOO_LARGE if number == 2 * PART + 7 else b"x"

    future = producer.send_many(orders, records())
    with pytest.raises(ringlane.RecordTooLarge) as raised:
        future.result(10)
    assert raised.value.done == count(orders) == 2 * PART
    # To send all of it again would send these twice.
    assert raised.value.unknown_outcome and not raised.value.retriable
    assert len(taken) == 3 * PART


def test_a_bad_record_in_a_later_part_is_told_by_the_future(
    producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    future = producer.send_many(orders, [b"x"] * PART + ["text"])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="each record must be bytes") as raised:
        future.result(10)
    assert f"{PART} records" in raised.value.__notes__[0]
    assert count(orders) == PART


def test_an_exception_of_the_iterable_is_raised_with_what_goes_its_way(
    producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    def records(good: int) -> Iterator[bytes]:
        yield from [b"x"] * good
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as raised:
        producer.send_many(orders, records(PART + 5))
    assert f"{PART} records" in raised.value.__notes__[0]
    with pytest.raises(ZeroDivisionError) as raised:
        producer.send_many(orders, records(5))
    assert not hasattr(raised.value, "__notes__")
    producer.flush()
    assert count(orders) == PART


def test_a_batch_that_a_full_buffer_cuts_says_that_part_of_it_may_be_there(path: pathlib.Path) -> None:
    with ringlane.open(path, buffer_bytes_max=65536) as engine, engine.producer(max_block=0) as producer:
        topic = engine.create_topic("orders")
        future = producer.send_many(topic, [bytes(10_000)] * 500)
        with pytest.raises(ringlane.QueueFull) as raised:
            future.result(10)
        assert raised.value.unknown_outcome and not raised.value.retriable and raised.value.done == 0
        assert 0 < count(topic) < 500


def test_a_topic_that_was_made_anew_is_found_by_its_name(engine: ringlane.Engine, producer: ringlane.Producer) -> None:
    engine.create_topic("new")
    packed = b""
    sends: list[Callable[[], int]] = [
        lambda: producer.send_many("new", iter([b"x"])).result(10),
        lambda: len(producer.send_many_sync("new", iter([b"x"]))),
        lambda: producer.send_packed("new", packed).result(10),
        lambda: producer.send_packed_sync("new", packed),
    ]
    for send in sends:
        assert send() == 1
        with engine.consumer() as consumer:
            consumer.assign("new", 0)
            with consumer.poll_views(timeout=1) as batch:
                packed = batch.packed()
        engine._native.delete_topic("new")  # as another process does it
        engine.create_topic("new")


def test_records_go_on_in_their_own_layout(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    sent = [
        NewRecord(b"one", key=b"k", headers={"a": b"1"}, tag="t", timestamp_ms=5),
        NewRecord(None, message_id="id"),
        NewRecord(b"", key=b""),
    ]
    producer.send_many_sync(orders, sent, partition=0)
    with consumer.poll_views(timeout=1) as batch:
        packed = batch.packed()
        assert len(packed) % 8 == 0 and bytes(batch[0].record) == packed[: batch[0].record.nbytes]
    with pytest.raises(ValueError, match="released"):
        batch.packed()
    assert producer.send_packed(orders, packed, 1).result(10) == 3
    records = consumer.poll(timeout=1)
    assert [record.partition for record in records] == [1] * 3
    assert [(record.value, record.key, record.tag) for record in records] == [
        (b"one", b"k", "t"), (None, None, None), (b"", b"", None),
    ]  # fmt: skip
    assert records[0].headers == [("tag", b"t"), ("a", b"1")] and records[0].timestamp_ms == 5
    # A message id goes along, and is known again in its partition.
    assert records[1].message_id == b"id"
    assert producer.send_packed_sync("orders", memoryview(packed), 1) == 3
    assert orders.offsets(1).next == 3 + 2
    # Without a partition the key says where.
    assert producer.send_packed_sync(orders, bytearray(packed)) == 3
    assert producer.send_packed(orders, b"").result(10) == producer.send_packed_sync(orders, b"") == 0
    for send in (producer.send_packed, producer.send_packed_sync):
        for wrong in (b"no record", packed[:-9], bytes(16)):
            with pytest.raises(ringlane.InvalidArgument):
                send(orders, wrong)
        for kind in (None, "text", 5):
            with pytest.raises(TypeError):
                send(orders, kind)  # type: ignore[arg-type]
        with pytest.raises(ringlane.InvalidPartition):
            send(orders, packed, 9)
    assert producer._queue.pending == 0


def test_the_last_message_id_of_a_producer(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    with engine.producer("import") as named:
        assert named.last_message_id(orders, 0) is None
        named.send_sync(orders, b"x", partition=0, message_id=b"line-1")
        named.send_sync(orders, b"x", partition=0, message_id="line-2")
        assert named.last_message_id("orders", 0) == b"line-2"
        named.send_sync(orders, b"x", partition=0)
        assert named.last_message_id(orders, 0) is None
        assert named.last_message_id(orders, 1) is None
        with pytest.raises(ringlane.InvalidPartition):
            named.last_message_id(orders, 9)
    with engine.producer() as nameless, pytest.raises(ringlane.InvalidArgument):
        nameless.last_message_id(orders, 0)


def test_a_receipt_names_its_topic(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    engine.create_topic("invoices")
    assert producer.send(orders, b"x").result(10).topic == "orders"
    assert producer.send_sync("invoices", b"x").topic == "invoices"
    assert [receipt.topic for receipt in producer.send_many_sync(orders, [b"x"] * 2)] == ["orders"] * 2
    assert producer.send(orders, b"x", visible_after=3600).result(10).topic == "orders"
    with producer.transaction() as transaction:
        transaction.send("invoices", b"x")
        transaction.send(orders, b"x")
        with pytest.raises(ringlane.InvalidPartition):
            transaction.send("invoices", b"x", partition=5)
        transaction.send("invoices", b"x")
        transaction.commit()
        assert [receipt.topic for receipt in transaction.receipts()] == ["invoices", "orders", "invoices"]
