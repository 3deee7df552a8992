"""Measures the Python package: one JSON object a line, with the keys of `ringlane bench` (docs/PERFORMANCE.md).

    python bench.py [--dir DIR] [--seconds 3] [--record-bytes 100] [WORKLOAD ...]

- `python-send`: one producer, `send_many` with lists of 1,000 values, several on their way, until all are there.
- `python-consume`: one consumer, `poll`, of records that are in memory; each is a `Record` with its value as bytes.
- `python-asyncio`: tasks that await one `send` after the other, 4,096 at a time.
- `python-future`: `send` with a future for each record, from one thread. It has no goal.

A figure is the median of slices. MB are 10^6 bytes of values. What is not measured is null: no limit runs beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
import time
from typing import Any, Callable

import ringlane
import ringlane.aio

SLICES = 5
BATCH = 1_000
TASKS = 4_096
KEYS = (
    "workload", "records_per_s", "mb_per_s", "p50_us", "p99_us", "p999_us", "limit_records_per_s", "limit_mb_per_s",
    "limit_p50_us", "limit_p99_us", "ratio", "device_bytes_per_payload_byte", "flushes_per_record", "cpu_ns_per_record",
    "io_backend", "lanes",
)  # fmt: skip


class Slices:
    """What the slices of a workload came to."""

    def __init__(self, workload: str, record_bytes: int) -> None:
        self.workload = workload
        self.record_bytes = record_bytes
        self.rates: list[float] = []
        self.cpu: list[float] = []
        self.latencies_us: list[float] = []

    def measure(self, run: Callable[[], int]) -> None:
        """Runs a slice, which says how many records it had."""
        begun, cpu = time.perf_counter(), time.process_time()
        count = run()
        self.rates.append(count / (time.perf_counter() - begun))
        self.cpu.append((time.process_time() - cpu) / count * 1e9)

    def line(self, stats: dict[str, Any]) -> str:
        result: dict[str, Any] = dict.fromkeys(KEYS)
        rate = statistics.median(self.rates)
        result.update(workload=self.workload, records_per_s=round(rate))
        result.update(mb_per_s=round(rate * self.record_bytes / 1e6, 1))
        result.update(cpu_ns_per_record=round(statistics.median(self.cpu)))
        result.update(io_backend=stats["io"]["backend"], lanes=len(stats["lanes"]))
        if self.latencies_us:
            self.latencies_us.sort()
            for key, part in (("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999)):
                result[key] = round(self.latencies_us[int(part * (len(self.latencies_us) - 1))], 1)
        return json.dumps(result)


def values(record_bytes: int) -> list[bytes]:
    return [os.urandom(record_bytes) for _ in range(BATCH)]


def send(path: str, seconds: float, record_bytes: int) -> str:
    slices, batch = Slices("python-send", record_bytes), values(record_bytes)
    with ringlane.open(path) as engine, engine.producer() as producer:
        topic = engine.create_topic("bench", 1)

        def run() -> int:
            count, begun = 0, time.perf_counter()
            sent: list[ringlane.BatchFuture] = []
            while time.perf_counter() - begun < seconds / SLICES:
                # The send buffer bounds how much is on its way.
                sent += [producer.send_many(topic, batch) for _ in range(16)]
                count += 16 * BATCH
            producer.flush()
            assert sum(future.result() for future in sent) == count
            return count

        run()  # segments are prepared, and the processor is warm
        for _ in range(SLICES):
            slices.measure(run)
        return slices.line(engine.stats())


def consume(path: str, seconds: float, record_bytes: int) -> str:
    slices, batch = Slices("python-consume", record_bytes), values(record_bytes)
    records = 200 * BATCH
    with ringlane.open(path, tail_cache_bytes=256 << 20) as engine, engine.producer() as producer:
        topic = engine.create_topic("bench", 1)
        for _ in range(records // BATCH):
            producer.send_many(topic, batch)
        producer.flush()
        with engine.consumer(max_poll_records=BATCH, max_poll_bytes=16 << 20) as consumer:
            consumer.assign(topic, 0)

            def run() -> int:
                count, bytes_read, begun = 0, 0, time.perf_counter()
                while time.perf_counter() - begun < seconds / SLICES:
                    consumer.seek(topic, 0, "beginning")
                    read = 0
                    while read < records:
                        polled = consumer.poll(timeout=1)
                        read += len(polled)
                        for record in polled:
                            bytes_read += len(record.value or b"")
                    count += read
                assert bytes_read == count * record_bytes
                return count

            run()
            for _ in range(SLICES):
                slices.measure(run)
        return slices.line(engine.stats())


def futures(path: str, seconds: float, record_bytes: int) -> str:
    slices, value = Slices("python-future", record_bytes), os.urandom(record_bytes)
    with ringlane.open(path) as engine, engine.producer() as producer:
        topic = engine.create_topic("bench", 1)

        def run() -> int:
            count, begun = 0, time.perf_counter()
            last = None
            while time.perf_counter() - begun < seconds / SLICES:
                for _ in range(1_000):
                    last = producer.send(topic, value)
                count += 1_000
            producer.flush()
            if last is not None:
                last.result()
            return count

        run()
        for _ in range(SLICES):
            slices.measure(run)
        return slices.line(engine.stats())


def asynchronous(path: str, seconds: float, record_bytes: int) -> str:
    slices, value = Slices("python-asyncio", record_bytes), os.urandom(record_bytes)

    async def measure() -> str:
        async with ringlane.aio.open(path) as engine, await engine.producer() as producer:
            topic = await engine.create_topic("bench", 1)
            latencies = slices.latencies_us

            async def sender(end: float, looks: bool) -> int:
                count = 0
                while time.perf_counter() < end:
                    await producer.send(topic, value)
                    count += 1
                    if looks and count % 8 == 0:
                        begun = time.perf_counter()
                        await producer.send(topic, value)
                        latencies.append((time.perf_counter() - begun) * 1e6)
                        count += 1
                return count

            async def run() -> int:
                end = time.perf_counter() + seconds / SLICES
                return sum(await asyncio.gather(*(sender(end, task % 64 == 0) for task in range(TASKS))))

            await run()
            latencies.clear()
            for _ in range(SLICES):
                begun, cpu = time.perf_counter(), time.process_time()
                count = await run()
                slices.rates.append(count / (time.perf_counter() - begun))
                slices.cpu.append((time.process_time() - cpu) / count * 1e9)
            return slices.line(engine.stats())

    return asyncio.run(measure())


WORKLOADS: dict[str, Callable[[str, float, int], str]] = {
    "python-send": send,
    "python-consume": consume,
    "python-asyncio": asynchronous,
    "python-future": futures,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the Python package")
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=", ".join(WORKLOADS))
    parser.add_argument("--dir", default=".", help="a directory on the device to be measured")
    parser.add_argument("--seconds", type=float, default=3.0, help="for the slices of each workload, together")
    parser.add_argument("--record-bytes", type=int, default=100)
    given = parser.parse_args()
    for name in given.workloads or WORKLOADS:
        if name not in WORKLOADS:
            parser.error(f"there is no workload {name!r}")
        path = tempfile.mkdtemp(prefix="ringlane-bench-", dir=given.dir)
        try:
            print(WORKLOADS[name](path, given.seconds, given.record_bytes), flush=True)
        finally:
            shutil.rmtree(path)


if __name__ == "__main__":
    main()
