//! Messages of the admin socket, byte by byte. docs/FORMAT.md describes them.
//!
//! Invariants:
//! - Any bytes are refused or read without a panic, and memory grows only with what was sent.
//! - A message has one encoding.
//! - The header keeps its layout in all versions, so that another version is an answer and not a guess.

use super::acknowledged::{put_acknowledged, take_acknowledged};
use super::delivered::{Delivered, Ending, put_id, take_id};
use super::groups::{
    put_group, put_group_options, put_member_options, put_redrive, take_group, take_group_options, take_member_options,
    take_redrive,
};
use super::producers::{put_producer, take_producer};
use super::refusal::{MALFORMED, Refusal, UNKNOWN_REQUEST, UNSUPPORTED_VERSION};
use super::topics::{TopicDescription, TopicSummary, put_partition, take_partition};
use super::transactions::{put_outcome, put_transaction, take_outcome, take_transaction};
use super::value::Value;
use super::{BODY_BYTES_MAX, RECORDS_MAX};
use crate::consumer::Start;
use crate::consumer::group::{DeliveryId, GroupInfo, GroupOptions, MemberOptions, Redrive, Redriven};
use crate::io::delay_ms;
use crate::lane::acknowledged::Acknowledged;
use crate::lane::transactions::{TransactionKey, TransactionOutcome};
use crate::log::codec::{Put, Reader};
use crate::log::origin::Origin;
use crate::producer::{Durability, ProducerInfo, RecordId};
use crate::record::{Record, RecordRef, Visibility};
use crate::topic::{PartitionInfo, Retention, TopicOptions};
use crate::transaction::TransactionInfo;
use crate::transaction::registry::Listed;
use std::time::Duration;

/// The version of the messages.
pub(crate) const VERSION: u8 = 1;
/// `u32 magic, u8 version, u8 kind, u16 zero, u32 body_bytes, u64 request`.
pub(crate) const HEADER_BYTES: usize = 20;
const MAGIC: [u8; 4] = *b"RLAD";

const HELLO: u8 = 1;
const CREATE_TOPIC: u8 = 2;
const DELETE_TOPIC: u8 = 3;
const LIST_TOPICS: u8 = 4;
const DESCRIBE_TOPIC: u8 = 5;
const SYNC: u8 = 6;
const STATS: u8 = 7;
const PRODUCE: u8 = 8;
const RESET_GROUP: u8 = 9;
const REDRIVE: u8 = 10;
const RESOLVE_TRANSACTION: u8 = 11;
const CONFIGURE_TOPIC: u8 = 12;
const DELETE_RECORDS: u8 = 13;
const LIST_PRODUCERS: u8 = 14;
const DELETE_PRODUCER: u8 = 15;
const CREATE_GROUP: u8 = 16;
const DELETE_GROUP: u8 = 17;
const LIST_GROUPS: u8 = 18;
const DESCRIBE_GROUP: u8 = 19;
const JOIN_GROUP: u8 = 20;
const POLL: u8 = 21;
const END_DELIVERIES: u8 = 22;
const LEAVE_GROUP: u8 = 23;
const LIST_ACKNOWLEDGED: u8 = 24;
const LIST_TRANSACTIONS: u8 = 25;
const DESCRIBE_TRANSACTION: u8 = 26;
/// The kind of an answer is that of its request, and this.
const ANSWER: u8 = 0x80;
const REFUSED: u8 = 0xff;

/// What stands before the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: u8,
    pub(crate) body_bytes: usize,
    /// The asker's number for the request; its answer has the same.
    pub(crate) request: u64,
}

impl Header {
    /// Reads a header, or says why nothing more can be read from there.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Header, Refusal> {
        let mut reader = Reader::new(bytes);
        let mut read = || {
            let magic = reader.take(4)?;
            let (version, kind) = (reader.u8()?, reader.u8()?);
            let zero = reader.take(2)?;
            Some((magic, version, kind, zero, reader.u32()? as usize, reader.u64()?))
        };
        let (magic, version, kind, zero, body_bytes, request) = read().expect("a header has that many bytes");
        if magic != MAGIC {
            return Err(Refusal::new(MALFORMED, "this is no message of Ringlane's admin socket"));
        }
        if version != VERSION {
            let text = format!("the message has version {version}, this process understands {VERSION}");
            return Err(Refusal::new(UNSUPPORTED_VERSION, text));
        }
        if zero != [0, 0] || body_bytes > BODY_BYTES_MAX {
            let text = format!("a message of {body_bytes} bytes; at most {BODY_BYTES_MAX} are read");
            return Err(Refusal::new(MALFORMED, text));
        }
        Ok(Header { kind, body_bytes, request })
    }
}

