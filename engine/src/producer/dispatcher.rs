//! The thread that runs applications' callbacks, so that no lane ever does. Started by the first callback.

use super::batch::Batch;
use crate::sync::thread::{self, Thread};
use crate::sync::{Signal, lock};
use crossbeam_queue::SegQueue;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
struct Shared {
    queue: SegQueue<Arc<Batch>>,
    signal: Signal,
    stop: AtomicBool,
}

/// See the module. A callback that panics is reported on standard error by the panic itself; the
/// others go on.
#[derive(Default)]
pub(crate) struct Dispatcher {
    shared: Arc<Shared>,
    thread: Mutex<Option<Thread>>,
}

impl Dispatcher {
    /// Runs the callbacks of a batch soon.
    pub(crate) fn dispatch(&self, batch: Arc<Batch>) {
        self.shared.queue.push(batch);
        let mut thread = lock(&self.thread);
        if thread.is_none() && !self.shared.stop.load(Ordering::Acquire) {
            let shared = self.shared.clone();
            let spawned = thread::spawn("ringlane-callbacks", move || run(&shared));
            match spawned {
                Ok(handle) => *thread = Some(handle),
                // No thread to be had: better late on this one than never.
                Err(_) => drain(&self.shared),
            }
        }
        drop(thread);
        self.shared.signal.notify();
    }

    /// Runs what is left and ends the thread.
    pub(crate) fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.signal.notify();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            thread.join();
        }
        drain(&self.shared);
    }
}

fn run(shared: &Shared) {
    loop {
        let seen = shared.signal.look();
        drain(shared);
        if shared.stop.load(Ordering::Acquire) && shared.queue.is_empty() {
            return;
        }
        shared.signal.wait(seen, Duration::from_secs(60));
    }
}

fn drain(shared: &Shared) {
    while let Some(batch) = shared.queue.pop() {
        batch.run_callbacks();
    }
}
