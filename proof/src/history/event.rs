//! The events of a history: calls, their outcomes, and what happens to the world.
//!
//! Small and plain, so that a simulator can make millions of them and a child can say each in one line.

use serde::{Deserialize, Serialize};

/// A record's value in a history: a number that no other record has.
pub type Value = u64;
/// A topic's number; never used for another topic.
pub type TopicNumber = u32;
/// A consumer group's number.
pub type GroupNumber = u32;
/// A transaction's number; never used for another transaction.
pub type TransactionNumber = u64;
/// A named producer's number; never used for another one, also not when its name is used again after its deletion.
pub type ProducerNumber = u32;
/// A lease's number, unique in its group.
pub type LeaseNumber = u64;

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A client is about to call.
    Invoke {
        /// Nanoseconds since the history began, by a clock that does not go back.
        at_ns: u64,
        /// The operation's number.
        operation: u64,
        /// The client. A client's calls may overlap: an asynchronous sender's do.
        process: u32,
        /// What it asks.
        call: Call,
    },
    /// A call came back.
    Complete {
        /// Nanoseconds since the history began.
        at_ns: u64,
        /// The number its invocation has.
        operation: u64,
        /// How it ended.
        outcome: Outcome,
    },
    /// Nobody's call.
    World {
        /// Nanoseconds since the history began.
        at_ns: u64,
        /// What happened.
        happening: Happening,
    },
}

/// How far a record has come when it is acknowledged. The better comes later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The lane has it.
    Buffered,
    /// It is on the device, flushed.
    #[default]
    Synced,
}

/// Where an assignment or a seek begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// The first offset that is kept.
    Beginning,
    /// Behind the last record that is visible.
    End,
    /// This offset.
    Offset(u64),
    /// The first record at or after a time. Where that is, only the answer can tell.
    Timestamp(i64),
}