/// A whole message: header and body.
pub(crate) fn frame(kind: u8, request: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + body.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.put_u8(VERSION);
    bytes.put_u8(kind);
    bytes.extend_from_slice(&[0, 0]);
    bytes.put_u32(body.len() as u32);
    bytes.put_u64(request);
    bytes.extend_from_slice(body);
    bytes
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Request {
    Hello,
    CreateTopic {
        name: String,
        options: TopicOptions,
    },
    DeleteTopic {
        name: String,
    },
    /// Topics whose names come behind `after`, in their order.
    ListTopics {
        after: String,
    },
    DescribeTopic {
        name: String,
    },
    Sync,
    Stats,
    Produce {
        topic: String,
        durability: Durability,
        records: Vec<SentRecord>,
    },
    ConfigureTopic {
        name: String,
        retention: Retention,
    },
    DeleteRecords {
        topic: String,
        partition: u32,
        before: u64,
    },
    /// Named producers whose names come behind `after`, in their order.
    ListProducers {
        after: String,
    },
    DeleteProducer {
        name: String,
    },
    CreateGroup {
        name: String,
        options: GroupOptions,
    },
    DeleteGroup {
        name: String,
    },
    /// Groups whose names come behind `after`, in their order.
    ListGroups {
        after: String,
    },
    DescribeGroup {
        name: String,
    },
    ResetGroup {
        name: String,
        topic: String,
        partition: u32,
        start: Start,
    },
    Redrive {
        group: String,
        what: Redrive,
    },
    /// The connection becomes a member, until it ends, leaves, or joins again.
    JoinGroup {
        name: String,
        options: MemberOptions,
    },
    Poll,
    EndDeliveries {
        ending: Ending,
        ids: Vec<DeliveryId>,
    },
    LeaveGroup,
    /// What was acknowledged of a partition, to the producers whose ids are at least `from`, in their order.
    ListAcknowledged {
        topic: String,
        partition: u32,
        from: u32,
    },
    /// Transactions whose keys are at least `from`, in their order: those that go on, and perhaps those that have ended.
    ListTransactions {
        with_ended: bool,
        from: TransactionKey,
    },
    DescribeTransaction {
        id: String,
    },
    ResolveTransaction {
        id: String,
        outcome: TransactionOutcome,
    },
}

impl Request {
    pub(crate) fn encode(&self, request: u64) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Request::Hello => HELLO,
            Request::CreateTopic { name, options } => {
                body.put_bytes(name.as_bytes());
                put_topic_options(&mut body, options);
                CREATE_TOPIC
            }
            Request::DeleteTopic { name } => {
                body.put_bytes(name.as_bytes());
                DELETE_TOPIC
            }
            Request::ListTopics { after } => {
                body.put_bytes(after.as_bytes());
                LIST_TOPICS
            }
            Request::DescribeTopic { name } => {
                body.put_bytes(name.as_bytes());
                DESCRIBE_TOPIC
            }
            Request::Sync => SYNC,
            Request::Stats => STATS,
            Request::Produce { topic, durability, records } => {
                body.put_bytes(topic.as_bytes());
                put_durability(&mut body, *durability);
                body.put_u32(records.len() as u32);
                records.iter().for_each(|record| record.put(&mut body));
                PRODUCE
            }
            Request::ConfigureTopic { name, retention } => {
                body.put_bytes(name.as_bytes());
                retention.put(&mut body);
                CONFIGURE_TOPIC
            }
            Request::DeleteRecords { topic, partition, before } => {
                body.put_bytes(topic.as_bytes());
                body.put_u32(*partition);
                body.put_u64(*before);
                DELETE_RECORDS
            }
            Request::ListProducers { after } => {
                body.put_bytes(after.as_bytes());
                LIST_PRODUCERS
            }
            Request::DeleteProducer { name } => {
                body.put_bytes(name.as_bytes());
                DELETE_PRODUCER
            }
            Request::CreateGroup { name, options } => {
                body.put_bytes(name.as_bytes());
                put_group_options(&mut body, options);
                CREATE_GROUP
            }
            Request::DeleteGroup { name } => {
                body.put_bytes(name.as_bytes());
                DELETE_GROUP
            }
            Request::ListGroups { after } => {
                body.put_bytes(after.as_bytes());
                LIST_GROUPS
            }
            Request::DescribeGroup { name } => {
                body.put_bytes(name.as_bytes());
                DESCRIBE_GROUP
            }
            Request::ResetGroup { name, topic, partition, start } => {
                body.put_bytes(name.as_bytes());
                body.put_bytes(topic.as_bytes());
                body.put_u32(*partition);
                start.put(&mut body);
                RESET_GROUP
            }
            Request::Redrive { group, what } => {
                body.put_bytes(group.as_bytes());
                put_redrive(&mut body, what);
                REDRIVE
            }
            Request::JoinGroup { name, options } => {
                body.put_bytes(name.as_bytes());
                put_member_options(&mut body, options);
                JOIN_GROUP
            }
            Request::Poll => POLL,
            Request::EndDeliveries { ending, ids } => {
                ending.put(&mut body);
                body.put_u32(ids.len() as u32);
                ids.iter().for_each(|id| put_id(&mut body, *id));
                END_DELIVERIES
            }
            Request::LeaveGroup => LEAVE_GROUP,
            Request::ListAcknowledged { topic, partition, from } => {
                body.put_bytes(topic.as_bytes());
                body.put_u32(*partition);
                body.put_u32(*from);
                LIST_ACKNOWLEDGED
            }
            Request::ListTransactions { with_ended, from } => {
                body.put_u8(u8::from(*with_ended));
                from.encode(&mut body);
                LIST_TRANSACTIONS
            }
            Request::DescribeTransaction { id } => {
                body.put_bytes(id.as_bytes());
                DESCRIBE_TRANSACTION
            }
            Request::ResolveTransaction { id, outcome } => {
                body.put_bytes(id.as_bytes());
                put_outcome(&mut body, *outcome);
                RESOLVE_TRANSACTION
            }
        };
        frame(kind, request, &body)
    }

    /// Reads a request's body.
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Result<Request, Refusal> {
        let mut reader = Reader::new(body);
        if !matches!(kind, HELLO..=DESCRIBE_TRANSACTION) {
            return Err(Refusal::new(UNKNOWN_REQUEST, format!("this process knows no request of kind {kind}")));
        }
        let request = Self::take(kind, &mut reader).filter(|_| reader.is_empty());
        request.ok_or_else(|| Refusal::new(MALFORMED, format!("a request of kind {kind} that cannot be read")))
    }

    fn take(kind: u8, reader: &mut Reader<'_>) -> Option<Request> {
        Some(match kind {
            HELLO => Request::Hello,
            CREATE_TOPIC => Request::CreateTopic { name: text(reader)?, options: take_topic_options(reader)? },
            DELETE_TOPIC => Request::DeleteTopic { name: text(reader)? },
            LIST_TOPICS => Request::ListTopics { after: text(reader)? },
            DESCRIBE_TOPIC => Request::DescribeTopic { name: text(reader)? },
            SYNC => Request::Sync,
            STATS => Request::Stats,
            PRODUCE => {
                let (topic, durability) = (text(reader)?, take_durability(reader)?);
                let count = reader.u32()? as usize;
                if count > RECORDS_MAX {
                    return None;
                }
                let records = (0..count).map(|_| SentRecord::take(reader)).collect::<Option<_>>()?;
                Request::Produce { topic, durability, records }
            }
            CONFIGURE_TOPIC => Request::ConfigureTopic { name: text(reader)?, retention: Retention::take(reader)? },
            DELETE_RECORDS => {
                Request::DeleteRecords { topic: text(reader)?, partition: reader.u32()?, before: reader.u64()? }
            }
            LIST_PRODUCERS => Request::ListProducers { after: text(reader)? },
            DELETE_PRODUCER => Request::DeleteProducer { name: text(reader)? },
            CREATE_GROUP => Request::CreateGroup { name: text(reader)?, options: take_group_options(reader)? },
            DELETE_GROUP => Request::DeleteGroup { name: text(reader)? },
            LIST_GROUPS => Request::ListGroups { after: text(reader)? },
            DESCRIBE_GROUP => Request::DescribeGroup { name: text(reader)? },
            RESET_GROUP => Request::ResetGroup {
                name: text(reader)?,
                topic: text(reader)?,
                partition: reader.u32()?,
                start: Start::take(reader)?,
            },
            REDRIVE => Request::Redrive { group: text(reader)?, what: take_redrive(reader)? },
            JOIN_GROUP => Request::JoinGroup { name: text(reader)?, options: take_member_options(reader)? },
            POLL => Request::Poll,
            END_DELIVERIES => {
                let ending = Ending::take(reader)?;
                let count = reader.u32()? as usize;
                if count > RECORDS_MAX {
                    return None;
                }
                Request::EndDeliveries { ending, ids: (0..count).map(|_| take_id(reader)).collect::<Option<_>>()? }
            }
            LEAVE_GROUP => Request::LeaveGroup,
            LIST_ACKNOWLEDGED => {
                Request::ListAcknowledged { topic: text(reader)?, partition: reader.u32()?, from: reader.u32()? }
            }
            LIST_TRANSACTIONS => {
                Request::ListTransactions { with_ended: take_bool(reader)?, from: TransactionKey::decode(reader)? }
            }
            DESCRIBE_TRANSACTION => Request::DescribeTransaction { id: text(reader)? },
            RESOLVE_TRANSACTION => Request::ResolveTransaction { id: text(reader)?, outcome: take_outcome(reader)? },
            _ => return None,
        })
    }

    /// Whether it may wait for the device: then others are answered meanwhile.
    pub(crate) fn waits(&self) -> bool {
        match self {
            Request::CreateTopic { .. } | Request::DeleteTopic { .. } | Request::Sync | Request::Produce { .. } => true,
            Request::ConfigureTopic { .. } | Request::DeleteRecords { .. } | Request::DeleteProducer { .. } => true,
            Request::Hello | Request::ListTopics { .. } | Request::DescribeTopic { .. } | Request::Stats => false,
            Request::ListProducers { .. } => false,
            Request::ListTransactions { .. } | Request::DescribeTransaction { .. } => false,
            Request::ResolveTransaction { .. } => true,
            Request::CreateGroup { .. } | Request::DeleteGroup { .. } | Request::ResetGroup { .. } => true,
            // While a group is being created or deleted, who looks waits; and looking may first have one begin.
            Request::ListGroups { .. } | Request::DescribeGroup { .. } => true,
            Request::Redrive { .. } | Request::JoinGroup { .. } | Request::LeaveGroup => true,
            Request::Poll | Request::EndDeliveries { .. } => true,
            // Until what was acknowledged is durable.
            Request::ListAcknowledged { .. } => true,
        }
    }

    /// Whether nobody knows what was done if no answer comes.
    pub(crate) fn changes(&self) -> bool {
        // What a member does ends with its connection; only what it has acknowledged stays.
        let is_look = matches!(
            self,
            Request::ListGroups { .. }
                | Request::DescribeGroup { .. }
                | Request::ListAcknowledged { .. }
                | Request::JoinGroup { .. }
                | Request::Poll
        );
        self.waits() && !is_look
    }
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reply {
    Hello {
        version: String,
        pid: u32,
        program: String,
    },
    Created(TopicSummary),
    Deleted(TopicSummary),
    Topics(Vec<TopicSummary>),
    Described(TopicDescription),
    Synced,
    Stats(Value),
    /// One for each record, up to the first that was not sent: that one, and what comes behind it, is not there.
    Produced(Vec<Result<SentReceipt, Refusal>>),
    Configured(TopicSummary),
    /// What the partition holds now.
    RecordsDeleted(PartitionInfo),
    Producers(Vec<ProducerInfo>),
    ProducerDeleted(ProducerInfo),
    GroupCreated(GroupInfo),
    GroupDeleted,
    Groups(Vec<GroupInfo>),
    GroupDescribed(GroupInfo),
    /// The offset where it goes on.
    GroupReset(u64),
    Redriven(Redriven),
    Joined,
    Polled(Vec<Delivered>),
    /// Records were given up before the group had finished them.
    PolledTruncated {
        topic: String,
        partition: u32,
        from: u64,
        to: u64,
    },
    /// Those that could not be ended, by their place in the request.
    DeliveriesEnded(Vec<(u32, Refusal)>),
    Left,
    Acknowledged(Acknowledged),
    Transactions(Vec<Listed>),
    TransactionDescribed(TransactionInfo),
    TransactionResolved,
    Refused(Refusal),
}

