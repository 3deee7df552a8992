"""Sending."""

from __future__ import annotations

import asyncio
import concurrent.futures
import datetime
import pathlib
import queue
import threading
import time

import pytest

import ringlane
from ringlane import NewRecord


def test_a_record_arrives_with_all_that_it_has(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    receipt = producer.send(
        orders, b"value", key=b"key", headers=[("a", b"1"), ("a", bytearray(b"2"))], tag="kind", timestamp_ms=12345,
        message_id="id-1",
    ).result(10)  # fmt: skip
    (record,) = consumer.poll(timeout=5)
    assert (record.topic, record.partition, record.offset) == ("orders", receipt.partition, receipt.offset)
    assert (record.key, record.value, record.timestamp_ms) == (b"key", b"value", 12345)
    assert record.headers == [("tag", b"kind"), ("a", b"1"), ("a", b"2")] and record.tag == "kind"
    assert record.message_id == b"id-1"
    assert (record.producer, record.epoch, record.sequence) == (receipt.producer, receipt.epoch, receipt.sequence)
    assert (record.delivery_count, record.delivery, record.late) == (0, None, False)
    assert repr(record).startswith("<Record orders/") and repr(receipt).startswith("<Receipt partition=")
    assert receipt.synced and not receipt.duplicate and len(receipt.id) == 3


def test_null_and_empty_differ(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    for value, key in ((None, None), (b"", b""), (memoryview(b"view"), bytearray(b"array"))):
        producer.send_sync(orders, value, key=key, partition=0)
    records = consumer.poll(timeout=5, max_records=3)
    assert [(record.value, record.key) for record in records] == [(None, None), (b"", b""), (b"view", b"array")]
    assert all(record.headers == [] and record.tag is None and record.message_id is None for record in records)


def test_large_records_and_many_headers(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    headers = [(f"name-{number}", b"v" * number) for number in range(50)]
    producer.send_sync(orders, b"x" * 500_000, headers=headers)
    producer.send_sync(orders, None, headers=dict(headers), key=b"k" * 1000, message_id=b"m" * 128)
    records = [record for records in consumer.batches(timeout=0.2) for record in records]
    assert sorted(len(record.value or b"") for record in records) == [0, 500_000]
    assert all(record.headers == headers for record in records)
    with pytest.raises(ringlane.RecordTooLarge) as raised:
        producer.send(orders, b"x" * (2 << 20))
    assert raised.value.details[0] > raised.value.details[1] == 1 << 20


def test_a_future_is_one_of_concurrent_futures(producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    futures = [producer.send(orders, b"x") for _ in range(100)]
    done, waits = concurrent.futures.wait(futures, timeout=10)
    assert len(done) == 100 and not waits
    assert all(future.done() and not future.running() and future.exception() is None for future in futures)
    assert not futures[0].cancel() and not futures[0].cancelled()
    called: list[object] = []
    futures[0].add_done_callback(called.append)
    assert called == [futures[0]]

    async def wrapped() -> object:
        return (await asyncio.wrap_future(producer.send(orders, b"y"))).synced

    assert asyncio.run(wrapped()) is True


def test_a_callback_is_told_the_receipt_or_the_error(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic
) -> None:
    told: list[tuple[ringlane.RinglaneError | None, ringlane.Receipt | None]] = []
    producer.send(orders, b"x", on_delivery=lambda error, receipt: told.append((error, receipt))).result(10)
    with engine.producer("named") as named:
        # What skips a number is refused, at once or with the outcome.
        try:
            named.send(
                orders, b"y", partition=0, sequence=7, on_delivery=lambda error, receipt: told.append((error, receipt))
            ).exception(10)
        except ringlane.SequenceGap as error:
            told.append((error, None))
    deadline = time.monotonic() + 5
    while len(told) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told[0][0] is None and told[0][1] is not None and told[0][1].offset == 0
    assert isinstance(told[1][0], ringlane.SequenceGap) and told[1][1] is None
    assert told[1][0].details[:2] == (7, 0)


def test_many_records_go_in_few_hand_overs(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    assert producer.send_many(orders, (b"%d" % number for number in range(20_000))).result(30) == 20_000
    assert producer.send_many("orders", []).result(10) == 0
    assert sum(len(records) for records in consumer.batches(timeout=0.2)) == 20_000
    mixed = [b"a", None, bytearray(b"b"), memoryview(b"c"), NewRecord(b"d", key=b"k", headers={"h": b"v"}, tag="t")]
    receipts = producer.send_many_sync(orders, mixed, partition=1)
    assert [receipt.partition for receipt in receipts] == [1] * 5
    records = consumer.poll(timeout=5)
    assert [record.value for record in records] == [b"a", None, b"b", b"c", b"d"]
    assert records[4].headers == [("tag", b"t"), ("h", b"v")]
    # What was polled can be sent on: key, value, headers and time go along.
    producer.send_many(orders, records, partition=0).result(10)
    again = consumer.poll(timeout=5)
    assert [(one.value, one.key, one.headers, one.timestamp_ms) for one in again] == [
        (one.value, one.key, one.headers, one.timestamp_ms) for one in records
    ]


def test_a_batch_with_a_bad_record_sends_nothing(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    with pytest.raises(ringlane.InvalidPartition) as raised:
        producer.send_many(orders, [b"good", NewRecord(b"bad", partition=9)])
    assert raised.value.done == 0
    with pytest.raises(TypeError, match="each record must be bytes"):
        producer.send_many(orders, [b"good", "bad"])  # type: ignore[list-item]
    with pytest.raises(ringlane.InvalidPartition):
        producer.send_many_sync(orders, [b"good"], partition=9)
    assert consumer.poll(timeout=0.05) == []


def test_a_new_record_says_what_it_has() -> None:
    record = NewRecord(
        b"v", key=b"k", headers={"a": b"b"}, tag="t", timestamp_ms=5, partition=1, sequence=2, message_id="m",
        visible_after=1.5,
    )  # fmt: skip
    assert (record.value, record.key, record.headers, record.tag) == (b"v", b"k", [("a", b"b")], "t")
    assert (record.timestamp_ms, record.partition, record.sequence, record.message_id) == (5, 1, 2, b"m")
    assert (record.visible_after_ms, record.visible_at_ms) == (1500, None)
    empty = NewRecord(None)
    assert (empty.value, empty.headers, empty.tag, empty.partition) == (None, [], None, None)


def test_a_delayed_record_comes_later_or_is_taken_back(
    engine: ringlane.Engine, producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    soon = producer.send(orders, b"soon", visible_after=datetime.timedelta(milliseconds=50)).result(10)
    never = producer.send(orders, b"never", visible_after=3600).result(10)
    tomorrow = datetime.datetime.now() + datetime.timedelta(days=1)
    now = producer.send_sync(orders, b"now, after all", visible_at=tomorrow)
    later = producer.send_sync(orders, b"also never", visible_at=time.time() + 3600)
    assert soon.offset is None and "delayed" in repr(soon)
    producer.cancel(never)
    producer.cancel(later.id)
    engine.publish_withheld(now)
    values = sorted(record.value or b"" for record in consumer.records(timeout=0.5))
    assert values == [b"now, after all", b"soon"]
    with pytest.raises(ringlane.NotWithheld):
        producer.cancel(never)


def test_a_named_producer_goes_on_and_fences_who_had_the_name(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    first = engine.producer("import")
    assert first.last_sent(orders, 0) is None
    for number in range(3):
        first.send_sync(orders, b"x", partition=0, sequence=number)
    again = first.send_sync(orders, b"x", partition=0, sequence=1)
    assert again.duplicate and again.offset == 1 and "duplicate" in repr(again)
    with engine.producer("import") as second:
        assert (second.name, second.epoch, second.last_sent("orders", 0)) == ("import", first.epoch + 1, 2)
        with pytest.raises(ringlane.ProducerFenced):
            first.send(orders, b"y").result(10)
    first.close()
    assert [each["name"] for each in engine.producers()] == ["import"]
    engine.delete_producer("import")
    assert engine.producers() == []
    with pytest.raises(ringlane.UnknownProducer):
        engine.delete_producer("import")


def test_a_message_id_is_known_again(producer: ringlane.Producer, orders: ringlane.Topic) -> None:
    first = producer.send_sync(orders, b"x", key=b"k", message_id="payment")
    second = producer.send_sync(orders, b"x", key=b"k", message_id=b"payment")
    assert not first.duplicate and second.duplicate and first.offset == second.offset


def test_threads_share_a_producer(
    producer: ringlane.Producer, orders: ringlane.Topic, consumer: ringlane.Consumer
) -> None:
    def send() -> None:
        for _ in range(300):
            producer.send(orders, b"x")

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    producer.flush()
    assert sum(1 for _ in consumer.records(timeout=0.2)) == 1200


def test_leaving_the_block_waits_for_what_was_sent(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    with engine.producer() as producer:
        future = producer.send(orders, b"x")
    assert future.result(5).offset == 0
    assert producer.closed
    with pytest.raises(ringlane.Closed):
        producer.send(orders, b"y")
    with pytest.raises(ringlane.Closed):
        producer.flush()


def test_a_callback_may_close_the_engine(path: pathlib.Path) -> None:
    engine = ringlane.open(path)
    engine.create_topic("orders", partitions=1)
    producer = engine.producer()
    all_are_sent, closed = threading.Event(), threading.Event()

    def close(error: ringlane.RinglaneError | None, receipt: ringlane.Receipt | None) -> None:
        all_are_sent.wait(10)
        engine.close()
        closed.set()

    futures = [producer.send("orders", b"x", on_delivery=close if number == 10 else None) for number in range(1000)]
    all_are_sent.set()
    assert closed.wait(10)
    # Each has its outcome, also those that came behind.
    concurrent.futures.wait(futures, timeout=10)
    assert [future.result(0).offset for future in futures] == list(range(1000))
    engine.close()


def test_a_callback_that_waits_for_an_outcome_is_told_that_it_would_wait_for_itself(
    engine: ringlane.Engine, orders: ringlane.Topic, producer: ringlane.Producer
) -> None:
    said: "queue.Queue[object]" = queue.Queue()

    def told(error: object, receipt: object) -> None:
        later = producer.send(orders, b"behind it")
        try:
            later.result()
        except RuntimeError as wrong:
            said.put(wrong)
        later.add_done_callback(said.put)

    producer.send(orders, b"first", on_delivery=told).result(60)
    assert "wait for itself" in str(said.get(timeout=60))
    assert isinstance(said.get(timeout=60), ringlane.Future)
