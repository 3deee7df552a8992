//! A member of a group, here or in the process that has the engine open.
//!
//! Invariant: both do the same; what differs is who holds the records meanwhile.

use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use crate::holder::Reached;
use crate::printed::Printed;
use ringlane::admin::{Client, Delivered};
use ringlane::{Deliveries, Engine, Error, GroupConsumer, GroupInfo, MemberOptions};
use std::time::Duration;

/// See the module.
pub enum Membership {
    Here { engine: Engine, member: Box<GroupConsumer> },
    Held(Client),
}

/// What a poll gave.
pub enum Polled {
    Here(Deliveries),
    Held(Vec<Delivered>),
}

impl Membership {
    /// Joins a group; `options` are asked for with whether another process has the engine open.
    pub fn join(engine: &EngineArguments, group: &str, options: impl Fn(bool) -> MemberOptions) -> Result<Membership> {
        match engine.reach(false)? {
            Reached::Here(engine) => match engine.join_group(group, options(false)) {
                Ok(member) => Ok(Membership::Here { engine, member: Box::new(member) }),
                Err(error) => {
                    engine.close()?;
                    Err(error.into())
                }
            },
            Reached::Held(mut client) => {
                client.join_group(group, &options(true))?;
                Ok(Membership::Held(client))
            }
        }
    }

    /// Begins anew as another member of the same group; what is still held is released.
    pub fn join_again(&mut self, group: &str, options: impl Fn(bool) -> MemberOptions) -> Result {
        match self {
            Membership::Here { engine, member } => {
                let next = engine.join_group(group, options(false))?;
                std::mem::replace(&mut **member, next).close();
            }
            Membership::Held(client) => client.join_group(group, &options(true))?,
        }
        Ok(())
    }

    pub fn poll(&mut self, timeout: Duration) -> Result<Polled, Error> {
        match self {
            Membership::Here { member, .. } => member.poll(timeout).map(Polled::Here),
            Membership::Held(client) => client.poll(timeout).map(Polled::Held),
        }
    }

    /// Acknowledges all of a poll; returns the first reason why some could not be.
    pub fn ack_all(&mut self, polled: &Polled) -> Result<Option<Error>> {
        let refused = match (self, polled) {
            (Membership::Here { member, .. }, Polled::Here(deliveries)) => member.ack_all(deliveries).err(),
            (Membership::Held(client), Polled::Held(records)) => {
                let ids: Vec<_> = records.iter().map(Delivered::id).collect();
                client.ack(&ids)?.into_iter().map(|(_, error)| error).next()
            }
            _ => return Err(Failure::Check("a poll of another member".to_owned())),
        };
        match refused {
            // The group was sent elsewhere meanwhile, or it took too long.
            Some(error) if error.code() == "lease-lost" => Ok(Some(error)),
            Some(error) => Err(error.into()),
            None => Ok(None),
        }
    }

    /// Records of the group that are not finished.
    pub fn unfinished(&mut self, group: &str) -> Result<u64> {
        if let Membership::Here { member, .. } = self {
            member.flush()?;
        }
        Ok(self.describe(group)?.partitions.iter().map(|partition| partition.lag).sum())
    }

    /// How far the group has come.
    pub fn describe(&mut self, group: &str) -> Result<GroupInfo> {
        Ok(match self {
            Membership::Here { engine, .. } => engine.describe_group(group)?,
            Membership::Held(client) => client.describe_group(group)?,
        })
    }

    /// Leaves: what was acknowledged is durable, and what is held was no failure.
    pub fn leave(self) -> Result {
        match self {
            Membership::Here { engine, member } => {
                let flushed = member.flush();
                member.close();
                // As without a group: the next command should not have to recover.
                let closed = engine.close();
                flushed?;
                Ok(closed?)
            }
            Membership::Held(mut client) => Ok(client.leave_group()?),
        }
    }
}

impl Polled {
    pub fn len(&self) -> usize {
        match self {
            Polled::Here(deliveries) => deliveries.len(),
            Polled::Held(records) => records.len(),
        }
    }

    /// Shows each record.
    pub fn each(&self, mut show: impl FnMut(&Printed<'_>) -> Result) -> Result {
        match self {
            Polled::Here(deliveries) => deliveries.iter().try_for_each(|delivery| show(&Printed::from(&delivery))),
            Polled::Held(records) => records.iter().try_for_each(|delivered| show(&Printed::from(delivered))),
        }
    }
}
