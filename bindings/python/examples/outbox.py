"""A message for each change of a database: the transactional outbox.

An order and its message are written in one transaction of the database, the message into a table. A relay sends what is
in the table, in its order, under the numbers of its rows, with a producer that has a name. So a message that was sent, and
not deleted from the table because the process ended, is known again: the log has each message once.

    python outbox.py DIRECTORY
"""

from __future__ import annotations

import pathlib
import sqlite3
import sys
from typing import Callable

import ringlane

ORDERS = ["chair", "table", "lamp"]


def open_database(directory: pathlib.Path) -> sqlite3.Connection:
    database = sqlite3.connect(directory / "orders.sqlite")
    with database:
        database.execute("CREATE TABLE IF NOT EXISTS orders (item TEXT PRIMARY KEY)")
        # AUTOINCREMENT: a number that was given is never given again, also when its row is gone.
        database.execute(
            "CREATE TABLE IF NOT EXISTS outbox (id INTEGER PRIMARY KEY AUTOINCREMENT, message BLOB NOT NULL)"
        )
    return database


def order(database: sqlite3.Connection, item: str, step: Callable[[str], None]) -> None:
    """The application's own work: the order is there if, and only if, its message will be."""
    with database:
        database.execute("INSERT INTO orders VALUES (?)", (item,))
        step("ordered")
        database.execute("INSERT INTO outbox (message) VALUES (?)", (item.encode(),))
        step("noted")
    step("committed")


def relay(engine: ringlane.Engine, database: sqlite3.Connection, step: Callable[[str], None]) -> None:
    """Sends what is in the outbox. Row 1 has the number 0."""
    with engine.producer("outbox") as producer:
        last = producer.last_sent("messages", 0)
        behind = 0 if last is None else last + 1
        step("asked")
        rows = database.execute("SELECT id, message FROM outbox WHERE id > ? ORDER BY id", (behind,)).fetchall()
        sent = [producer.send("messages", message, partition=0, sequence=id - 1) for id, message in rows]
        step("sent")
        for future in sent:
            future.result()
        step("received")
        with database:
            database.execute("DELETE FROM outbox WHERE id <= ?", (behind + len(rows),))
            step("deleted")
        step("done")


def run(directory: pathlib.Path, step: Callable[[str], None] = lambda name: None) -> list[str]:
    """Says which messages are in the log."""
    database = open_database(directory)
    try:
        with ringlane.open(directory / "log") as engine:
            try:
                engine.create_topic("messages", partitions=1)
            except ringlane.TopicExists:
                pass
            there = {item for (item,) in database.execute("SELECT item FROM orders")}
            for item in ORDERS:
                if item not in there:
                    order(database, item, step)
                    relay(engine, database, step)
            relay(engine, database, step)
            with engine.consumer() as consumer:
                consumer.assign_all("messages")
                return [(record.value or b"").decode() for record in consumer.records(timeout=0)]
    finally:
        database.close()


if __name__ == "__main__":
    print("messages:", run(pathlib.Path(sys.argv[1])))
