"""The table of languages says what this package has."""

from __future__ import annotations

import pathlib

import ringlane
from ringlane import aio

TABLE = pathlib.Path(__file__).parents[3] / "docs" / "LANGUAGES.md"


def names() -> set[str]:
    rows = [line.split("|") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    cells = [row[4] for row in rows if len(row) > 5 and row[1].strip() != "what"]
    words = {word for cell in cells for word in cell.split("`")[1::2]}
    # Statements of the language, and what it has itself.
    return words - {"with", "for", "async for", "ResourceWarning", "on_delivery"}


def test_every_name_in_the_table_of_languages_is_there() -> None:
    assert len(names()) > 60
    for name in names():
        owner: object = ringlane
        for part in name.split("."):
            assert hasattr(owner, part), f"{name} is not there"
            owner = getattr(owner, part)


def test_asyncio_has_it_too() -> None:
    for name in names():
        kind, _, method = name.partition(".")
        if method and kind in {"Engine", "Producer", "Consumer", "Member", "Transaction"} and not method.endswith("_sync"):
            assert hasattr(getattr(aio, kind), method), f"aio.{name} is not there"
