"""Engines, topics, and what is asked of them."""

from __future__ import annotations

import datetime
import pathlib
import threading

import pytest

import ringlane


def test_an_engine_is_a_context_manager_and_closing_again_changes_nothing(path: pathlib.Path) -> None:
    with ringlane.open(path) as engine:
        assert not engine.closed
        assert repr(engine) == f"<Engine '{path}'>"
    assert engine.closed
    assert repr(engine) == f"<Engine '{path}' closed>"
    engine.close()
    with pytest.raises(ringlane.Closed):
        engine.stats()
    with pytest.raises(ringlane.Closed):
        engine.topic("orders")


def test_options_have_the_names_of_the_library(path: pathlib.Path) -> None:
    with ringlane.open(path, lanes=2, max_block=1.5, admin_socket=False) as engine:
        assert len(engine.stats()["lanes"]) == 2
    with pytest.raises(ringlane.InvalidArgument, match="known options"):
        ringlane.open(path, unheard_of=1)
    with pytest.raises(TypeError, match="option lanes"):
        ringlane.open(path, lanes=1.5)
    with pytest.raises(TypeError, match="seconds or a timedelta"):
        ringlane.open(path, max_block="1")


def test_opening_says_what_it_found(path: pathlib.Path, engine: ringlane.Engine) -> None:
    assert engine.recovery()["recovery"]["created"] is True
    engine.close()
    with ringlane.open(path) as again:
        assert again.recovery()["recovery"]["created"] is False


def test_a_directory_is_open_once(path: pathlib.Path, engine: ringlane.Engine) -> None:
    with pytest.raises(ringlane.Locked) as raised:
        ringlane.open(path)
    assert raised.value.details[0] > 0


def test_topics_are_created_listed_and_deleted(engine: ringlane.Engine) -> None:
    topic = engine.create_topic("orders", partitions=3, retention=datetime.timedelta(days=1), keep_unfinished=True)
    assert (topic.name, topic.partitions, repr(topic)) == ("orders", 3, "<Topic 'orders'>")
    assert [(each["name"], each["partitions"]) for each in engine.topics()] == [("orders", 3)]
    assert engine.topic("orders").offsets(2) == ringlane.Offsets(first=0, next=0)
    assert engine.create_topic("one").partitions == 1
    with pytest.raises(ringlane.TopicExists):
        engine.create_topic("orders")
    with pytest.raises(ringlane.InvalidName):
        engine.create_topic("no/such name")
    topic.delete()
    with pytest.raises(ringlane.UnknownTopic):
        engine.topic("orders")
    with engine.consumer() as consumer, pytest.raises(ringlane.TopicDeleted):
        consumer.assign(topic, 0)


def test_retention_changes_and_records_are_given_up(
    engine: ringlane.Engine, orders: ringlane.Topic, producer: ringlane.Producer
) -> None:
    producer.send_many_sync(orders, [b"x"] * 10, partition=1)
    assert orders.delete_records(1, 4) == 4
    assert orders.offsets(1) == (4, 10)
    orders.set_retention(retention=3600, retention_bytes=1 << 30, drop_finished=False)
    assert engine.topics()[0]["retention"] != {}
    with pytest.raises(ringlane.InvalidPartition):
        orders.delete_records(7, 1)


def test_an_audit_finds_no_loss(engine: ringlane.Engine, orders: ringlane.Topic, producer: ringlane.Producer) -> None:
    producer.send_many_sync(orders, [b"x"] * 10)
    report = engine.audit("orders", producers_max=10)
    assert report == engine.audit() or report["partitions"] is not None
    with pytest.raises(ringlane.UnknownTopic):
        engine.audit("nowhere")


def test_sync_and_the_clock(engine: ringlane.Engine, orders: ringlane.Topic) -> None:
    with engine.producer(durability="buffered") as producer:
        receipt = producer.send_sync(orders, b"soon")
        assert not receipt.synced
    engine.sync()
    engine.accept_clock()
    assert engine.stats()["held_bytes"] == 0


def test_a_producer_says_how_long_it_blocks(path: pathlib.Path) -> None:
    with ringlane.open(path, buffer_bytes_max=65536, max_block=60) as engine:
        engine.create_topic("orders", partitions=1)
        with engine.producer(max_block=0) as producer:
            sent = []
            with pytest.raises(ringlane.QueueFull) as full:
                for _ in range(5_000):
                    sent.append(producer.send("orders", b"x" * 50_000))
            assert full.value.retriable and full.value.code == "queue-full"
            assert len({future.result(60).offset for future in sent}) == len(sent)
        with pytest.raises(TypeError):
            engine.producer(max_block="0")  # type: ignore[arg-type]


def test_an_engine_that_is_open_to_be_read_follows_the_other(
    path: pathlib.Path, engine: ringlane.Engine, orders: ringlane.Topic, producer: ringlane.Producer
) -> None:
    producer.send_sync(orders, b"one", partition=0)
    with ringlane.open_read_only(path) as reader, reader.consumer() as consumer:
        assert reader.read_only
        consumer.assign("orders", 0)
        assert [record.value for record in consumer.poll(timeout=1)] == [b"one"]
        producer.send_sync(orders, b"two", partition=0)
        reader.refresh()
        assert [record.value for record in consumer.poll(timeout=5)] == [b"two"]
        with pytest.raises(ringlane.ReadOnly):
            reader.create_topic("more")
        with pytest.raises(ringlane.ReadOnly):
            reader.producer()


def test_closing_an_engine_closes_what_was_made_of_it(path: pathlib.Path) -> None:
    engine = ringlane.open(path)
    engine.create_topic("orders")
    engine.create_group("billing", topics={"orders": "beginning"})
    producer, consumer, member = engine.producer(), engine.consumer(), engine.join("billing")
    consumer.assign_all("orders")
    transaction = producer.transaction()
    future = producer.send("orders", b"at the last moment")
    ended: list[object] = []

    def wait() -> None:
        try:
            while True:
                ended.append(consumer.poll())
        except ringlane.Closed as error:
            ended.append(error.code)

    thread = threading.Thread(target=wait)
    thread.start()
    engine.close()
    thread.join(10)
    assert ended[-1] == "closed"
    assert producer.closed and consumer.closed and member.closed and transaction.closed
    assert future.result(0).offset == 0
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ringlane")]


def test_a_topic_that_was_made_anew_is_found_by_its_name(
    engine: ringlane.Engine, orders: ringlane.Topic, producer: ringlane.Producer
) -> None:
    assert producer.send("orders", b"x").result().offset == 0
    engine._native.delete_topic("orders")  # as another process does it
    engine.create_topic("orders", partitions=1)
    assert producer.send("orders", b"y").result().offset == 0
    engine._native.delete_topic("orders")
    engine.create_topic("orders", partitions=1)
    assert producer.send_sync("orders", b"y").offset == 0
    with pytest.raises(ringlane.TopicDeleted):
        producer.send(orders, b"z")


def test_versions_are_told() -> None:
    assert ringlane.abi_version >= 1
    assert ringlane.__version__ == ringlane.library_version
