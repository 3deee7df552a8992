//! The models: threads that do with the engine's files what the engine's threads do.

use crate::error::Error;
use crate::io::block::{Block, BlockWriter};
use crate::io::doorbell::Doorbell;
use crate::io::{Latch, Wake};
use crate::lane::shared::{LaneShared, Message, Reply};
use crate::lane::supply::SegmentSupply;
use crate::partition::published::Published;
use crate::producer::listeners::Listeners;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::{Event, Signal, eventfd};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;
use std::time::Duration;

/// Plain memory that loom watches: an access that another thread's write did not happen before is an error.
struct Plain(UnsafeCell<u32>);

// SAFETY: loom ends the run when two threads touch it without an order between them; that is what it is for.
unsafe impl Sync for Plain {}
// SAFETY: as above.
unsafe impl Send for Plain {}

impl Plain {
    fn new() -> Plain {
        Plain(UnsafeCell::new(0))
    }
    fn write(&self, value: u32) {
        // SAFETY: see above; the pointer is valid while it is borrowed.
        self.0.with_mut(|place| unsafe { *place = value });
    }
    fn read(&self) -> u32 {
        // SAFETY: as above.
        self.0.with(|place| unsafe { *place })
    }
}

/// sync/event.rs: two wait, one sets. Both see what was written before.
pub fn event() {
    let shared = Arc::new((Event::new(), Plain::new()));
    let waiters: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                shared.0.wait();
                assert_eq!(shared.1.read(), 1);
            })
        })
        .collect();
    shared.1.write(1);
    shared.0.set();
    for waiter in waiters {
        waiter.join().expect("it has not panicked");
    }
}

/// sync/signal.rs: look, check, sleep; beside it somebody makes the check true and notifies.
pub fn signal() {
    let shared = Arc::new((Signal::default(), AtomicBool::new(false)));
    let other = shared.clone();
    let waiter = thread::spawn(move || {
        loop {
            let seen = other.0.look();
            if other.1.load(Ordering::Relaxed) {
                break;
            }
            other.0.wait(seen, Duration::MAX);
        }
    });
    shared.1.store(true, Ordering::Relaxed);
    shared.0.notify();
    waiter.join().expect("it has not panicked");
}

struct Woken(Event);

impl std::task::Wake for Woken {
    fn wake(self: std::sync::Arc<Self>) {
        self.0.set();
    }
}

/// The same, with a task that is woken.
pub fn signal_of_a_task() {
    let shared = Arc::new((Signal::default(), AtomicBool::new(false)));
    let other = shared.clone();
    let waiter = thread::spawn(move || {
        let woken = std::sync::Arc::new(Woken(Event::new()));
        let waker = std::task::Waker::from(woken.clone());
        loop {
            let seen = other.0.look();
            if other.1.load(Ordering::Relaxed) {
                break;
            }
            if other.0.wake_task(seen, 1, &waker) {
                woken.0.wait();
            }
        }
        other.0.forget_task(1);
    });
    shared.1.store(true, Ordering::Relaxed);
    shared.0.notify();
    waiter.join().expect("it has not panicked");
}

/// io/doorbell.rs, asleep on the futex: two senders ring, the lane misses neither.
pub fn doorbell_on_futex() {
    let shared = Arc::new((Doorbell::new(), AtomicUsize::new(0)));
    let senders = ringers(&shared);
    while shared.1.load(Ordering::Relaxed) < 2 {
        shared.0.sleep(None);
    }
    for sender in senders {
        sender.join().expect("it has not panicked");
    }
}

/// io/doorbell.rs, asleep in the ring, where an eventfd wakes.
pub fn doorbell_in_ring() {
    let shared = Arc::new((Doorbell::with_event().expect("a descriptor"), AtomicUsize::new(0)));
    let senders = ringers(&shared);
    while shared.1.load(Ordering::Relaxed) < 2 {
        let lies = shared.0.lie_down_in_ring();
        if lies {
            eventfd::sleep();
        }
        shared.0.rise();
        if lies {
            shared.0.drain_event();
        }
    }
    for sender in senders {
        sender.join().expect("it has not panicked");
    }
}

fn ringers(shared: &Arc<(Doorbell, AtomicUsize)>) -> Vec<thread::JoinHandle<()>> {
    let ring = |shared: Arc<(Doorbell, AtomicUsize)>| {
        thread::spawn(move || {
            shared.1.fetch_add(1, Ordering::Relaxed);
            shared.0.wake();
        })
    };
    vec![ring(shared.clone()), ring(shared.clone())]
}