impl Reply {
    pub(crate) fn encode(&self, request: u64) -> Vec<u8> {
        let mut body = Vec::new();
        let kind = match self {
            Reply::Hello { version, pid, program } => {
                body.put_bytes(version.as_bytes());
                body.put_u32(*pid);
                body.put_bytes(program.as_bytes());
                ANSWER | HELLO
            }
            Reply::Created(topic) => {
                topic.put(&mut body);
                ANSWER | CREATE_TOPIC
            }
            Reply::Deleted(topic) => {
                topic.put(&mut body);
                ANSWER | DELETE_TOPIC
            }
            Reply::Topics(topics) => {
                body.put_u32(topics.len() as u32);
                topics.iter().for_each(|topic| topic.put(&mut body));
                ANSWER | LIST_TOPICS
            }
            Reply::Described(topic) => {
                topic.put(&mut body);
                ANSWER | DESCRIBE_TOPIC
            }
            Reply::Synced => ANSWER | SYNC,
            Reply::Stats(value) => {
                value.put(&mut body);
                ANSWER | STATS
            }
            Reply::Produced(outcomes) => {
                body.put_u32(outcomes.len() as u32);
                for outcome in outcomes {
                    match outcome {
                        Ok(receipt) => {
                            body.put_u8(0);
                            receipt.put(&mut body);
                        }
                        Err(refusal) => {
                            body.put_u8(1);
                            refusal.put(&mut body);
                        }
                    }
                }
                ANSWER | PRODUCE
            }
            Reply::Configured(topic) => {
                topic.put(&mut body);
                ANSWER | CONFIGURE_TOPIC
            }
            Reply::RecordsDeleted(info) => {
                put_partition(&mut body, info);
                ANSWER | DELETE_RECORDS
            }
            Reply::Producers(producers) => {
                body.put_u32(producers.len() as u32);
                producers.iter().for_each(|info| put_producer(&mut body, info));
                ANSWER | LIST_PRODUCERS
            }
            Reply::ProducerDeleted(info) => {
                put_producer(&mut body, info);
                ANSWER | DELETE_PRODUCER
            }
            Reply::GroupCreated(info) => {
                put_group(&mut body, info);
                ANSWER | CREATE_GROUP
            }
            Reply::GroupDeleted => ANSWER | DELETE_GROUP,
            Reply::Groups(groups) => {
                body.put_u32(groups.len() as u32);
                groups.iter().for_each(|info| put_group(&mut body, info));
                ANSWER | LIST_GROUPS
            }
            Reply::GroupDescribed(info) => {
                put_group(&mut body, info);
                ANSWER | DESCRIBE_GROUP
            }
            Reply::GroupReset(offset) => {
                body.put_u64(*offset);
                ANSWER | RESET_GROUP
            }
            Reply::Redriven(done) => {
                [done.redriven, done.unfinished, done.gone].into_iter().for_each(|count| body.put_u64(count));
                body.put_u8(u8::from(done.is_full));
                ANSWER | REDRIVE
            }
            Reply::Joined => ANSWER | JOIN_GROUP,
            Reply::Polled(records) => {
                body.put_u8(0);
                body.put_u32(records.len() as u32);
                records.iter().for_each(|record| record.put(&mut body));
                ANSWER | POLL
            }
            Reply::PolledTruncated { topic, partition, from, to } => {
                body.put_u8(1);
                body.put_bytes(topic.as_bytes());
                body.put_u32(*partition);
                body.put_u64(*from);
                body.put_u64(*to);
                ANSWER | POLL
            }
            Reply::DeliveriesEnded(failed) => {
                body.put_u32(failed.len() as u32);
                for (at, refusal) in failed {
                    body.put_u32(*at);
                    refusal.put(&mut body);
                }
                ANSWER | END_DELIVERIES
            }
            Reply::Left => ANSWER | LEAVE_GROUP,
            Reply::Acknowledged(acknowledged) => {
                put_acknowledged(&mut body, acknowledged);
                ANSWER | LIST_ACKNOWLEDGED
            }
            Reply::Transactions(transactions) => {
                body.put_u32(transactions.len() as u32);
                for (key, info) in transactions {
                    key.encode(&mut body);
                    put_transaction(&mut body, info);
                }
                ANSWER | LIST_TRANSACTIONS
            }
            Reply::TransactionDescribed(info) => {
                put_transaction(&mut body, info);
                ANSWER | DESCRIBE_TRANSACTION
            }
            Reply::TransactionResolved => ANSWER | RESOLVE_TRANSACTION,
            Reply::Refused(refusal) => {
                refusal.put(&mut body);
                REFUSED
            }
        };
        frame(kind, request, &body)
    }

