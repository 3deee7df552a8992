//! Handles to what was sent: wait, poll, await, or be called.

use super::batch::{Batch, Outcome, RecordOutcome};
use super::receipt::{Receipt, RecordId};
use crate::error::{Error, Result};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// One record on its way. Dropping it changes nothing: the record is sent all the same.
///
/// It is a [`Future`] that needs no particular runtime.
#[must_use = "without its receipt a record may be lost unnoticed; drop the handle explicitly if that is meant"]
pub struct SendHandle {
    pub(super) batch: Arc<Batch>,
    pub(super) part: u32,
    pub(super) index: u32,
    pub(super) timestamp_ms: i64,
}

impl SendHandle {
    /// Waits for the receipt.
    ///
    /// # Errors
    /// The record is not there: `NoSpace`, `TooMany` (delayed records, or named producers by partition), both to be tried
    /// again later; `SequenceGap` (its number is not the next one); `ProducerFenced`, `UnknownProducer` (the name was
    /// opened again, or deleted); `TopicDeleted`, `Poisoned`, `Closed`. It may be there: `UnknownOutcome`. It is there:
    /// `ReceiptForgotten`. The table in docs/GUARANTEES.md says what to do about each; the same errors come to
    /// callbacks and to whoever awaits the handle.
    pub fn wait(self) -> Result<Receipt> {
        self.receipt(self.batch.wait())
    }

    /// Waits at most so long; `None`: not yet.
    pub fn wait_timeout(&self, timeout: Duration) -> Option<Result<Receipt>> {
        self.batch.wait_timeout(timeout).map(|outcome| self.receipt(outcome))
    }

    /// Whether the outcome is known.
    pub fn is_done(&self) -> bool {
        self.batch.outcome().is_some()
    }

    /// Has `callback` called with the receipt, on the engine's callback thread (or here and now, if
    /// the outcome is known already). A callback that blocks delays other callbacks, nothing else.
    pub fn on_complete(self, callback: impl FnOnce(Result<Receipt>) + Send + 'static) {
        self.when_complete(callback);
    }

    pub(super) fn when_complete(&self, callback: impl FnOnce(Result<Receipt>) + Send + 'static) {
        let SendHandle { batch, part, index, timestamp_ms } = self;
        let (part, index, timestamp_ms) = (*part, *index, *timestamp_ms);
        batch.on_complete(Box::new(move |outcome| callback(receipt(outcome, part, index, timestamp_ms))));
    }

    fn receipt(&self, outcome: &Outcome) -> Result<Receipt> {
        receipt(outcome, self.part, self.index, self.timestamp_ms)
    }
}

impl Future for SendHandle {
    type Output = Result<Receipt>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.batch.outcome() {
            return Poll::Ready(self.receipt(outcome));
        }
        if self.batch.wake_on_complete(context.waker()) {
            return Poll::Pending;
        }
        Poll::Ready(self.receipt(self.batch.wait()))
    }
}

impl std::fmt::Debug for SendHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SendHandle({})", if self.is_done() { "done" } else { "pending" })
    }
}

pub(super) fn receipt(outcome: &Outcome, part: u32, index: u32, timestamp_ms: i64) -> Result<Receipt> {
    let parts = outcome.parts.as_ref().map_err(Error::clone)?;
    let part = &parts[part as usize];
    let (topic, partition) = (part.partition.topic.clone(), part.partition.partition);
    let durability = outcome.durability;
    let here = |index: u32, timestamp_ms, duplicate| Receipt {
        topic: topic.clone(),
        partition,
        offset: part.base_offset().map(|base| base + u64::from(index)),
        timestamp_ms,
        durability,
        id: RecordId { log: outcome.log, position: part.position.0, index },
        origin: part.origin.plus(index),
        duplicate,
    };
    match part.each.as_deref().map(|each| &each[index as usize]) {
        None => Ok(here(index, timestamp_ms, false)),
        Some(RecordOutcome::New { index }) => Ok(here(*index, timestamp_ms, false)),
        Some(RecordOutcome::RepeatHere { index, timestamp_ms }) => Ok(here(*index, *timestamp_ms, true)),
        Some(RecordOutcome::Repeat(original)) => Ok(Receipt {
            offset: original.offset,
            timestamp_ms: original.timestamp_ms,
            id: RecordId { log: original.identity.log, position: original.identity.position.0, index: original.index },
            origin: original.origin,
            ..here(0, 0, true)
        }),
        Some(RecordOutcome::Refused(error)) => Err(error.clone()),
    }
}

