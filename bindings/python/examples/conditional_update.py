"""A consumer that writes to a database, once: the conditional update.

The records of an ordered group change rows. Each row keeps the offset that changed it last, and changes only for a
later one. Records of an account have its number as their key, so that they are in one partition, in their order.

    python conditional_update.py DIRECTORY
"""

from __future__ import annotations

import pathlib
import sqlite3
import sys
from typing import Callable

import ringlane


def open_database(directory: pathlib.Path) -> sqlite3.Connection:
    database = sqlite3.connect(directory / "accounts.sqlite")
    with database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS accounts"
            " (id TEXT PRIMARY KEY, balance INTEGER NOT NULL, last_offset INTEGER NOT NULL)"
        )
        database.execute("INSERT OR IGNORE INTO accounts VALUES ('anna', 0, -1), ('ben', 0, -1)")
    return database


def prepare(engine: ringlane.Engine) -> None:
    """The first run sends some bookings."""
    try:
        engine.create_topic("bookings", partitions=2)
    except ringlane.TopicExists:
        return
    engine.create_group("accounts", kind="ordered", topics={"bookings": "beginning"}, retry_delay=0.02)
    bookings = [(b"anna", b"5"), (b"ben", b"7"), (b"anna", b"-2"), (b"ben", b"1")]
    with engine.producer() as producer:
        producer.send_many_sync("bookings", [ringlane.NewRecord(amount, key=account) for account, amount in bookings])


def work_off(engine: ringlane.Engine, database: sqlite3.Connection, step: Callable[[str], None]) -> None:
    """Books all bookings. `step` is told how far it is; the tests kill the process there."""
    with engine.join("accounts") as member:
        for record in member.records(timeout=0.2):
            step("received")
            with database:
                database.execute(
                    "UPDATE accounts SET balance = balance + :amount, last_offset = :offset"
                    " WHERE id = :account AND last_offset < :offset",
                    {
                        "amount": int(record.value or b"0"),
                        "offset": record.offset,
                        "account": (record.key or b"").decode(),
                    },
                )
                step("updated")
            step("committed")
            member.ack(record)
            step("acknowledged")
        member.flush()
        step("flushed")


def run(directory: pathlib.Path, step: Callable[[str], None] = lambda name: None) -> dict[str, int]:
    """Says what the balances are."""
    database = open_database(directory)
    try:
        with ringlane.open(directory / "log") as engine:
            prepare(engine)
            work_off(engine, database, step)
        return dict(database.execute("SELECT id, balance FROM accounts"))
    finally:
        database.close()


if __name__ == "__main__":
    print("balances:", run(pathlib.Path(sys.argv[1])))