    /// Reads an answer's body.
    pub(crate) fn decode(kind: u8, body: &[u8]) -> Option<Reply> {
        let mut reader = Reader::new(body);
        let reader = &mut reader;
        let reply = match kind {
            REFUSED => Reply::Refused(Refusal::take(reader)?),
            _ => match kind.checked_sub(ANSWER)? {
                HELLO => Reply::Hello { version: text(reader)?, pid: reader.u32()?, program: text(reader)? },
                CREATE_TOPIC => Reply::Created(TopicSummary::take(reader)?),
                DELETE_TOPIC => Reply::Deleted(TopicSummary::take(reader)?),
                LIST_TOPICS => {
                    let count = reader.u32()?;
                    Reply::Topics((0..count).map(|_| TopicSummary::take(reader)).collect::<Option<_>>()?)
                }
                DESCRIBE_TOPIC => Reply::Described(TopicDescription::take(reader)?),
                SYNC => Reply::Synced,
                STATS => Reply::Stats(Value::take(reader)?),
                PRODUCE => {
                    let count = reader.u32()?;
                    let outcome = |_| {
                        Some(match reader.u8()? {
                            0 => Ok(SentReceipt::take(reader)?),
                            1 => Err(Refusal::take(reader)?),
                            _ => return None,
                        })
                    };
                    Reply::Produced((0..count).map(outcome).collect::<Option<_>>()?)
                }
                CONFIGURE_TOPIC => Reply::Configured(TopicSummary::take(reader)?),
                DELETE_RECORDS => Reply::RecordsDeleted(take_partition(reader)?),
                LIST_PRODUCERS => {
                    let count = reader.u32()?;
                    Reply::Producers((0..count).map(|_| take_producer(reader)).collect::<Option<_>>()?)
                }
                DELETE_PRODUCER => Reply::ProducerDeleted(take_producer(reader)?),
                CREATE_GROUP => Reply::GroupCreated(take_group(reader)?),
                DELETE_GROUP => Reply::GroupDeleted,
                LIST_GROUPS => {
                    let count = reader.u32()?;
                    Reply::Groups((0..count).map(|_| take_group(reader)).collect::<Option<_>>()?)
                }
                DESCRIBE_GROUP => Reply::GroupDescribed(take_group(reader)?),
                RESET_GROUP => Reply::GroupReset(reader.u64()?),
                REDRIVE => Reply::Redriven(Redriven {
                    redriven: reader.u64()?,
                    unfinished: reader.u64()?,
                    gone: reader.u64()?,
                    is_full: take_bool(reader)?,
                }),
                JOIN_GROUP => Reply::Joined,
                POLL => match take_bool(reader)? {
                    false => {
                        let count = reader.u32()?;
                        Reply::Polled((0..count).map(|_| Delivered::take(reader)).collect::<Option<_>>()?)
                    }
                    true => Reply::PolledTruncated {
                        topic: text(reader)?,
                        partition: reader.u32()?,
                        from: reader.u64()?,
                        to: reader.u64()?,
                    },
                },
                END_DELIVERIES => {
                    let count = reader.u32()?;
                    let failed = |_| Some((reader.u32()?, Refusal::take(reader)?));
                    Reply::DeliveriesEnded((0..count).map(failed).collect::<Option<_>>()?)
                }
                LEAVE_GROUP => Reply::Left,
                LIST_ACKNOWLEDGED => Reply::Acknowledged(take_acknowledged(reader)?),
                LIST_TRANSACTIONS => {
                    let count = reader.u32()?;
                    let listed = |_| Some((TransactionKey::decode(reader)?, take_transaction(reader)?));
                    Reply::Transactions((0..count).map(listed).collect::<Option<_>>()?)
                }
                DESCRIBE_TRANSACTION => Reply::TransactionDescribed(take_transaction(reader)?),
                RESOLVE_TRANSACTION => Reply::TransactionResolved,
                _ => return None,
            },
        };
        reader.is_empty().then_some(reply)
    }
}

