//! What the checker finds: typed, in a stable order, with a message for people.

use crate::history::{TopicNumber, Value};
use serde::Serialize;
use std::fmt;

/// What the checker says of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong, by the event that shows it. Empty: nothing.
    pub findings: Vec<Finding>,
    /// Steps taken: they grow as the history does, not faster.
    pub steps: u64,
}

/// Something that must not be in a history.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The event that shows it.
    pub index: usize,
    /// What kind of wrong it is.
    pub anomaly: Anomaly,
    /// The topic and partition.
    pub partition: Option<(TopicNumber, u32)>,
    /// The offset.
    pub offset: Option<u64>,
    /// The record.
    pub value: Option<Value>,
    /// The client that saw it.
    pub process: Option<u32>,
    /// What happened, for people.
    pub message: String,
}

macro_rules! anomalies {
    ($( $(#[$doc:meta])* $variant:ident = $name:literal; )*) => {
        /// The kinds of wrong.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Anomaly {
            $( $(#[$doc])* #[serde(rename = $name)] $variant, )*
        }

        impl Anomaly {
            /// All of them.
            pub const ALL: &'static [Anomaly] = &[ $( Anomaly::$variant, )* ];

            /// Its stable name.
            pub fn name(self) -> &'static str {
                match self { $( Anomaly::$variant => $name, )* }
            }
        }
    };
}

anomalies! {
    /// The history itself is not one: a completion of nothing, one value sent twice.
    Malformed = "malformed";
    /// A record that was never sent, or not yet.
    Unexpected = "unexpected";
    /// A record in another topic or partition than it was sent to.
    Misplaced = "misplaced";
    /// Acknowledged as durable, and gone.
    LostWrite = "lost-write";
    /// A topic whose creation was acknowledged is gone.
    LostTopic = "lost-topic";
    /// Must be visible at the end, and was not seen.
    Unseen = "unseen";
    /// One record at two offsets.
    Duplicate = "duplicate";
    /// One offset with two records.
    InconsistentOffset = "inconsistent-offset";
    /// Offsets are dense, and these are not.
    OffsetGap = "offset-gap";
    /// A consumer's next poll left records out.
    SkippedPoll = "skipped-poll";
    /// Within one poll records were left out.
    InternalSkippedPoll = "internal-skipped-poll";
    /// A consumer's next poll went back.
    NonmonotonicPoll = "nonmonotonic-poll";
    /// Within one poll offsets go back or stand still.
    InternalNonmonotonicPoll = "internal-nonmonotonic-poll";
    /// A poll gave nothing although the next record was acknowledged before the poll began.
    StalePoll = "stale-poll";
    /// A poll gave records of a partition that was not assigned.
    UnassignedRead = "unassigned-read";
    /// One client's records do not have the order of its calls.
    NonmonotonicSend = "nonmonotonic-send";
    /// The records of one transaction do not have the order of its calls.
    InternalNonmonotonicSend = "internal-nonmonotonic-send";
    /// A record was read whose send had failed for certain.
    AbortedRead = "aborted-read";
    /// A record was read whose cancelling was acknowledged.
    CancelledRead = "cancelled-read";
    /// A delayed record was visible before its time.
    EarlyRead = "early-read";
    /// A record was read, and gone after a crash: it was visible before it was durable.
    ReadUndone = "read-undone";
    /// Records of a topic were read after its deletion was acknowledged.
    DeletedTopicRead = "deleted-topic-read";
    /// Records were given up that nobody had asked to give up.
    UnaskedTruncation = "unasked-truncation";
    /// Records are there again that had been given up.
    TruncationUndone = "truncation-undone";
    /// A receipt states less than was asked for.
    WeakReceipt = "weak-receipt";
    /// Two records of a partition have one number, or one record comes with a number that is another one's.
    NumberTwice = "number-twice";
    /// A record has another number than its sender gave it, than was said of it before, or than its producer can have.
    Misnumbered = "misnumbered";
    /// Numbers are missing in the log, and nothing that was done explains it.
    NumberGap = "number-gap";
    /// The engine says that numbers are missing and their records lost.
    NumberLost = "number-lost";
    /// What the engine says of numbers that are missing cannot be so.
    WrongReason = "wrong-reason";
    /// The engine does not know any more how far a producer came.
    ForgottenNumber = "forgotten-number";
    /// A record that was there was sent once more, and written again.
    WrittenAgain = "written-again";
    /// A record of an older epoch came after the name had been opened.
    FencedWrite = "fenced-write";
    /// A record of a transaction that was rolled back was read.
    G1a = "g1a";
    /// A record of a transaction was read before anybody asked to commit it.
    ReadBeforeCommit = "read-before-commit";
    /// A part of a transaction is there, another is not.
    TornTransaction = "torn-transaction";
    /// A transaction was committed and rolled back.
    DecidedTwice = "decided-twice";
    /// A transaction is decided, and nobody had asked for that.
    DecidedByItself = "decided-by-itself";
    /// A transaction that was prepared is gone, or a decision that was acknowledged.
    LostTransaction = "lost-transaction";
    /// Transactions' writes are ordered in a circle.
    G0 = "g0";
    /// Transactions' writes and reads are ordered in a circle.
    G1c = "g1c";
    /// An acknowledged position went back.
    PositionWentBack = "position-went-back";
    /// A record that a group neither acknowledged nor gave up is not there for it.
    QueueLost = "queue-lost";
    /// A record was handed out after its acknowledgement was durable.
    DeliveredAfterAcknowledgement = "delivered-after-acknowledgement";
    /// A record was handed out after it had gone to the dead letters.
    DeliveredAfterDeadLetter = "delivered-after-dead-letter";
    /// Two members hold one record.
    TwoLeases = "two-leases";
    /// An acknowledgement (or another settling) was accepted from a lease that had ended.
    StaleSettlement = "stale-settlement";
    /// Sent is not acknowledged + dead-lettered + pending.
    Conservation = "conservation";
    /// A delivery count did not grow.
    DeliveryCountWentBack = "delivery-count-went-back";
    /// A record was handed out again although as many of its deliveries had failed as may.
    TooManyDeliveries = "too-many-deliveries";
    /// A member lost a lease before its time was over.
    LeaseLostEarly = "lease-lost-early";
    /// What stands of the cause of a dead letter cannot be so.
    WrongCause = "wrong-cause";
    /// A group whose creation was acknowledged is gone.
    LostGroup = "lost-group";
    /// A group is there whose deletion was acknowledged.
    DeletedGroup = "deleted-group";
    /// A token is fresh again although a confirmed acknowledgement recorded it: work is done twice.
    TokenForgotten = "token-forgotten";
    /// A token is a duplicate although nobody acknowledged under it: work is not done.
    TokenUnused = "token-unused";
    /// A group that keeps the order did not.
    OrderViolated = "order-violated";
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at event {}", self.anomaly.name(), self.index)?;
        if let Some(process) = self.process {
            write!(f, ", process {process}")?;
        }
        if let Some((topic, partition)) = self.partition {
            write!(f, ", topic {topic} partition {partition}")?;
        }
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        if let Some(value) = self.value {
            write!(f, ", value {value}")?;
        }
        write!(f, ": {}", self.message)
    }
}

impl Finding {
    /// A finding of which only the event and the message are known yet.
    pub(super) fn new(index: usize, anomaly: Anomaly, message: String) -> Finding {
        Finding { index, anomaly, partition: None, offset: None, value: None, process: None, message }
    }

    pub(super) fn in_partition(mut self, topic: TopicNumber, partition: u32) -> Finding {
        self.partition = Some((topic, partition));
        self
    }

    pub(super) fn at_offset(mut self, offset: u64) -> Finding {
        self.offset = Some(offset);
        self
    }

    pub(super) fn of_value(mut self, value: Value) -> Finding {
        self.value = Some(value);
        self
    }

    pub(super) fn by_process(mut self, process: Option<u32>) -> Finding {
        self.process = process;
        self
    }
}
