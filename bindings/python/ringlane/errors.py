"""What can go wrong: one exception for each code of the library, all of them a `RinglaneError`.

The codes, and what to do about each, stand in docs/GUARANTEES.md. What decides how a program goes on are the flags:
`retriable`, `fatal`, `unknown_outcome` and `aborted`.
"""

from __future__ import annotations

from typing import ClassVar, Iterator

RETRIABLE, FATAL, UNKNOWN_OUTCOME, ABORTED = 1, 2, 4, 8

__all__ = [
    "RinglaneError",
    "InvalidArgument",
    "DeadHandle",
    "InUse",
    "Panic",
    "HeldTooMuch",
    "Woken",
    "UnknownTopic",
    "TopicExists",
    "TopicDeleted",
    "UnknownProducer",
    "ProducerFenced",
    "UnknownGroup",
    "GroupExists",
    "GroupDeleted",
    "LeaseLost",
    "NotDelivered",
    "AlreadyAcknowledged",
    "TransactionExists",
    "UnknownTransaction",
    "TransactionConflict",
    "WrongTransactionState",
    "TransactionTimedOut",
    "NoDeadLetter",
    "AlreadyRedriven",
    "OriginalGone",
    "SequenceGap",
    "ReceiptForgotten",
    "InvalidName",
    "InvalidPartition",
    "RecordTooLarge",
    "InvalidDirectory",
    "ForeignFormat",
    "UnsupportedVersion",
    "Locked",
    "ReadOnly",
    "Damaged",
    "IoFailed",
    "NoSpace",
    "Poisoned",
    "UnknownOutcome",
    "QueueFull",
    "Truncated",
    "Closed",
    "NotWithheld",
    "Forked",
    "InterceptorFailed",
    "TooMany",
    "AdminFailed",
    "OtherError",
]


