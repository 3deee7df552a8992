"""Sending with asyncio: what waits for room, and how an engine is closed under it."""

from __future__ import annotations

import asyncio
import contextlib
import pathlib
from typing import Any, AsyncIterator, Awaitable, Callable, Iterator

import pytest
from test_aio import run

import ringlane
from ringlane import NewRecord, Once, Outcome, aio

#: With the smallest send buffer, one record of this size has all others wait until its outcome is there.
LARGE = bytes(40_000)


@contextlib.asynccontextmanager
async def small(path: pathlib.Path) -> AsyncIterator[tuple[aio.Engine, aio.Producer]]:
    """An engine whose sends wait soon, with the topics "orders" and "full"."""
    async with aio.open(path, buffer_bytes_max=65536) as engine:
        for name in ("orders", "full"):
            await engine.create_topic(name)
        async with await engine.producer() as producer:
            yield engine, producer


def fill(engine: aio.Engine, producer: aio.Producer) -> "asyncio.Future[ringlane.Receipt]":
    """Has everything wait that is sent before the loop has its turn."""
    future = producer.send("full", LARGE)
    assert engine._outcomes.queue.pending_bytes > engine._outcomes.bytes_max
    return future


@pytest.mark.parametrize("is_in_thread", [False, True])
def test_an_engine_is_closed_to_the_end_though_whoever_closes_it_is_cancelled(
    path: pathlib.Path, is_in_thread: bool
) -> None:
    async def test() -> None:
        engine = await aio.open(path, buffer_bytes_max=65536)
        await engine.create_topic("orders")
        producer = await engine.producer()
        futures = [producer.send("orders", b"%1000d" % number) for number in range(2000)]
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        while is_in_thread and not engine.sync_engine.closed:
            await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert engine.closed
        # All who close it wait for the same end.
        await asyncio.gather(engine.close(), engine.close())
        assert [future.result().offset for future in futures] == list(range(2000))
        await engine.close()
        async with aio.open(path) as again:
            assert again.topic("orders").offsets(0).next == 2000

    run(test())