/// A record of a produce message, in the layout that it has everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SentRecord {
    pub(crate) partition: Option<u32>,
    pub(crate) visibility: Visibility,
    /// Whether the record brings its timestamp; else it gets that of the sending.
    pub(crate) is_timed: bool,
    pub(crate) bytes: Vec<u8>,
}

const HAS_PARTITION: u8 = 1;
const IS_TIMED: u8 = 2;

impl SentRecord {
    /// Of a record to be sent; `size` is its encoded size.
    pub(crate) fn new(record: &Record<'_>, size: usize) -> SentRecord {
        let mut bytes = Vec::new();
        record.encode_into(&mut bytes, size, record.timestamp_ms.unwrap_or(0));
        bytes.truncate(size);
        let is_timed = record.timestamp_ms.is_some();
        SentRecord { partition: record.partition, visibility: record.visibility, is_timed, bytes }
    }

    /// The record in its bytes.
    pub(crate) fn record(&self) -> Option<RecordRef<'_>> {
        RecordRef::parse(&self.bytes).map(|(record, _)| record).filter(|record| record.as_bytes() == self.bytes)
    }

    fn put(&self, target: &mut Vec<u8>) {
        let has = |is_so: bool, bit: u8| if is_so { bit } else { 0 };
        target.put_u8(has(self.partition.is_some(), HAS_PARTITION) | has(self.is_timed, IS_TIMED));
        target.put_u32(self.partition.unwrap_or(0));
        let (visibility, time) = match self.visibility {
            Visibility::Now => (0, 0),
            Visibility::At(time_ms) => (1, time_ms),
            Visibility::After(delay) => (2, i64::try_from(delay_ms(delay)).unwrap_or(i64::MAX)),
        };
        target.put_u8(visibility);
        target.put_i64(time);
        target.put_bytes(&self.bytes);
    }

    fn take(reader: &mut Reader<'_>) -> Option<SentRecord> {
        let flags = reader.u8()?;
        let partition = reader.u32()?;
        let (visibility, time) = (reader.u8()?, reader.i64()?);
        let visibility = match visibility {
            0 if time == 0 => Visibility::Now,
            1 => Visibility::At(time),
            2 => Visibility::After(Duration::from_millis(u64::try_from(time).ok()?)),
            _ => return None,
        };
        let has_partition = flags & HAS_PARTITION != 0;
        if flags > (HAS_PARTITION | IS_TIMED) || (!has_partition && partition != 0) {
            return None;
        }
        let record = SentRecord {
            partition: has_partition.then_some(partition),
            visibility,
            is_timed: flags & IS_TIMED != 0,
            bytes: reader.bytes()?.to_vec(),
        };
        record.record().is_some().then_some(record)
    }
}