fn lane() -> (Arc<LaneShared>, Arc<Doorbell>) {
    let lane = Arc::new(LaneShared::new(0, 0, Latch, SegmentSupply));
    let bell = Arc::new(Doorbell::new());
    lane.set_waker(bell.clone());
    (lane, bell)
}

/// As a lane does when it has nothing to do.
fn rest(lane: &LaneShared, bell: &Doorbell, writing: bool) {
    if lane.fall_asleep(writing) {
        bell.sleep(None);
    }
    lane.wake_up();
}

/// lane/shared.rs: a sender pushes a question and waits; the lane, asleep or about to be, answers.
pub fn lane_push() {
    let (shared, bell) = lane();
    let sender = {
        let shared = shared.clone();
        thread::spawn(move || {
            let answer = shared.ask(|reply| Message::Sync { reply });
            assert!(answer.is_ok());
        })
    };
    let reply = loop {
        match shared.pop() {
            Some(Message::Sync { reply }) => break reply,
            Some(_) => unreachable!("nobody sends that"),
            None => rest(&shared, &bell, false),
        }
    };
    reply.set(Ok(()));
    sender.join().expect("it has not panicked");
}

/// lane/shared.rs: while a write is in flight only a full batch wakes, and it does.
pub fn lane_bulk() {
    let (shared, bell) = lane();
    let sender = {
        let shared = shared.clone();
        thread::spawn(move || {
            let (reply, _) = Reply::pair();
            shared.push(Message::Sync { reply });
            shared.wake_for_bulk();
        })
    };
    while shared.pop().is_none() {
        rest(&shared, &bell, true);
    }
    sender.join().expect("it has not panicked");
}

/// lane/shared.rs: news that do not stand in the queue.
pub fn lane_nudge() {
    let (shared, bell) = lane();
    let news = Arc::new(AtomicBool::new(false));
    let bringer = {
        let (shared, news) = (shared.clone(), news.clone());
        thread::spawn(move || {
            news.store(true, Ordering::Relaxed);
            shared.nudge();
        })
    };
    while !news.load(Ordering::Relaxed) {
        rest(&shared, &bell, false);
    }
    bringer.join().expect("it has not panicked");
}

/// lane/shared.rs: a question that comes while the lane ends is answered.
pub fn lane_end() {
    let (shared, _) = lane();
    let sender = {
        let shared = shared.clone();
        thread::spawn(move || {
            let answer = shared.ask(|reply| Message::Sync { reply });
            assert!(matches!(answer, Err(Error::Closed { .. })));
        })
    };
    shared.end();
    sender.join().expect("it has not panicked");
}

/// partition/published.rs: a reader registers, looks, sleeps; a lane publishes.
pub fn publication() {
    let shared = Arc::new(Published::new(0u32));
    let reader = {
        let shared = shared.clone();
        thread::spawn(move || {
            let signal = Arc::new(Signal::default());
            shared.watch(&signal);
            loop {
                let seen = signal.look();
                if *shared.index() == 1 {
                    break;
                }
                signal.wait(seen, Duration::MAX);
            }
            shared.unwatch(&signal);
        })
    };
    shared.publish(|index| *index = 1);
    reader.join().expect("it has not panicked");
}

/// producer/listeners.rs and sync/event.rs: a callback that is registered while its batch completes runs once.
pub fn callback() {
    let shared = Arc::new((Event::new(), Listeners::<()>::default(), Arc::new(AtomicUsize::new(0))));
    let registrar = {
        let shared = shared.clone();
        thread::spawn(move || {
            let ran = shared.2.clone();
            let callback = Box::new(move |(): &()| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            if let Err(callback) = shared.1.add_callback(|| shared.0.is_set(), callback) {
                callback(&());
            }
        })
    };
    shared.0.set();
    if shared.1.are_there() {
        let (_, callbacks) = shared.1.take_wakers();
        if callbacks {
            shared.1.run_callbacks(&());
        }
    }
    registrar.join().expect("it has not panicked");
    assert_eq!(shared.2.load(Ordering::Relaxed), 1);
}

/// io/block.rs: what the writer did before it published bytes is seen by who reads them.
pub fn block() {
    let mut writer = BlockWriter::new(Block::zeroed(4096));
    let block = writer.block().clone();
    let written = Arc::new(Plain::new());
    let reader = {
        let written = written.clone();
        thread::spawn(move || {
            if block.published() > 0 {
                assert_eq!(written.read(), 7);
            }
        })
    };
    written.write(7);
    writer.append(b"x");
    reader.join().expect("it has not panicked");
}