class RinglaneError(Exception):
    """An error of the library.

    `done` is set where a call did several things, such as `ack` of many records: so many of them were done before it.
    """

    #: What the library calls it, such as "unknown-topic".
    code: ClassVar[str] = "other"
    #: Its number in the C header.
    status: int = -99

    def __init__(
        self,
        message: str = "",
        *,
        status: int | None = None,
        flags: int = 0,
        system_error: int = 0,
        details: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> None:
        super().__init__(message)
        if status is not None:
            self.status = status
        self.flags = flags
        #: The errno of the operation that failed, or 0.
        self.system_error = system_error
        #: Figures for programs; which, the class says.
        self.details = details
        self.done: int | None = None

    @property
    def retriable(self) -> bool:
        """The same call may succeed later, without anything being done twice."""
        return bool(self.flags & RETRIABLE)

    @property
    def fatal(self) -> bool:
        """Every later call fails too, until the engine is opened again."""
        return bool(self.flags & FATAL)

    @property
    def unknown_outcome(self) -> bool:
        """What was asked for may have happened or not."""
        return bool(self.flags & UNKNOWN_OUTCOME)

    @property
    def aborted(self) -> bool:
        """The transaction is over, and was rolled back; begin another."""
        return bool(self.flags & ABORTED)

    def __reduce__(self) -> tuple[object, ...]:
        return (_again, (type(self), str(self), self.status, self.flags, self.system_error, self.details))


def _again(
    kind: type[RinglaneError],
    message: str,
    status: int,
    flags: int,
    system_error: int,
    details: tuple[int, int, int, int],
) -> RinglaneError:
    return kind(message, status=status, flags=flags, system_error=system_error, details=details)


class InvalidArgument(RinglaneError, ValueError):
    """Something that was passed cannot be, such as an option that there is not: the message says which."""

    code = "invalid-argument"
    status = -1


class DeadHandle(RinglaneError):
    """The handle was freed, or never was one."""

    code = "dead-handle"
    status = -2


class InUse(RinglaneError):
    """Another thread is in a call of the same consumer, member or transaction: one thread at a time uses these."""

    code = "in-use"
    status = -3


class Panic(RinglaneError):
    """A bug in Ringlane; the engine stops, and must be opened again."""

    code = "panic"
    status = -4


class HeldTooMuch(RinglaneError):
    """Batches that were polled and not freed hold as much memory as they may (`held_bytes_max`)."""

    code = "held-too-much"
    status = -5


class Woken(RinglaneError):
    """A wait was ended by a wakeup."""

    code = "woken"
    status = -6


class UnknownTopic(RinglaneError):
    """There is no topic of this name."""

    code = "unknown-topic"
    status = -10


class TopicExists(RinglaneError):
    """The topic is there already."""

    code = "topic-exists"
    status = -11


class TopicDeleted(RinglaneError):
    """The topic was deleted while a handle to it was held."""

    code = "topic-deleted"
    status = -12


class UnknownProducer(RinglaneError):
    """There is no producer of this name, or it was deleted."""

    code = "unknown-producer"
    status = -13


class ProducerFenced(RinglaneError):
    """Somebody opened the producer's name since. `details`: its epoch, and the newest one."""

    code = "producer-fenced"
    status = -14


class UnknownGroup(RinglaneError):
    """There is no group of this name."""

    code = "unknown-group"
    status = -15


class GroupExists(RinglaneError):
    """The group is there already."""

    code = "group-exists"
    status = -16


class GroupDeleted(RinglaneError):
    """The group was deleted under its members."""

    code = "group-deleted"
    status = -17


class LeaseLost(RinglaneError):
    """The lease ran out or was taken away: somebody else may have the record. `details`: partition, offset."""

    code = "lease-lost"
    status = -18


class NotDelivered(RinglaneError):
    """The record is not held by this member. `details`: partition, offset."""

    code = "not-delivered"
    status = -19


class AlreadyAcknowledged(RinglaneError):
    """This member acknowledged the record before. `details`: partition, offset."""

    code = "already-acknowledged"
    status = -20


class TransactionExists(RinglaneError):
    """The id is that of a transaction that goes on, or was committed."""

    code = "transaction-exists"
    status = -21


class UnknownTransaction(RinglaneError):
    """Nothing is known of the transaction."""

    code = "unknown-transaction"
    status = -22


class TransactionConflict(RinglaneError):
    """The transaction ended otherwise before."""

    code = "transaction-conflict"
    status = -23


class WrongTransactionState(RinglaneError):
    """The call is for a transaction in another state."""

    code = "wrong-transaction-state"
    status = -24


class TransactionTimedOut(RinglaneError):
    """The transaction was open for too long, and was rolled back. `details`: how long it might be open, ms."""

    code = "transaction-timed-out"
    status = -25


class NoDeadLetter(RinglaneError):
    """There is no dead letter to be redriven."""

    code = "no-dead-letter"
    status = -26


class AlreadyRedriven(RinglaneError):
    """The dead letter was redriven before."""

    code = "already-redriven"
    status = -27


class OriginalGone(RinglaneError):
    """The record of a dead letter is not kept any more."""

    code = "original-gone"
    status = -28


class SequenceGap(RinglaneError):
    """The record skips numbers of its producer. `details`: its number, and the one that comes next."""

    code = "sequence-gap"
    status = -29


class ReceiptForgotten(RinglaneError):
    """The record is there, and its receipt is not remembered any more. `details`: its number."""

    code = "receipt-forgotten"
    status = -30


class InvalidName(RinglaneError):
    """The name cannot be used."""

    code = "invalid-name"
    status = -31


class InvalidPartition(RinglaneError):
    """The topic has no such partition."""

    code = "invalid-partition"
    status = -32


class RecordTooLarge(RinglaneError):
    """The record is larger than `record_bytes_max`. `details`: its size, and the bound."""

    code = "record-too-large"
    status = -33


class InvalidDirectory(RinglaneError):
    """The directory is not there, or is none."""

    code = "invalid-directory"
    status = -34


class ForeignFormat(RinglaneError):
    """There are files that Ringlane did not write."""

    code = "foreign-format"
    status = -35


class UnsupportedVersion(RinglaneError):
    """The files are of another version."""

    code = "unsupported-version"
    status = -36


class Locked(RinglaneError):
    """Another process has the directory open, or another engine of this one. `details`: its process id."""

    code = "locked"
    status = -37


class ReadOnly(RinglaneError):
    """The engine was opened only to be read."""

    code = "read-only"
    status = -38


class Damaged(RinglaneError):
    """Acknowledged data is damaged. `details`: position, offset in the file, bytes."""

    code = "damaged"
    status = -39


class IoFailed(RinglaneError):
    """An operation of the system failed; `system_error` is its errno, if there is one."""

    code = "io"
    status = -40


class NoSpace(RinglaneError):
    """There is no room on the device. `details`: bytes that are needed, and that are free."""

    code = "no-space"
    status = -41


class Poisoned(RinglaneError):
    """The engine stopped after a failure, and must be opened again."""

    code = "poisoned"
    status = -42


class UnknownOutcome(RinglaneError):
    """What was sent may be there or not: look, after reopening."""

    code = "unknown-outcome"
    status = -43


class QueueFull(RinglaneError):
    """The send buffer stayed full. `details`: bytes in it, and how long the call waited, ms."""

    code = "queue-full"
    status = -44


class Truncated(RinglaneError):
    """Records were removed before they were read. `details`: the first offset that is gone, and the first there is."""

    code = "truncated"
    status = -45


class Closed(RinglaneError):
    """The engine, or what was called, is closed."""

    code = "closed"
    status = -46


class NotWithheld(RinglaneError):
    """The record is not withheld: it was published or cancelled before, or never was."""

    code = "not-withheld"
    status = -47


class Forked(RinglaneError):
    """What is called was made in the process that this one was forked from."""

    code = "forked"
    status = -48


class InterceptorFailed(RinglaneError):
    """An interceptor failed."""

    code = "interceptor"
    status = -49


class TooMany(RinglaneError):
    """There are as many as there may be. `details`: how many, and the bound."""

    code = "too-many"
    status = -50


class AdminFailed(RinglaneError):
    """The process that has the engine open could not be asked."""

    code = "admin"
    status = -51


class OtherError(RinglaneError):
    """An error that this package does not know."""

    code = "other"
    status = -99


def _all(kind: type[RinglaneError]) -> Iterator[type[RinglaneError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _all(below)


_BY_STATUS = {kind.status: kind for kind in _all(RinglaneError)}


def of_status(
    status: int, flags: int, system_error: int, details: tuple[int, int, int, int], message: str
) -> RinglaneError:
    """The exception for an error of the library."""
    kind = _BY_STATUS.get(status, OtherError)
    return kind(message, status=status, flags=flags, system_error=system_error, details=details)