def test_nothing_is_taken_while_the_engine_closes(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            fill(engine, producer)
            waits = producer.send("orders", b"in time")
            closing = asyncio.create_task(engine.close())
            await asyncio.sleep(0)
            for late in (lambda: producer.send("orders", b"late"), lambda: producer.send_packed("orders", b"")):
                with pytest.raises(ringlane.Closed):
                    late()
            with pytest.raises(ringlane.Closed):
                await producer.send_many("orders", [b"late"])
            await closing
            assert waits.result().offset == 0
            producer.close()

    run(test())


def test_a_send_that_waits_was_taken_before(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            fill(engine, producer)
            value, key, id, header = bytearray(b"value"), bytearray(b"key"), bytearray(b"id"), bytearray(b"header")
            headers: dict[str, Any] = {"a": header, "b": memoryview(header)}
            pairs: list[Any] = [("a", header)]
            futures = [
                producer.send("orders", value, key=memoryview(key), headers=headers, tag="t", message_id=id),
                producer.send("orders", memoryview(value), headers=pairs),
                producer.send("orders", b"never", visible_after=3600),
            ]
            with pytest.raises(TypeError):
                producer.send("orders", "text")  # type: ignore[arg-type]
            with pytest.raises(ringlane.UnknownTopic):
                producer.send("nowhere", b"x")
            assert len(engine._outcomes.waiting) == 3
            for changed in (value, key, id, header):
                changed[:] = b"?" * len(changed)
            headers.clear()
            pairs.append(("more", b"?"))
            receipts = await asyncio.gather(*futures)
            assert [receipt.topic for receipt in receipts] == ["orders"] * 3
            assert receipts[2].offset is None
            async with engine.consumer() as consumer:
                consumer.assign("orders", 0)
                first, second = await consumer.poll(timeout=5)
            assert (first.value, first.key, first.message_id) == (b"value", b"key", b"id")
            assert first.headers == [("tag", b"t"), ("a", b"header"), ("b", b"header")]
            assert (second.value, second.headers) == (b"value", [("a", b"header")])

    run(test())


def test_a_list_of_records_is_taken_at_once(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            for waits in (False, True):
                if waits:
                    fill(engine, producer)
                value = bytearray(b"value")
                records: list[Any] = [value, b"plain", memoryview(value), NewRecord(value), None]
                coroutine = producer.send_many("orders", records)
                task = asyncio.create_task(producer.send_many("orders", records))
                value[:] = b"?????"
                records[1] = b"?"
                records.clear()
                assert await coroutine + await task == 10
            async with engine.consumer() as consumer:
                consumer.assign("orders", 0)
                values = [record.value async for record in consumer.records(timeout=0)]
            assert values == [b"value", b"plain", b"value", b"value", None] * 4
            with pytest.raises(TypeError, match="each record must be bytes"):
                await producer.send_many("orders", [b"x", "text"])  # type: ignore[list-item]
            with pytest.raises(TypeError, match="not one value"):
                await producer.send_many("orders", b"x")  # type: ignore[arg-type]

    run(test())


def test_a_send_that_waits_finds_a_topic_that_was_made_anew(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            handle, packed = engine.topic("orders"), b""
            await producer.send("orders", b"before")
            for send in (
                lambda: producer.send("orders", b"one"),
                lambda: producer.send_many("orders", [b"many"]),
                lambda: producer.send_packed("orders", packed),
            ):
                async with engine.consumer() as consumer:
                    consumer.assign("orders", 0)
                    with await consumer.poll_views() as batch:
                        packed = batch.packed()
                fill(engine, producer)
                sent: Awaitable[object] = send()
                engine.sync_engine._native.delete_topic("orders")  # as another process does it
                engine.sync_engine._native.create_topic("orders", {})
                await sent
                assert engine.topic("orders").offsets(0).next == 1
            fill(engine, producer)
            with pytest.raises(ringlane.TopicDeleted):
                await producer.send(handle, b"x")

    run(test())


def test_a_part_that_fails_hides_none_of_the_others(path: pathlib.Path) -> None:
    async def test() -> None:
        async with aio.open(path) as engine, await engine.producer() as producer:
            await engine.create_topic("orders")
            too_large = bytes(2 << 20)
            taken = []

            def records() -> Iterator[bytes]:
                for number in range(10_000):
                    taken.append(number)
                    yield too_large if number == 5_000 else b"x"

            with pytest.raises(ringlane.RecordTooLarge) as raised:
                await producer.send_many("orders", records())
            assert raised.value.done == engine.topic("orders").offsets(0).next == 4096
            assert raised.value.unknown_outcome and not raised.value.retriable
            # Nothing more was taken.
            assert len(taken) == 3 * 2048

            def breaks() -> Iterator[bytes]:
                yield from [b"y"] * 2500
                raise ZeroDivisionError

            with pytest.raises(ZeroDivisionError) as broken:
                await producer.send_many("orders", breaks())
            assert "2048 records" in broken.value.__notes__[0]
            assert engine.topic("orders").offsets(0).next == 4096 + 2048
            with pytest.raises(ringlane.RecordTooLarge) as first:
                await producer.send_many("orders", [too_large])
            assert first.value.done == 0 and not first.value.unknown_outcome

    run(test())


def test_large_records_do_not_block_the_loop_though_they_are_many(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            handed_over: list[int] = []
            queue, deliver = engine._outcomes.queue, engine._outcomes._on_events

            def watch() -> None:
                handed_over.append(queue.pending_bytes)
                deliver()

            engine._loop.remove_reader(queue.fileno())
            engine._loop.add_reader(queue.fileno(), watch)
            records = [NewRecord(bytes(1000), headers={"h": bytes(9000)}) for _ in range(500)]
            assert await producer.send_many("orders", records) == 500
            assert await producer.send_many("orders", iter(records)) == 500
            # Never more than there is room for.
            assert 0 < max(handed_over) <= 65536
            assert engine.topic("orders").offsets(0).next == 1000

    run(test())


def test_packed_records_are_sent_as_they_are(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            sent = [NewRecord(b"a", key=b"k"), NewRecord(None, headers={"h": b"v"})]
            assert await producer.send_many("orders", sent) == 2
            async with engine.consumer() as consumer:
                consumer.assign("orders", 0)
                with await consumer.poll_views(timeout=1) as batch:
                    packed = bytearray(batch.packed())
                fill(engine, producer)
                waits = producer.send_packed("orders", packed, 0)
                packed[:] = bytes(len(packed))
                assert await waits == 2
                again = await consumer.poll(timeout=1)
            assert [(record.value, record.key, record.headers) for record in again] == [
                (b"a", b"k", []),
                (None, None, [("h", b"v")]),
            ]
            with pytest.raises(ringlane.InvalidArgument):
                await producer.send_packed("orders", b"no record at all")

    run(test())


def test_the_last_message_id_of_a_producer(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, _), await engine.producer("import") as named:
            assert await named.last_message_id("orders", 0) is None
            await named.send("orders", b"x", message_id="line-1")
            assert await named.last_message_id("orders", 0) == b"line-1"

    run(test())


def test_half_messages(path: pathlib.Path) -> None:
    async def test() -> None:
        async with small(path) as (engine, producer):
            asked: list[str] = []

            def check(half: ringlane.HalfTransaction) -> Outcome:
                asked.append(half.id)
                return Outcome.COMMIT

            async def later(id: str) -> Outcome:
                await asyncio.sleep(0)
                return Outcome.COMMIT

            def fails(id: str) -> Outcome:
                raise ZeroDivisionError

            await engine.register_checker("orders", check, first=0.01)
            answers: list[tuple[str, Callable[[str], Any]]] = [
                ("a", later), ("b", lambda id: Outcome.ROLL_BACK), ("c", lambda id: Outcome.UNKNOWN),
            ]  # fmt: skip
            for id, local in answers:
                outcome = await producer.send_in_transaction("orders", b"v", local, checker="orders", id=id, key=b"k")
                assert outcome is {"a": Outcome.COMMIT, "b": Outcome.ROLL_BACK, "c": Outcome.UNKNOWN}[id]
            with pytest.raises(ZeroDivisionError):
                await producer.send_in_transaction("orders", b"v", fails, checker="orders", id="d")
            wrong: Callable[[str], Any] = lambda id: Once.FRESH
            with pytest.raises(TypeError, match="Outcome"):
                await producer.send_in_transaction("orders", b"v", wrong, checker="orders", id="e")
            while engine.transactions():
                await asyncio.sleep(0.01)
            assert sorted(asked) == ["c", "d", "e"]
            assert engine.topic("orders").offsets(0).next == 4

    run(test())
