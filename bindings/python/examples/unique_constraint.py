"""A consumer that writes to a database, once: the unique constraint.

The work inserts a row, and the row has the record's name (topic, partition, offset) as its unique key. A record that
comes again, because the process ended before its acknowledgement was durable, finds its row there, and is acknowledged.

    python unique_constraint.py DIRECTORY
"""

from __future__ import annotations

import pathlib
import sqlite3
import sys
from typing import Callable

import ringlane


def open_database(directory: pathlib.Path) -> sqlite3.Connection:
    database = sqlite3.connect(directory / "payments.sqlite")
    database.execute(
        "CREATE TABLE IF NOT EXISTS payments"
        " (topic TEXT, partition INTEGER, offset INTEGER, amount INTEGER NOT NULL,"
        "  PRIMARY KEY (topic, partition, offset))"
    )
    return database


def prepare(engine: ringlane.Engine) -> None:
    """The first run sends some orders."""
    try:
        engine.create_topic("orders", partitions=1)
    except ringlane.TopicExists:
        return
    engine.create_group("payments", kind="shared", topics={"orders": "beginning"}, retry_delay=0.02)
    with engine.producer() as producer:
        producer.send_many_sync("orders", [str(amount).encode() for amount in (10, 20, 30, 40)])


def work_off(engine: ringlane.Engine, database: sqlite3.Connection, step: Callable[[str], None]) -> None:
    """Pays all orders. `step` is told how far it is; the tests kill the process there."""
    with engine.join("payments") as member:
        for record in member.records(timeout=0.2):
            step("received")
            try:
                with database:
                    database.execute(
                        "INSERT INTO payments VALUES (?, ?, ?, ?)",
                        (record.topic, record.partition, record.offset, int(record.value or b"0")),
                    )
                    step("inserted")
            except sqlite3.IntegrityError:
                pass  # it was paid before
            step("committed")
            member.ack(record)
            step("acknowledged")
        member.flush()
        step("flushed")


def run(directory: pathlib.Path, step: Callable[[str], None] = lambda name: None) -> int:
    """Says how much was paid in all."""
    database = open_database(directory)
    try:
        with ringlane.open(directory / "log") as engine:
            prepare(engine)
            work_off(engine, database, step)
        paid: int = database.execute("SELECT sum(amount) FROM payments").fetchone()[0]
        return paid
    finally:
        database.close()


if __name__ == "__main__":
    print("paid:", run(pathlib.Path(sys.argv[1])))
