"""Transactions: records and acknowledgements that become effective together or not at all."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Iterable

from ._native import Receipt
from ._types import Bytes, Delivery, Headers
from ._values import Time, TransactionState, options, text
from .errors import RinglaneError

if TYPE_CHECKING:
    from ._engine import Topic
    from ._polling import Member
    from ._sending import Producer


class Transaction:
    """Records and acknowledgements that become effective together or not at all; one thread at a time uses it."""

    def __init__(self, producer: "Producer", id: str | None, checker: str | None, timeout: Time | None) -> None:
        self._engine = producer._engine
        # It is not collected before its transactions.
        self._producer = producer
        self._has_checker = checker is not None
        given = options({"id": text("id", id), "checker": text("checker", checker), "timeout": timeout})
        self._native = producer._native.transaction(given)
        self.id: str = self._native.id()
        self._engine._children.add(self)

    def send(
        self,
        topic: "Topic | str",
        value: Bytes | None,
        *,
        key: Bytes | None = None,
        headers: Headers | None = None,
        tag: str | None = None,
        timestamp_ms: int | None = None,
        partition: int | None = None,
        message_id: Bytes | str | None = None,
    ) -> None:
        """Adds a record, which becomes visible by the commit."""
        self._native.send(
            self._engine._topic(topic), value, key, headers, tag, timestamp_ms, partition, None, message_id, None, None
        )

    def ack(self, records: Delivery | Iterable[Delivery], member: "Member | None" = None) -> int:
        """Acknowledges records with the commit; says how many. `member` is needed for bare deliveries only."""
        return self._native.ack(records, None if member is None else member._native)

    def prepare(self) -> None:
        """Makes all of it durable and invisible; from now on only a decision ends it, over restarts too."""
        self._native.prepare()

    def commit(self) -> None:
        """Commits it, prepared or not. To commit again changes nothing."""
        self._native.commit()

    def roll_back(self) -> None:
        """Rolls it back, prepared or not. To roll back again changes nothing."""
        self._native.roll_back()

    def receipts(self) -> list[Receipt]:
        """The receipts of its records, in their order, once it is committed. Waits until all of it is visible."""
        return self._native.receipts()

    @property
    def state(self) -> TransactionState:
        return TransactionState(self._native.state())

    @property
    def closed(self) -> bool:
        return self._native.closed

    def close(self) -> None:
        """Lets go of it: one that is open is rolled back; of one that is prepared the checker is asked."""
        self._native.close()

    def __enter__(self) -> "Transaction":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._native.closed:
            return
        try:
            if kind is None:
                if self.state in (TransactionState.OPEN, TransactionState.PREPARED):
                    self._native.commit()
            elif self.state is TransactionState.OPEN or not self._has_checker:
                try:
                    self._native.roll_back()
                except RinglaneError:
                    # It was decided already, or the engine stopped; the block's own exception says what went wrong.
                    pass
            # One that is prepared and has a checker stays undecided: the local part may have been committed.
        finally:
            self.close()


__all__ = ["Transaction"]