/// A receipt without its topic, which the asker knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentReceipt {
    pub(crate) partition: u32,
    pub(crate) offset: Option<u64>,
    pub(crate) timestamp_ms: i64,
    pub(crate) durability: Durability,
    pub(crate) id: RecordId,
    pub(crate) origin: Origin,
    pub(crate) duplicate: bool,
}

impl SentReceipt {
    fn put(&self, target: &mut Vec<u8>) {
        target.put_u32(self.partition);
        target.put_u8(u8::from(self.offset.is_some()));
        target.put_u64(self.offset.unwrap_or(0));
        target.put_i64(self.timestamp_ms);
        put_durability(target, self.durability);
        target.put_u32(self.id.log);
        target.put_u64(self.id.position);
        target.put_u32(self.id.index);
        target.put_u32(self.origin.producer);
        target.put_u32(self.origin.epoch);
        target.put_u64(self.origin.sequence);
        target.put_u8(u8::from(self.duplicate));
    }

    fn take(reader: &mut Reader<'_>) -> Option<SentReceipt> {
        let partition = reader.u32()?;
        let offset = match (reader.u8()?, reader.u64()?) {
            (0, 0) => None,
            (1, offset) => Some(offset),
            _ => return None,
        };
        Some(SentReceipt {
            partition,
            offset,
            timestamp_ms: reader.i64()?,
            durability: take_durability(reader)?,
            id: RecordId { log: reader.u32()?, position: reader.u64()?, index: reader.u32()? },
            origin: Origin { producer: reader.u32()?, epoch: reader.u32()?, sequence: reader.u64()? },
            duplicate: take_bool(reader)?,
        })
    }
}

fn put_durability(target: &mut Vec<u8>, durability: Durability) {
    target.put_u8(match durability {
        Durability::Synced => 0,
        Durability::Buffered => 1,
    });
}

fn take_durability(reader: &mut Reader<'_>) -> Option<Durability> {
    match reader.u8()? {
        0 => Some(Durability::Synced),
        1 => Some(Durability::Buffered),
        _ => None,
    }
}

/// Options of a topic: their number, and for each a tag and a value. A new option gets the next tag, and a process
/// that does not know it refuses the request instead of passing over it.
const OPTION_PARTITIONS: u8 = 1;
const OPTION_RETENTION_MS: u8 = 2;
const OPTION_RETENTION_BYTES: u8 = 3;
/// 1: set.
const OPTION_KEEP_UNFINISHED: u8 = 4;
const OPTION_DROP_FINISHED: u8 = 5;

fn put_topic_options(target: &mut Vec<u8>, options: &TopicOptions) {
    let retention = options.retention.normalized();
    let tagged = [
        (OPTION_PARTITIONS, Some(u64::from(options.partitions))),
        (OPTION_RETENTION_MS, retention.retention_ms),
        (OPTION_RETENTION_BYTES, retention.retention_bytes),
        (OPTION_KEEP_UNFINISHED, retention.keep_unfinished.then_some(1)),
        (OPTION_DROP_FINISHED, retention.drop_finished.then_some(1)),
    ];
    // One that is not set is left out.
    let tagged: Vec<(u8, u64)> = tagged.into_iter().filter_map(|(tag, value)| Some((tag, value?))).collect();
    target.put_u8(tagged.len() as u8);
    for (tag, value) in tagged {
        target.put_u8(tag);
        target.put_u64(value);
    }
}

fn take_topic_options(reader: &mut Reader<'_>) -> Option<TopicOptions> {
    let mut options = TopicOptions::new();
    let mut tag_before = 0;
    let mut has_partitions = false;
    for _ in 0..reader.u8()? {
        let (tag, value) = (reader.u8()?, reader.u64()?);
        match tag {
            // Each at most once, in their order: a message has one encoding.
            _ if tag <= tag_before => return None,
            OPTION_PARTITIONS => options.partitions = u32::try_from(value).ok()?,
            OPTION_RETENTION_MS if value > 0 => options.retention.retention_ms = Some(value),
            OPTION_RETENTION_BYTES if value > 0 => options.retention.retention_bytes = Some(value),
            OPTION_KEEP_UNFINISHED if value == 1 => options.retention.keep_unfinished = true,
            OPTION_DROP_FINISHED if value == 1 => options.retention.drop_finished = true,
            _ => return None,
        }
        tag_before = tag;
        has_partitions |= tag == OPTION_PARTITIONS;
    }
    has_partitions.then_some(options)
}

