//! Interceptors of consumers and of members of groups.

use super::{Failures, InterceptorResult, Interceptors};
use crate::consumer::{Deliveries, Records};
use crate::error::{Error, Result};
use std::ops::Range;

/// Sees what a consumer, or a member of a group, is given, and what becomes of it. Registered with
/// [`ConsumerOptions::interceptor`](crate::ConsumerOptions::interceptor) and
/// [`MemberOptions::interceptor`](crate::MemberOptions::interceptor). All calls come on the thread of the call that they
/// belong to.
pub trait ConsumerInterceptor: Send + Sync {
    /// What errors call it. Asked when it is registered. Default: the name of its type.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// A [`Consumer::poll`](crate::Consumer::poll) is about to give records; not called when it gives none.
    ///
    /// # Errors
    /// Whatever it says fails the poll with [`Error::Interceptor`]: the consumer stays where it was, and the next poll
    /// reads the same records again. So does a panic.
    fn on_poll(&self, records: &Records) -> InterceptorResult {
        let _ = records;
        Ok(())
    }

    /// A [`GroupConsumer::poll`](crate::GroupConsumer::poll) is about to give deliveries; not called when it gives none.
    ///
    /// # Errors
    /// Whatever it says fails the poll with [`Error::Interceptor`]: the records are handed out again, and it counts
    /// neither as a delivery nor as a failure of theirs. So does a panic.
    fn on_deliver(&self, group: &str, deliveries: &Deliveries) -> InterceptorResult {
        let _ = (group, deliveries);
        Ok(())
    }

    /// The member ended deliveries, by acknowledging them or by giving them back. It is done: nothing fails it.
    /// Deliveries that end by themselves (a lease that ran out, a member that left) are not told.
    fn on_end(&self, ended: &EndedDeliveries<'_>) {
        let _ = ended;
    }
}

/// How a member ended a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeliveryEnd {
    /// It was processed.
    Acknowledged,
    /// It could not be processed, and is handed out again.
    Nacked,
    /// Nobody can process it.
    Rejected,
    /// It was not worked on.
    Released,
    /// A transaction has it: it is acknowledged if that commits, and otherwise handed out again.
    InTransaction,
}

/// Deliveries of one partition that a member ended. A call that ends many may tell of them piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EndedDeliveries<'a> {
    /// The group.
    pub group: &'a str,
    /// The topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: u32,
    /// The offsets.
    pub offsets: Range<u64>,
    /// How they ended.
    pub end: DeliveryEnd,
}

impl Interceptors<dyn ConsumerInterceptor> {
    pub(crate) fn on_poll(&self, records: &Records, failures: &Failures) -> Result<()> {
        self.ask("on_poll", failures, |interceptor| interceptor.on_poll(records)).map_err(error_of)
    }

    pub(crate) fn on_deliver(&self, group: &str, deliveries: &Deliveries, failures: &Failures) -> Result<()> {
        self.ask("on_deliver", failures, |interceptor| interceptor.on_deliver(group, deliveries)).map_err(error_of)
    }

    pub(crate) fn on_end(&self, ended: &EndedDeliveries<'_>, failures: &Failures) {
        self.tell(usize::MAX, failures, |interceptor| interceptor.on_end(ended));
    }
}

fn error_of((_, error): (usize, Error)) -> Error {
    error
}
