//! A poll of a member as a future.
//!
//! Invariants:
//! - Nothing is taken before the future is ready, so dropping it loses nothing.
//! - It waits as a thread does (shared.rs); dropped, it passes on what it watched.

use super::deliveries::Deliveries;
use super::member::{GroupConsumer, Nothing};
use super::shared::Place;
use crate::error::Result;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

impl GroupConsumer {
    /// The next records, each under a lease, as a future that needs no particular runtime: ready when there is at least
    /// one. Dropping it loses nothing: no record is taken before it is ready. It has no timeout; runtimes have theirs.
    ///
    /// It waits for news, due times and room without a thread. What takes its time is done by the thread that polls it:
    /// reading from files, and where records are handed out again, or the first time, one flush. A future that was
    /// woken and is not polled holds up other members of a shared group for a moment (`ack_flush_interval_ms`, twice).
    ///
    /// # Errors
    /// As [`GroupConsumer::poll`].
    pub fn poll_async(&mut self) -> NextDeliveries<'_> {
        NextDeliveries { member: self }
    }

    fn poll_task(&mut self, waker: &Waker) -> Poll<Result<Deliveries>> {
        self.engine.check_fork()?;
        loop {
            self.prepare()?;
            let (seen_arrivals, seen_own) = (self.group.arrivals.look(), self.shared.signal.look());
            let wait = match self.take()? {
                Ok(deliveries) => return Poll::Ready(self.given(deliveries)),
                Err(Nothing::Again) => continue,
                Err(Nothing::Skipped) => {
                    // Others have their turn.
                    waker.wake_by_ref();
                    return Poll::Pending;
                }
                Err(Nothing::Wait(wait)) => Some(wait),
                Err(Nothing::Full) => None,
            };
            let place = wait.map(|_| self.group.begin_waiting(&self.shared, seen_arrivals, self.takes_everything()));
            let waits = match place {
                Some(Place::Watches) => {
                    let due_ms = wait.flatten().map(|wait| self.due_ms(wait));
                    if due_ms.is_some_and(|due_ms| self.group.set_alarm(due_ms)) {
                        self.engine.groups.nudge();
                    }
                    self.group.arrivals.wake_task(seen_arrivals, self.shared.id, waker)
                }
                Some(Place::Sleeps) | None => self.shared.signal.wake_task(seen_own, self.shared.id, waker),
            };
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// The time that is so far ahead, by the clock of delays.
    fn due_ms(&self, wait: Duration) -> i64 {
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        // Not at once: what is due and cannot be taken would be looked for again and again.
        self.engine.groups.due_now_ms(&self.engine).saturating_add(wait_ms.max(1))
    }
}

/// What [`GroupConsumer::poll_async`] waits for.
#[must_use = "a future does nothing unless it is awaited"]
#[derive(Debug)]
pub struct NextDeliveries<'a> {
    member: &'a mut GroupConsumer,
}

impl Future for NextDeliveries<'_> {
    type Output = Result<Deliveries>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let member = &mut *self.get_mut().member;
        let polled = member.poll_task(context.waker());
        if polled.is_ready() {
            member.end_waiting();
        }
        polled
    }
}

impl Drop for NextDeliveries<'_> {
    fn drop(&mut self) {
        let (group, shared) = (&self.member.group, &self.member.shared);
        group.arrivals.forget_task(shared.id);
        shared.signal.forget_task(shared.id);
        self.member.end_waiting();
    }
}