/// What a client asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Call {
    /// Creates a topic.
    CreateTopic {
        /// Its number.
        topic: TopicNumber,
        /// Partitions.
        partitions: u32,
        /// It takes the dead letters of this group.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        dead_letters_of: Option<GroupNumber>,
    },
    /// Deletes a topic.
    DeleteTopic {
        /// Its number.
        topic: TopicNumber,
    },
    /// Changes how long the records of a topic are kept.
    SetRetention {
        /// The topic.
        topic: TopicNumber,
        /// From now on records may be given up.
        bounded: bool,
        /// From now on those may that every group has finished.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        finished: bool,
    },
    /// Gives up the records of a partition below an offset. The answer is the first one that is kept.
    DeleteRecords {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// The offset.
        before: u64,
    },
    /// Sends a record. A batch is several of these, invoked in the batch's order.
    Send {
        /// The topic.
        topic: TopicNumber,
        /// The partition, unless the engine chooses.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        partition: Option<u32>,
        /// The record.
        value: Value,
        /// What is asked for.
        #[serde(default)]
        durability: Durability,
        /// Not visible before the wall clock shows this (ms since 1970). `None`: at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        visible_at_ms: Option<i64>,
        /// The transaction that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<TransactionNumber>,
        /// The named producer that sends it. `None`: one without a name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Author>,
    },
    /// Sends a record once more, under the same number: because its outcome is unknown, or to ask for its receipt.
    Repeat {
        /// The record.
        value: Value,
        /// What is asked for.
        #[serde(default)]
        durability: Durability,
    },
    /// Opens the name of a producer: who had it before may not send any more.
    OpenProducer {
        /// The producer.
        producer: ProducerNumber,
        /// Its name's number.
        name: u32,
    },
    /// Deletes a named producer, and all that is known of its numbers.
    DeleteProducer {
        /// The producer.
        producer: ProducerNumber,
    },
    /// Whoever has opened a producer asks for the number of its last record in a partition.
    LastSent {
        /// The producer.
        producer: ProducerNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
    },
    /// Cancels a delayed record.
    Cancel {
        /// The record.
        value: Value,
    },
    /// Makes everything sent before durable.
    Sync,
    /// Closes the engine cleanly.
    Close,
    /// This client reads a partition from now on, from a place on.
    Assign {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// Where to begin.
        from: From,
    },
    /// This client reads a partition no longer.
    Unassign {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
    },
    /// Moves the reading position.
    Seek {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// Where to.
        from: From,
    },
    /// Reads what comes next in the assigned partitions.
    Poll {
        /// The transaction that what is read belongs to (consume, transform, produce).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<TransactionNumber>,
    },
    /// Begins a transaction.
    Begin {
        /// Its number.
        transaction: TransactionNumber,
    },
    /// Makes a transaction durable, not yet visible.
    Prepare {
        /// Its number.
        transaction: TransactionNumber,
    },
    /// Decides that it happens.
    Commit {
        /// Its number.
        transaction: TransactionNumber,
    },
    /// Decides that it does not happen.
    RollBack {
        /// Its number.
        transaction: TransactionNumber,
    },
    /// A member takes records of its group, each under a lease.
    Take {
        /// The group.
        group: GroupNumber,
        /// The member.
        member: u32,
    },
    /// Ends or changes a lease.
    Settle {
        /// The group.
        group: GroupNumber,
        /// The lease.
        lease: LeaseNumber,
        /// How.
        settling: Settling,
        /// The transaction that it belongs to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transaction: Option<TransactionNumber>,
    },
    /// Asks whether something was processed under a token.
    Once {
        /// The group.
        group: GroupNumber,
        /// The lease.
        lease: LeaseNumber,
        /// The token.
        token: u64,
    },
    /// Acknowledges everything below an offset.
    AcknowledgePosition {
        /// The group.
        group: GroupNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// The first offset that is not acknowledged.
        position: u64,
    },
    /// Asks for a group's acknowledged position.
    AcknowledgedPosition {
        /// The group.
        group: GroupNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
    },
    /// A member goes: its leases end.
    Leave {
        /// The group.
        group: GroupNumber,
        /// The member.
        member: u32,
    },
    /// Creates a consumer group.
    CreateGroup {
        /// Its number; never used for another group, also not when its name is used again.
        group: GroupNumber,
        /// Each partition belongs to one member at a time, in order, and is held back at a nack.
        ordered: bool,
        /// So many deliveries of a record may fail; then it is a dead letter.
        max_deliveries: u32,
        /// Its dead letters are never given up, and none is written twice.
        dead_letters_kept: bool,
    },
    /// Deletes a consumer group.
    DeleteGroup {
        /// The group.
        group: GroupNumber,
    },
    /// A group goes on elsewhere in a partition: the answer says where. What is known of its progress there counts no
    /// more.
    ResetGroup {
        /// The group.
        group: GroupNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
    },
    /// Everything that a member has acknowledged becomes durable.
    Confirm {
        /// The group.
        group: GroupNumber,
        /// The member.
        member: u32,
    },
    /// Makes a dead letter available to its group again.
    Redrive {
        /// The group.
        group: GroupNumber,
        /// The record.
        value: Value,
    },
}

/// What is seen of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionSeen {
    /// Nothing is known of it.
    Missing,
    /// It is durable, and undecided.
    Prepared,
    /// It was committed.
    Committed,
    /// It was rolled back.
    RolledBack,
}

/// What an inbox says of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenSeen {
    /// Nothing: it belongs to the lease now.
    Fresh,
    /// Something was acknowledged under it.
    Duplicate,
    /// It belongs to another lease.
    InProgress,
}

/// What is done to a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settling {
    /// Done; and durably so when it is answered.
    Acknowledge,
    /// Done; durable a little later.
    AcknowledgeLater,
    /// Failed: again, at the earliest when the wall clock shows this.
    Nack {
        /// Milliseconds since 1970; 0 is at once.
        again_at_ms: i64,
    },
    /// Failed for good: to the dead letters.
    Reject,
    /// Given back; not a failure.
    Release,
    /// Needs longer: until the wall clock shows this.
    Extend {
        /// Milliseconds since 1970.
        until_ms: i64,
    },
    /// Needs longer: so long from now on, by the clock of the history.
    Prolong {
        /// Milliseconds.
        ms: u64,
    },
}

impl Happening {
    /// The engine says that everything below an offset is given up.
    pub fn truncated(topic: TopicNumber, partition: u32, first_offset: u64) -> Happening {
        let code = "truncated".to_owned();
        Happening::Reported { topic, partition, first_offset: 0, count: first_offset, code }
    }
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was done.
    Ok(Answer),
    /// It was not done, and never will be.
    Failed {
        /// A stable name: an error's code.
        code: String,
    },
    /// It may have been done, or may yet be.
    Unknown {
        /// A stable name: an error's code.
        code: String,
    },
}

