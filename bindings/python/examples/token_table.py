"""A consumer that writes to a database, once: the token table.

For work that has no row of its own: a table of names, and the work and the insert into it are one transaction. The name
is the message id that the producer gave, so that even an order that was sent twice is worked on once.

    python token_table.py DIRECTORY
"""

from __future__ import annotations

import pathlib
import sqlite3
import sys
from typing import Callable

import ringlane


def open_database(directory: pathlib.Path) -> sqlite3.Connection:
    database = sqlite3.connect(directory / "stock.sqlite")
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS done (token BLOB PRIMARY KEY)")
        database.execute("CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, count INTEGER NOT NULL)")
        database.execute("INSERT OR IGNORE INTO stock VALUES ('chair', 100)")
    return database


def prepare(engine: ringlane.Engine) -> None:
    """The first run sends some sales; one of them twice, in different partitions."""
    try:
        engine.create_topic("sales", partitions=2)
    except ringlane.TopicExists:
        return
    engine.create_group("stock", kind="shared", topics={"sales": "beginning"}, retry_delay=0.02)
    sales = [("sale-1", b"3", 0), ("sale-2", b"4", 0), ("sale-3", b"5", 1), ("sale-2", b"4", 1)]
    with engine.producer() as producer:
        for token, count, partition in sales:
            producer.send_sync("sales", count, message_id=token, partition=partition)


def work_off(engine: ringlane.Engine, database: sqlite3.Connection, step: Callable[[str], None]) -> None:
    """Takes what was sold out of the stock. `step` is told how far it is; the tests kill the process there."""
    with engine.join("stock") as member:
        for record in member.records(timeout=0.2):
            step("received")
            with database:
                first = database.execute("INSERT OR IGNORE INTO done VALUES (?)", (record.message_id,)).rowcount == 1
                step("noted")
                if first:
                    count = int(record.value or b"0")
                    database.execute("UPDATE stock SET count = count - ? WHERE item = 'chair'", (count,))
                step("worked")
            step("committed")
            member.ack(record)
            step("acknowledged")
        member.flush()
        step("flushed")


def run(directory: pathlib.Path, step: Callable[[str], None] = lambda name: None) -> int:
    """Says how many chairs are left."""
    database = open_database(directory)
    try:
        with ringlane.open(directory / "log") as engine:
            prepare(engine)
            work_off(engine, database, step)
        left: int = database.execute("SELECT count FROM stock WHERE item = 'chair'").fetchone()[0]
        return left
    finally:
        database.close()


if __name__ == "__main__":
    print("chairs left:", run(pathlib.Path(sys.argv[1])))
