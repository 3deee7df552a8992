//! What each request does: calls that an application could make itself.
//!
//! Invariant: every request has one answer, and a bug in one of them is an answer too.

use super::NAMES_PER_PAGE;
use super::acknowledged;
use super::groups;
use super::members::Members;
use super::message::{Reply, Request, SentReceipt, SentRecord};
use super::refusal::Refusal;
use super::topics::{TopicDescription, TopicSummary};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::lane::transactions::TransactionOutcome;
use crate::producer::{Durability, Producer, ProducerOptions};
use crate::record::{Header, Record};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Answers requests with an engine's own calls.
pub(crate) struct Handler {
    engine: Engine,
    /// Made by the first record of its durability.
    synced: Option<Producer>,
    buffered: Option<Producer>,
    members: Members,
}

impl Handler {
    pub(crate) fn new(engine: Engine) -> Handler {
        Handler { engine, synced: None, buffered: None, members: Members::default() }
    }

    /// The answer to a request of a connection.
    pub(crate) fn answer(&mut self, connection: u64, request: Request) -> Reply {
        let answered = catch_unwind(AssertUnwindSafe(|| self.carry_out(connection, request)));
        match answered {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Refused(Refusal::from(&error)),
            Err(_) => {
                let reason = "a bug in Ringlane ended it".to_owned();
                Reply::Refused(Refusal::from(&Error::UnknownOutcome { reason }))
            }
        }
    }

    /// A connection has ended.
    pub(crate) fn gone(&mut self, connection: u64) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.members.gone(connection)));
    }

    fn carry_out(&mut self, connection: u64, request: Request) -> Result<Reply> {
        let engine = &self.engine;
        Ok(match request {
            Request::Hello => Reply::Hello {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                pid: std::process::id(),
                program: crate::opening::program(),
            },
            Request::CreateTopic { name, options } => {
                Reply::Created(TopicSummary::of(&engine.create_topic(&name, options)?)?)
            }
            Request::DeleteTopic { name } => {
                let summary = TopicSummary::of(&engine.topic(&name)?)?;
                engine.delete_topic(&name)?;
                Reply::Deleted(summary)
            }
            Request::ListTopics { after } => {
                let topics = engine.topics();
                let behind = topics.iter().filter(|topic| topic.name() > after.as_str());
                Reply::Topics(behind.take(NAMES_PER_PAGE).map(TopicSummary::of).collect::<Result<_>>()?)
            }
            Request::DescribeTopic { name } => Reply::Described(TopicDescription::of(&engine.topic(&name)?)?),
            Request::Sync => {
                engine.sync()?;
                Reply::Synced
            }
            Request::Stats => Reply::Stats(engine.stats().into()),
            Request::ConfigureTopic { name, retention } => {
                engine.set_retention(&name, retention)?;
                Reply::Configured(TopicSummary::of(&engine.topic(&name)?)?)
            }
            Request::DeleteRecords { topic, partition, before } => {
                let topic = engine.topic(&topic)?;
                engine.delete_records(&topic, partition, before)?;
                Reply::RecordsDeleted(topic.partition_info(partition)?)
            }
            Request::ListProducers { after } => {
                let behind = engine.producers().into_iter().filter(|info| info.name > after);
                Reply::Producers(behind.take(NAMES_PER_PAGE).collect())
            }
            Request::DeleteProducer { name } => {
                let info = engine.producers().into_iter().find(|info| info.name == name);
                engine.delete_producer(&name)?;
                Reply::ProducerDeleted(info.ok_or(Error::UnknownProducer { name })?)
            }
            Request::CreateGroup { name, options } => {
                engine.create_group(&name, options)?;
                Reply::GroupCreated(engine.describe_group(&name)?)
            }
            Request::DeleteGroup { name } => {
                engine.delete_group(&name)?;
                Reply::GroupDeleted
            }
            Request::ListGroups { after } => {
                Reply::Groups(groups::page(engine.groups().into_iter().filter(|info| info.name > after)))
            }
            Request::DescribeGroup { name } => Reply::GroupDescribed(engine.describe_group(&name)?),
            Request::ResetGroup { name, topic, partition, start } => {
                Reply::GroupReset(engine.reset_group(&name, &topic, partition, start)?)
            }
            Request::ListAcknowledged { topic, partition, from } => {
                let acknowledged = engine.acknowledged(&engine.topic(&topic)?, partition)?;
                Reply::Acknowledged(acknowledged::page(acknowledged, from))
            }
            Request::ListTransactions { with_ended, from } => {
                Reply::Transactions(engine.inner().transactions.page(with_ended, from, NAMES_PER_PAGE))
            }
            Request::DescribeTransaction { id } => Reply::TransactionDescribed(engine.transaction(&id)?),
            Request::ResolveTransaction { id, outcome } => {
                match outcome {
                    TransactionOutcome::Committed => engine.commit_transaction(&id)?,
                    TransactionOutcome::RolledBack => engine.roll_back_transaction(&id)?,
                }
                Reply::TransactionResolved
            }
            Request::Redrive { group, what } => Reply::Redriven(engine.redrive(&group, &what)?),
            Request::JoinGroup { name, options } => {
                self.members.join(connection, engine, &name, options)?;
                Reply::Joined
            }
            Request::Poll => self.members.poll(connection)?,
            Request::EndDeliveries { ending, ids } => {
                Reply::DeliveriesEnded(self.members.end(connection, ending, &ids)?)
            }
            Request::LeaveGroup => {
                self.members.leave(connection)?;
                Reply::Left
            }
            Request::Produce { topic, durability, records } => {
                Reply::Produced(self.produce(&topic, durability, &records)?)
            }
        })
    }

    fn producer(&mut self, durability: Durability) -> Result<&Producer> {
        let slot = match durability {
            Durability::Synced => &mut self.synced,
            Durability::Buffered => &mut self.buffered,
        };
        Ok(match slot {
            Some(producer) => producer,
            None => slot.insert(self.engine.producer(ProducerOptions::new().durability(durability))?),
        })
    }

    /// Sends the records in their order, up to the first that is refused at once; then waits for all outcomes.
    fn produce(
        &mut self,
        topic: &str,
        durability: Durability,
        records: &[SentRecord],
    ) -> Result<Vec<Result<SentReceipt, Refusal>>> {
        let topic = self.engine.topic(topic)?;
        let producer = self.producer(durability)?;
        let mut handles = Vec::with_capacity(records.len());
        let mut refused = None;
        for sent in records {
            let bytes = sent.record().expect("only whole records come out of a message");
            let headers: Vec<Header<'_>> = bytes.headers().collect();
            let record = Record {
                key: bytes.key(),
                value: bytes.value(),
                headers: &headers,
                tag: None,
                timestamp_ms: sent.is_timed.then(|| bytes.timestamp_ms()),
                partition: sent.partition,
                visibility: sent.visibility,
                sequence: bytes.sequence(),
                message_id: bytes.message_id(),
            };
            match producer.send(&topic, record) {
                Ok(handle) => handles.push(handle),
                Err(error) => {
                    refused = Some(Err(Refusal::from(&error)));
                    break;
                }
            }
        }
        let outcomes = handles.into_iter().map(|handle| match handle.wait() {
            Ok(receipt) => Ok(SentReceipt {
                partition: receipt.partition,
                offset: receipt.offset,
                timestamp_ms: receipt.timestamp_ms,
                durability: receipt.durability,
                id: receipt.id,
                origin: receipt.origin,
                duplicate: receipt.duplicate,
            }),
            Err(error) => Err(Refusal::from(&error)),
        });
        Ok(outcomes.chain(refused).collect())
    }
}