impl Outcome {
    /// Done, nothing more to say.
    pub fn done() -> Outcome {
        Outcome::Ok(Answer::Done)
    }
}

/// What a call gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Nothing but that it was done.
    Done,
    /// Of a send: where the record stands.
    Receipt {
        /// Its partition.
        partition: u32,
        /// Its offset; `None` while it is withheld.
        offset: Option<u64>,
        /// How far it has come.
        durability: Durability,
        /// What it says of the record's number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        numbered: Option<Numbered>,
    },
    /// Of opening a producer.
    Opened {
        /// The engine's name for it, in [`Origin::producer`].
        id: u32,
        /// How often it was opened.
        epoch: u32,
    },
    /// Of asking for the last record: its number, if there is one.
    LastSent {
        /// The number.
        sequence: Option<u64>,
    },
    /// Of an assignment, a seek, or a question for a position.
    Position {
        /// The next offset.
        offset: u64,
    },
    /// Of a question for a token.
    Token {
        /// What is known of it.
        seen: TokenSeen,
    },
    /// Of a poll.
    Polled {
        /// What each partition gave, in the order in which it was given. An assigned partition that is
        /// listed without records gave nothing.
        reads: Vec<Read>,
        /// The wall clock, looked at after the poll.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wall_ms: Option<i64>,
    },
    /// Of a commit that waited for the offsets.
    Committed {
        /// Where the records stand.
        placed: Vec<Placed>,
    },
    /// Of a take.
    Taken {
        /// The deliveries, in order.
        deliveries: Vec<Delivery>,
        /// The wall clock, looked at after the call.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wall_ms: Option<i64>,
    },
}

/// Who sends a record under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Author {
    /// The producer.
    pub producer: ProducerNumber,
    /// The number that the sender gave to the record, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
}

/// Who wrote a record, and as which one of its records in the partition: what the engine says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// The producer; 0 stands for all that have no name.
    pub producer: u32,
    /// How often it had been opened.
    pub epoch: u32,
    /// The number.
    pub sequence: u64,
}

/// What a receipt says of a record's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbered {
    /// Its number.
    #[serde(flatten)]
    pub origin: Origin,
    /// The record was there before: nothing was written.
    #[serde(default)]
    pub duplicate: bool,
}

/// Numbers of a producer that a reader of a whole partition misses, and what the engine says of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// The producer.
    pub producer: u32,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// Why.
    pub reason: Reason,
}

/// Why numbers are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Withheld, or just published.
    Pending,
    /// Cancelled.
    Cancelled,
    /// Given up.
    Expired,
    /// Cannot be read.
    Corrupt,
    /// The log knows nothing of them.
    Unknown,
}

/// What one partition gave in a poll.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The topic.
    pub topic: TopicNumber,
    /// The partition.
    pub partition: u32,
    /// Offset and value, in the order in which they came.
    pub records: Vec<(u64, Value)>,
}

/// A record and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// The topic.
    pub topic: TopicNumber,
    /// The partition.
    pub partition: u32,
    /// The offset.
    pub offset: u64,
    /// The record.
    pub value: Value,
}

/// A record handed to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Which record.
    #[serde(flatten)]
    pub placed: Placed,
    /// Its lease.
    pub lease: LeaseNumber,
    /// How often it was handed out, this time included.
    pub delivery_count: u32,
    /// The lease ends when the wall clock shows this. `None`: not by the clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// The lease lasts so long from the hand-out on, by the clock of the history. `None`: not by that clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_ms: Option<u64>,
}

/// A record among the dead letters of a group, and what stands there of its cause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The group.
    pub group: GroupNumber,
    /// Where the record was sent, as its cause says, and which one it is.
    #[serde(flatten)]
    pub placed: Placed,
    /// Partition and offset among the dead letters.
    pub stands_at: (u32, u64),
    /// How often it was handed out.
    pub deliveries: u32,
    /// How many of these deliveries failed.
    pub failures: u32,
    /// How the last one ended.
    pub reason: String,
}

