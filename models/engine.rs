//! The engine's files, in the modules that they have there, beside stand-ins for what they name. Shared by both crates
//! of models.

pub(crate) mod error {
    use super::io::IoFailure;

    #[derive(Clone, Debug)]
    pub(crate) enum Error {
        Closed { what: &'static str },
        Poisoned { cause: IoFailure },
        UnknownOutcome { reason: String },
    }
    pub(crate) type Result<T, E = Error> = std::result::Result<T, E>;
}

#[path = "."]
pub(crate) mod io {
    #[path = "../engine/src/io/block.rs"]
    pub(crate) mod block;
    #[path = "../engine/src/io/doorbell.rs"]
    pub(crate) mod doorbell;

    /// What the doorbell asks of the kernel.
    pub(crate) mod calls {
        use crate::sync::atomic::AtomicU32;
        use crate::sync::eventfd;
        use std::os::fd::{BorrowedFd, OwnedFd};
        use std::time::Duration;

        pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, _: Option<Duration>) {
            word.sleep_while(expected);
        }
        pub(crate) fn futex_wake(word: &AtomicU32) {
            word.wake_all();
        }
        pub(crate) fn event() -> std::io::Result<OwnedFd> {
            std::fs::File::open("/dev/null").map(OwnedFd::from)
        }
        pub(crate) fn ring_event(_: BorrowedFd<'_>) {
            eventfd::ring();
        }
        pub(crate) fn drain_event(_: BorrowedFd<'_>) {
            eventfd::drain();
        }
    }

    pub(crate) trait Wake: Send + Sync {
        fn wake(&self);
    }
    pub(crate) trait Clock {
        fn monotonic_ns(&self) -> u64;
    }
    pub(crate) enum Wait {
        No,
        Until(u64),
        Forever,
    }
    #[derive(Clone, Debug)]
    pub(crate) struct IoFailure;
    /// Nothing fails here.
    #[derive(Clone, Default)]
    pub(crate) struct Latch;
    impl Latch {
        pub(crate) fn check(&self) -> Result<(), IoFailure> {
            Ok(())
        }
    }
}

pub(crate) mod log {
    pub(crate) mod position {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) struct Position(pub(crate) u64);
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct Identity {
            pub(crate) log: u32,
            pub(crate) position: Position,
        }

        #[derive(Clone, Copy)]
        pub(crate) struct Stretch {
            pub(crate) from: Position,
            pub(crate) to: Position,
        }
    }
}

#[path = "."]
pub(crate) mod lane {
    #[path = "../engine/src/lane/shared.rs"]
    pub(crate) mod shared;

    pub(crate) mod catalog {
        pub(crate) struct CatalogChange;
    }
    pub(crate) mod acknowledged {
        #[derive(Default)]
        pub(crate) struct Acknowledged;
    }
    pub(crate) mod cut {
        pub(crate) struct Cut;
    }
    pub(crate) mod numbers {
        pub(crate) struct Last;
    }
    pub(crate) mod progress {
        pub(crate) struct ProgressEntry;
    }
    pub(crate) mod state {
        pub(crate) struct Unseen;
    }
    pub(crate) mod steps {
        pub(crate) struct TransactionWork;
    }
    pub(crate) mod supply {
        pub(crate) struct SegmentSupply;
    }
}

#[path = "."]
pub(crate) mod partition {
    #[path = "../engine/src/partition/published.rs"]
    pub(crate) mod published;
}

#[path = "."]
pub(crate) mod producer {
    #[path = "../engine/src/producer/listeners.rs"]
    pub(crate) mod listeners;

    pub(crate) mod accumulator {
        use crate::error::Error;
        use crate::lane::shared::{LaneShared, Message};
        use crate::sync::{Event, Mutex, lock};
        use std::sync::Arc;

        /// As much of an accumulator as the hand-over needs: records wait, and it stands in the queue once.
        #[derive(Default)]
        pub(crate) struct Accumulator {
            inner: Mutex<(Vec<Arc<Event>>, bool)>,
        }
        impl Accumulator {
            pub(crate) fn add(self: &Arc<Self>, lane: &LaneShared) -> Arc<Event> {
                let event = Arc::new(Event::new());
                let mut inner = lock(&self.inner);
                inner.0.push(event.clone());
                let queue = !std::mem::replace(&mut inner.1, true);
                drop(inner);
                if queue {
                    lane.push(Message::Ready(self.clone()));
                }
                event
            }
            pub(crate) fn take(&self) -> Vec<Arc<Event>> {
                let mut inner = lock(&self.inner);
                inner.1 = false;
                std::mem::take(&mut inner.0)
            }
            pub(crate) fn refuse_all(&self, _: &Error) {
                for event in self.take() {
                    event.set();
                }
            }
        }
    }
}