fn take_bool(reader: &mut Reader<'_>) -> Option<bool> {
    match reader.u8()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

fn text(reader: &mut Reader<'_>) -> Option<String> {
    std::str::from_utf8(reader.bytes()?).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::Filter;
    use crate::consumer::group::{GroupKind, GroupPartitionInfo};
    use crate::lane::acknowledged::AcknowledgedBy;
    use crate::transaction::TransactionState;

    fn header(bytes: &[u8]) -> Result<Header, Refusal> {
        Header::decode(bytes[..HEADER_BYTES].try_into().unwrap())
    }

    fn key(number: u64) -> TransactionKey {
        TransactionKey { log: 1, generation: 2, number }
    }

    fn transaction(state: TransactionState, checker: Option<&str>) -> TransactionInfo {
        let (id, checker) = ("order-7".to_owned(), checker.map(str::to_owned));
        TransactionInfo { id, state, checker, since_ms: -1, records: u64::MAX, acknowledged: 1, checks: u32::MAX }
    }

    fn requests() -> Vec<Request> {
        let name = || "orders".to_owned();
        let record = |record: Record<'_>| SentRecord::new(&record, record.encoded_size(1 << 20).unwrap());
        vec![
            Request::Hello,
            Request::CreateTopic { name: name(), options: TopicOptions::new().partitions(7) },
            Request::CreateTopic {
                name: name(),
                options: TopicOptions::new().retention(Retention::new().retention_bytes(5).drop_finished(true)),
            },
            Request::ConfigureTopic { name: name(), retention: Retention::new().retention_ms(7).keep_unfinished(true) },
            Request::DeleteRecords { topic: name(), partition: 1, before: u64::MAX },
            Request::ListProducers { after: "billing".to_owned() },
            Request::DeleteProducer { name: "billing".to_owned() },
            Request::CreateGroup {
                name: name(),
                options: GroupOptions::ordered().topic("a", Start::Beginning).topic("b", Start::Timestamp(-1)),
            },
            // Whoever creates it judges it: a message that can be read is no malformed one.
            Request::CreateGroup { name: name(), options: GroupOptions::shared().dead_letter_topic("a b") },
            Request::DeleteGroup { name: name() },
            Request::ListGroups { after: name() },
            Request::DescribeGroup { name: name() },
            Request::ResetGroup { name: name(), topic: "a".to_owned(), partition: 7, start: Start::Offset(u64::MAX) },
            Request::ResetGroup { name: name(), topic: "a".to_owned(), partition: 0, start: Start::End },
            Request::Redrive { group: name(), what: Redrive::All },
            Request::Redrive { group: name(), what: Redrive::Letter { partition: 7, offset: u64::MAX } },
            Request::Redrive { group: name(), what: Redrive::Record { topic: name(), partition: 7, offset: 1 } },
            Request::JoinGroup { name: name(), options: MemberOptions::new().lease(Duration::from_millis(7)) },
            Request::Poll,
            Request::EndDeliveries {
                ending: Ending::Failed(None),
                ids: vec![DeliveryId { partition: 1, offset: 2, serial: 3 }],
            },
            Request::EndDeliveries { ending: Ending::Failed(Some(0)), ids: Vec::new() },
            Request::EndDeliveries { ending: Ending::Acknowledged, ids: Vec::new() },
            Request::EndDeliveries { ending: Ending::Rejected, ids: Vec::new() },
            Request::EndDeliveries { ending: Ending::Released, ids: Vec::new() },
            Request::LeaveGroup,
            Request::ListAcknowledged { topic: name(), partition: 7, from: u32::MAX },
            Request::ListTransactions { with_ended: true, from: key(u64::MAX) },
            Request::ListTransactions { with_ended: false, from: TransactionKey::FIRST },
            Request::DescribeTransaction { id: "order 7".to_owned() },
            Request::ResolveTransaction { id: name(), outcome: TransactionOutcome::Committed },
            Request::ResolveTransaction { id: name(), outcome: TransactionOutcome::RolledBack },
            Request::DeleteTopic { name: name() },
            Request::ListTopics { after: String::new() },
            Request::DescribeTopic { name: name() },
            Request::Sync,
            Request::Stats,
            Request::Produce {
                topic: name(),
                durability: Durability::Buffered,
                records: vec![
                    record(Record::new(b"value").key(b"key").partition(3).message_id(b"id")),
                    record(Record::new(b"").timestamp_ms(-5).visible_at(i64::MIN)),
                    record(Record { value: None, ..Record::default() }.visible_after(Duration::from_millis(9))),
                ],
            },
        ]
    }

    fn replies() -> Vec<Reply> {
        let summary = || TopicSummary {
            name: "t".to_owned(),
            id: 1,
            partitions: 1,
            records: 5,
            created_ms: -1,
            retention_ms: Some(9),
            retention_bytes: None,
            keep_unfinished: true,
            drop_finished: false,
        };
        let info = PartitionInfo { partition: 0, lane: 1, first_offset: 2, next_offset: u64::MAX };
        let producer = |id| ProducerInfo { name: format!("p{id}"), id, epoch: u32::MAX };
        let of = |topic: &str, partition| GroupPartitionInfo {
            topic: topic.to_owned(),
            partition,
            position: 1,
            next_offset: u64::MAX,
            lag: 2,
            in_flight: 3,
            available: 4,
            lost: 5,
        };
        let group = |kind, partitions| GroupInfo {
            name: "g".to_owned(),
            id: 1,
            kind,
            dead_letter_topic: "g.dlq".to_owned(),
            filter: (kind == GroupKind::Shared).then(|| Filter::tag("paid")),
            members: 2,
            partitions,
        };
        let by = |producer, withheld: Vec<(u64, u64)>| AcknowledgedBy {
            producer,
            epoch: 1,
            next: 10,
            withheld,
            cancelled: vec![(2, 2)],
        };
        let shared = || group(GroupKind::Shared, vec![of("a", 0), of("a", 1), of("b", 0)]);
        let receipt = |offset| SentReceipt {
            partition: 1,
            offset,
            timestamp_ms: 2,
            durability: Durability::Synced,
            id: RecordId { log: 3, position: 4, index: 5 },
            origin: Origin { producer: 6, epoch: 7, sequence: 8 },
            duplicate: offset.is_none(),
        };
        vec![
            Reply::Hello { version: "0.1.0".to_owned(), pid: 7, program: "p".to_owned() },
            Reply::Created(summary()),
            Reply::Deleted(summary()),
            Reply::Topics(vec![summary(), summary()]),
            Reply::Described(TopicDescription { summary: summary(), partition: vec![info, info] }),
            Reply::Synced,
            Reply::Configured(summary()),
            Reply::RecordsDeleted(info),
            Reply::Producers(vec![producer(1), producer(2)]),
            Reply::ProducerDeleted(producer(3)),
            Reply::GroupCreated(shared()),
            Reply::GroupDeleted,
            Reply::Groups(vec![shared(), group(GroupKind::Ordered, vec![])]),
            Reply::GroupDescribed(shared()),
            Reply::GroupReset(u64::MAX),
            Reply::Redriven(Redriven { redriven: 1, unfinished: 2, gone: u64::MAX, is_full: true }),
            Reply::Joined,
            Reply::Polled(Vec::new()),
            Reply::PolledTruncated { topic: "t".to_owned(), partition: 1, from: 2, to: u64::MAX },
            Reply::DeliveriesEnded(vec![(7, Refusal::new(MALFORMED, "m"))]),
            Reply::Left,
            Reply::Acknowledged(Acknowledged::default()),
            Reply::Acknowledged(Acknowledged {
                topic: 1,
                next_offset: 2,
                forgets_cancelled: true,
                producers: vec![by(0, vec![]), by(3, vec![(1, 1), (3, 9)])],
            }),
            Reply::Transactions(Vec::new()),
            Reply::Transactions(vec![
                (key(1), transaction(TransactionState::Open, None)),
                (key(2), transaction(TransactionState::Prepared, Some("orders"))),
                (key(3), transaction(TransactionState::Unresolved, Some("orders"))),
            ]),
            Reply::TransactionDescribed(transaction(TransactionState::Committed, None)),
            Reply::TransactionDescribed(transaction(TransactionState::RolledBack, Some("c"))),
            Reply::TransactionResolved,
            Reply::Stats(Value::Null),
            Reply::Produced(vec![Ok(receipt(None)), Ok(receipt(Some(0))), Err(Refusal::new(MALFORMED, "m"))]),
            Reply::Refused(Refusal::new(MALFORMED, "m")),
        ]
    }

    #[test]
    fn requests_and_replies_are_read_back_and_nothing_shorter_or_longer_is() {
        for request in requests() {
            let bytes = request.encode(77);
            let (header, body) = (header(&bytes).unwrap(), &bytes[HEADER_BYTES..]);
            assert_eq!((header.request, header.body_bytes), (77, body.len()));
            assert_eq!(Request::decode(header.kind, body), Ok(request.clone()));
            for length in 0..body.len() {
                Request::decode(header.kind, &body[..length]).unwrap_err();
            }
            Request::decode(header.kind, &[body, &[0]].concat()).unwrap_err();
        }
        for reply in replies() {
            let bytes = reply.encode(78);
            let (header, body) = (header(&bytes).unwrap(), &bytes[HEADER_BYTES..]);
            assert_eq!(Reply::decode(header.kind, body), Some(reply.clone()));
            for length in 0..body.len() {
                assert_eq!(Reply::decode(header.kind, &body[..length]), None);
            }
        }
    }

    #[test]
    fn what_is_no_message_of_this_version_is_refused_by_name() {
        let good = Request::Hello.encode(1);
        let code = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            crate::Error::from(header(&bytes).unwrap_err()).code()
        };
        assert_eq!(code(&|bytes| bytes[0] = b'X'), "malformed");
        assert_eq!(code(&|bytes| bytes[4] = 2), "unsupported-version");
        assert_eq!(code(&|bytes| bytes[8..12].fill(0xff)), "malformed");
        for kind in [0, 27, 200] {
            assert_eq!(crate::Error::from(Request::decode(kind, &[]).unwrap_err()).code(), "unknown-request");
        }
    }

    #[test]
    fn an_option_that_is_not_known_is_refused_and_not_passed_over() {
        let mut body = Vec::new();
        body.put_bytes(b"t");
        body.put_u8(2);
        for (tag, value) in [(OPTION_PARTITIONS, 3), (200, 1)] {
            body.put_u8(tag);
            body.put_u64(value);
        }
        Request::decode(CREATE_TOPIC, &body).unwrap_err();
    }
}