/// What stops the engine without a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashKind {
    /// The process died; what it wrote stays.
    Kill,
    /// The machine died; what was not flushed may be gone, wholly or in sectors.
    PowerLoss,
    /// An I/O error: the engine accepts nothing until it is opened again.
    Poisoned,
}

/// Nobody's call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Happening {
    /// The engine is gone. Operations without a completion get none: their outcome is unknown.
    Crash {
        /// How.
        kind: CrashKind,
        /// Records acknowledged at this durability, or a better one, are kept. A crash breaks the
        /// guarantees below it.
        keeps: Durability,
    },
    /// It was opened again. What is readable follows, as [`Happening::Contents`].
    Reopened,
    /// Everything in a partition from an offset on, to its end, read while nothing was sent. After
    /// [`Happening::Reopened`] and [`Happening::Settled`] there is one for each partition that is there.
    Contents {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// Where the reading began.
        first_offset: u64,
        /// Offset and value.
        records: Vec<(u64, Value)>,
        /// The wall clock, looked at after the reading.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wall_ms: Option<i64>,
    },
    /// The numbers of the records in the [`Happening::Contents`] of this partition that came just before, and which the
    /// reader misses. It is written only where no damage was reported.
    Origins {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// Of the records, in the order of their offsets.
        origins: Vec<Origin>,
        /// What is missing between them.
        missing: Vec<Missing>,
    },
    /// Who looks from outside, at the files of an engine that others may be writing, was shown these records: the
    /// first ones of a partition, one behind the other. There may be more, and the topic may be deleted by now. But
    /// what was shown stays.
    Shown {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// Where the looking began.
        first_offset: u64,
        /// Offset and value.
        records: Vec<(u64, Value)>,
        /// The wall clock, looked at after the reading.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wall_ms: Option<i64>,
    },
    /// A topic is not there (any more).
    TopicMissing {
        /// The topic.
        topic: TopicNumber,
    },
    /// The engine said that it cannot give these offsets; what it says is not lost in silence.
    Reported {
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// The first of them.
        first_offset: u64,
        /// How many.
        count: u64,
        /// A stable name: `damaged`, `truncated`.
        code: String,
    },
    /// No delayed record is waiting any more whose time was before this. [`Happening::Contents`] of every
    /// partition follow, and end the history: what is not in them now is not there.
    Settled {
        /// The wall clock.
        wall_ms: i64,
    },
    /// A lease ended because its time was over.
    LeaseExpired {
        /// The group.
        group: GroupNumber,
        /// The lease.
        lease: LeaseNumber,
    },
    /// A record went to the dead letters of a group.
    DeadLettered {
        /// The group.
        group: GroupNumber,
        /// The record.
        value: Value,
    },
    /// What a group has still to do in a partition, and what it gave up, asked while nothing was going on.
    GroupContents {
        /// The group.
        group: GroupNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// Where the group began.
        first_offset: u64,
        /// Available, delayed or leased.
        pending: Vec<Value>,
        /// In the dead letters.
        dead_lettered: Vec<Value>,
    },
    /// A group is there.
    GroupThere {
        /// The group.
        group: GroupNumber,
    },
    /// A group is not there (any more).
    GroupMissing {
        /// The group.
        group: GroupNumber,
    },
    /// What the engine knows of a transaction after an opening.
    TransactionAt {
        /// The transaction.
        transaction: TransactionNumber,
        /// What it is.
        state: TransactionSeen,
    },
    /// All records of a partition below an offset are finished for a group, says the engine. The first time it is
    /// where the group begins there.
    GroupAt {
        /// The group.
        group: GroupNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
        /// The offset.
        position: u64,
    },
    /// A record was seen among the dead letters of a group.
    DeadLetter(DeadLetter),
    /// Everything of a partition that a group had still to do was handed out and acknowledged, or is a dead letter. All
    /// of these were listed just before, and nothing was sent meanwhile.
    Drained {
        /// The group.
        group: GroupNumber,
        /// The topic.
        topic: TopicNumber,
        /// The partition.
        partition: u32,
    },
    /// A group gives each partition to one member, in order, and holds it back at a nack.
    OrderedGroup {
        /// The group.
        group: GroupNumber,
    },
}