/// Records that were handed over together.
#[must_use = "without their receipts records may be lost unnoticed; drop the handle explicitly if that is meant"]
#[derive(Default)]
pub struct BatchHandle {
    stretches: Vec<Stretch>,
    count: usize,
}

/// Consecutive records of one part with one timestamp.
struct Stretch {
    batch: Arc<Batch>,
    part: u32,
    first: u32,
    count: u32,
    timestamp_ms: i64,
}

impl BatchHandle {
    /// Records of one part, one behind the other, with one timestamp.
    #[inline]
    pub(super) fn push(&mut self, batch: &Arc<Batch>, part: u32, first: u32, count: u32, timestamp_ms: i64) {
        self.count += count as usize;
        if let Some(last) = self.stretches.last_mut()
            && last.part == part
            && last.first + last.count == first
            && last.timestamp_ms == timestamp_ms
            && Arc::ptr_eq(&last.batch, batch)
        {
            last.count += count;
            return;
        }
        self.stretches.push(Stretch { batch: batch.clone(), part, first, count, timestamp_ms });
    }

    /// Has `callback` called with the outcome of each record, by its place, as [`SendHandle::on_complete`] does.
    pub(super) fn when_complete(&self, callback: impl Fn(usize, Result<Receipt>) + Clone + Send + 'static) {
        let mut place = 0;
        for Stretch { batch, part, first, count, timestamp_ms } in &self.stretches {
            let (part, first, count, timestamp_ms) = (*part, *first, *count, *timestamp_ms);
            let (base, callback) = (place, callback.clone());
            place += count as usize;
            batch.on_complete(Box::new(move |outcome| {
                for at in 0..count {
                    callback(base + at as usize, receipt(outcome, part, first + at, timestamp_ms));
                }
            }));
        }
    }

    /// How many records it stands for.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether it stands for none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Waits for all and returns their receipts in the order of sending; the first error if one failed. Others
    /// may be there all the same: [`BatchHandle::outcomes`] tells.
    ///
    /// # Errors
    /// Those of [`SendHandle::wait`].
    pub fn wait(self) -> Result<Vec<Receipt>> {
        self.outcomes().into_iter().collect()
    }

    /// Waits for all and returns the outcome of each, in the order of sending.
    pub fn outcomes(&self) -> Vec<Result<Receipt>> {
        let mut outcomes = Vec::with_capacity(self.len());
        for stretch in &self.stretches {
            let outcome = stretch.batch.wait();
            let indexes = stretch.first..stretch.first + stretch.count;
            outcomes.extend(indexes.map(|index| receipt(outcome, stretch.part, index, stretch.timestamp_ms)));
        }
        outcomes
    }

    /// Waits for all, without making receipts.
    ///
    /// # Errors
    /// Those of [`SendHandle::wait`]; the first one.
    pub fn wait_done(&self) -> Result<()> {
        for stretch in &self.stretches {
            let parts = stretch.batch.wait().parts.as_ref().map_err(Error::clone)?;
            let Some(each) = &parts[stretch.part as usize].each else { continue };
            let indexes = stretch.first as usize..(stretch.first + stretch.count) as usize;
            for outcome in &each[indexes] {
                if let RecordOutcome::Refused(error) = outcome {
                    return Err(error.clone());
                }
            }
        }
        Ok(())
    }

    /// Has the waker woken when more of the outcomes are known; `false`: all are.
    pub fn wake_when_done(&self, waker: &Waker) -> bool {
        let waits = |stretch: &Stretch| stretch.batch.outcome().is_none() && stretch.batch.wake_on_complete(waker);
        self.stretches.iter().any(waits)
    }

    /// Whether all outcomes are known.
    pub fn is_done(&self) -> bool {
        self.stretches.iter().all(|stretch| stretch.batch.outcome().is_some())
    }
}

impl Future for BatchHandle {
    type Output = Result<Vec<Receipt>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.wake_when_done(context.waker()) {
            true => Poll::Pending,
            false => Poll::Ready(self.outcomes().into_iter().collect()),
        }
    }
}

impl std::fmt::Debug for BatchHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BatchHandle({} records)", self.len())
    }
}
