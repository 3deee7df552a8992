//! Members of groups that joined through the socket.
//!
//! Invariants:
//! - A connection is one member at most. The membership ends with the connection, or when it joins again.
//! - A poll never waits for records: who asks again has others answered in between.
//! - What was taken of the log and did not fit an answer is held here, and comes with the next one; it is as much as
//!   one poll gives, and given back with the membership.

use super::RECORDS_MAX;
use super::delivered::{Delivered, Ending};
use super::message::Reply;
use super::refusal::Refusal;
use crate::consumer::group::{DeliveryId, GroupConsumer, MemberOptions};
use crate::engine::Engine;
use crate::error::{Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Bytes of records of one answer, if one record is not larger.
const POLL_BYTES: usize = 1 << 20;

/// By connection.
#[derive(Default)]
pub(crate) struct Members {
    by_connection: BTreeMap<u64, Member>,
}

struct Member {
    consumer: GroupConsumer,
    /// Taken, and not sent yet.
    pending: VecDeque<Delivered>,
}

impl Members {
    pub(crate) fn join(
        &mut self,
        connection: u64,
        engine: &Engine,
        group: &str,
        mut options: MemberOptions,
    ) -> Result<()> {
        if let Some(before) = self.by_connection.remove(&connection) {
            before.leave()?;
        }
        let count = self.by_connection.len();
        if count >= super::MEMBERS_MAX {
            return Err(Error::TooMany {
                what: "members of groups of other processes",
                count: count as u64,
                count_max: super::MEMBERS_MAX as u64,
                advice: "end some, or consume in the process that has the engine open",
            });
        }
        options.max_poll_records = options.max_poll_records.min(RECORDS_MAX);
        options.max_poll_bytes = options.max_poll_bytes.min(POLL_BYTES);
        let consumer = engine.join_group(group, options)?;
        self.by_connection.insert(connection, Member { consumer, pending: VecDeque::new() });
        Ok(())
    }

    /// What can be had now.
    pub(crate) fn poll(&mut self, connection: u64) -> Result<Reply> {
        let member = self.of(connection)?;
        if member.pending.is_empty() {
            match member.consumer.poll(Duration::ZERO) {
                Ok(deliveries) => member.pending = deliveries.iter().map(|delivery| Delivered::of(&delivery)).collect(),
                Err(Error::Truncated { topic, partition, from, to }) => {
                    return Ok(Reply::PolledTruncated { topic, partition, from, to });
                }
                Err(error) => return Err(error),
            }
        }
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(next) = member.pending.front() {
            bytes += next.encoded_bytes();
            if !records.is_empty() && bytes > POLL_BYTES {
                break;
            }
            records.extend(member.pending.pop_front());
        }
        Ok(Reply::Polled(records))
    }

    /// Ends deliveries; gives those that could not be, by their place in the list.
    pub(crate) fn end(&mut self, connection: u64, ending: Ending, ids: &[DeliveryId]) -> Result<Vec<(u32, Refusal)>> {
        let consumer = &self.of(connection)?.consumer;
        let end = |id: DeliveryId| match ending {
            Ending::Acknowledged => consumer.ack(id),
            Ending::Failed(delay_ms) => consumer.nack(id, delay_ms.map(Duration::from_millis)),
            Ending::Rejected => consumer.reject(id),
            Ending::Released => consumer.release(id),
        };
        let failed = (0..).zip(ids).filter_map(|(at, id)| Some((at, Refusal::from(&end(*id).err()?))));
        Ok(failed.collect())
    }

    /// Leaves in good order: what was acknowledged is durable on return, and what is held was no failure.
    pub(crate) fn leave(&mut self, connection: u64) -> Result<()> {
        self.by_connection.remove(&connection).map_or(Ok(()), Member::leave)
    }

    /// The connection ended, and its process perhaps with it: what it holds has failed, so that a record that ends each
    /// process does not do so for ever. What it was not sent has not.
    pub(crate) fn gone(&mut self, connection: u64) {
        if let Some(member) = self.by_connection.remove(&connection) {
            for unsent in &member.pending {
                let _ = member.consumer.release(unsent.id());
            }
        }
    }

    fn of(&mut self, connection: u64) -> Result<&mut Member> {
        self.by_connection.get_mut(&connection).ok_or(Error::Closed { what: "the member" })
    }
}

impl Member {
    fn leave(self) -> Result<()> {
        let flushed = self.consumer.flush();
        self.consumer.close();
        flushed
    }
}
