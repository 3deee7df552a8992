//! Senders hand records over and wait for their receipts; the lane takes, answers, sleeps, and ends.

use crate::error::Error;
use crate::io::doorbell::Doorbell;
use crate::io::{Latch, Wake};
use crate::lane::shared::{LaneShared, Message, Reply};
use crate::lane::supply::SegmentSupply;
use crate::producer::accumulator::Accumulator;
use crate::sync::{Fault, fault};
use shuttle::thread;
use std::sync::Arc;

const SENDERS: usize = 3;
const RECORDS: usize = 2;

/// What is shared by all.
struct Shared {
    lane: LaneShared,
    bell: Arc<Doorbell>,
    accumulators: [Arc<Accumulator>; 2],
}

impl Shared {
    fn new() -> Arc<Shared> {
        let lane = LaneShared::new(0, 0, Latch, SegmentSupply);
        let bell = Arc::new(Doorbell::new());
        lane.set_waker(bell.clone());
        Arc::new(Shared { lane, bell, accumulators: Default::default() })
    }

    /// The thread of the lane: takes what is there, answers, rests, until it is told to close.
    fn run_lane(&self) {
        let mut writing = false;
        let closing = loop {
            match self.lane.pop() {
                Some(Message::Ready(accumulator)) => {
                    for event in accumulator.take() {
                        event.set();
                    }
                    writing = !writing;
                }
                Some(Message::Sync { reply }) => reply.set(Ok(())),
                Some(Message::Close { reply }) => break reply,
                Some(_) => unreachable!("nobody sends that"),
                None => self.rest(writing),
            }
        };
        if fault() != Fault::EndInSilence {
            self.lane.end();
        }
        closing.set(Ok(()));
    }

    /// While a write is in flight small news may wait for it; its completion is a wake-up of its own, here at once.
    fn rest(&self, writing: bool) {
        let may_sleep = self.lane.fall_asleep(writing) || fault() == Fault::SleepAllTheSame;
        if may_sleep && !writing {
            self.bell.sleep(None);
        }
        self.lane.wake_up();
        if writing && may_sleep {
            // The write is done.
            while self.lane.fall_asleep(false) && !self.bell.sleep(None) {}
            self.lane.wake_up();
        }
    }

    fn send(&self, sender: usize) {
        let accumulator = &self.accumulators[sender % self.accumulators.len()];
        accumulator.add(&self.lane).wait();
    }
}

/// Senders that wait for each receipt; one of them asks for a sync, and then all is closed.
pub fn receipts() {
    let shared = Shared::new();
    let lane = {
        let shared = shared.clone();
        thread::spawn(move || shared.run_lane())
    };
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let shared = shared.clone();
            thread::spawn(move || {
                for _ in 0..RECORDS {
                    shared.send(sender);
                }
                if sender == 0 {
                    assert!(shared.lane.ask(|reply| Message::Sync { reply }).is_ok());
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("it has not panicked");
    }
    assert!(shared.lane.ask(|reply| Message::Close { reply }).is_ok());
    lane.join().expect("it has not panicked");
}

/// The lane closes while senders hand over: every one of them is answered, one way or the other.
pub fn close() {
    let shared = Shared::new();
    let lane = {
        let shared = shared.clone();
        thread::spawn(move || shared.run_lane())
    };
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.send(sender);
                let answer = shared.lane.ask(|reply| Message::Sync { reply });
                assert!(matches!(answer, Ok(()) | Err(Error::Closed { .. })));
            })
        })
        .collect();
    assert!(shared.lane.ask(|reply| Message::Close { reply }).is_ok());
    for sender in senders {
        sender.join().expect("it has not panicked");
    }
    lane.join().expect("it has not panicked");
}

/// News beside the queue, as the keeper brings them, while a sender hands over.
pub fn nudges() {
    let shared = Shared::new();
    let lane = {
        let shared = shared.clone();
        thread::spawn(move || shared.run_lane())
    };
    let keeper = {
        let shared = shared.clone();
        thread::spawn(move || {
            shared.lane.nudge();
            shared.lane.wake();
            shared.bell.wake();
        })
    };
    shared.send(0);
    keeper.join().expect("it has not panicked");
    let (answer, reply) = Reply::pair();
    shared.lane.push(Message::Close { reply: answer });
    assert!(reply.wait().is_ok());
    lane.join().expect("it has not panicked");
}
