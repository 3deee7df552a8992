//! What a lane has published of a partition, and who waits for more.
//!
//! Invariant: no publication is missed. A watcher registers, looks at the index, and sleeps on its signal; the lane
//! changes the index, then looks for watchers. The index's lock orders the two: either the watcher finds the
//! publication, or the lane finds the watcher.

use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Mutex, MutexGuard, Signal, lock};
use std::sync::Arc;
use std::task::Waker;

/// An index that grows, and the signals that move when it does.
pub(crate) struct Published<I> {
    index: Mutex<I>,
    waiting: AtomicUsize,
    watchers: Mutex<Vec<Arc<Signal>>>,
}

impl<I> Published<I> {
    pub(crate) fn new(index: I) -> Self {
        Published { index: Mutex::new(index), waiting: AtomicUsize::new(0), watchers: Mutex::new(Vec::new()) }
    }

    /// The index, locked.
    #[inline]
    pub(crate) fn index(&self) -> MutexGuard<'_, I> {
        lock(&self.index)
    }

    /// Changes the index and wakes who waits for it.
    #[inline]
    pub(crate) fn publish(&self, change: impl FnOnce(&mut I)) {
        change(&mut *self.index());
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.disturb();
        }
    }

    /// From now on `signal` moves with each publication.
    pub(crate) fn watch(&self, signal: &Arc<Signal>) {
        let mut watchers = lock(&self.watchers);
        watchers.push(signal.clone());
        self.waiting.store(watchers.len(), Ordering::SeqCst);
    }

    pub(crate) fn unwatch(&self, signal: &Arc<Signal>) {
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| !Arc::ptr_eq(watcher, signal));
        self.waiting.store(watchers.len(), Ordering::SeqCst);
    }

    /// Wakes all watchers.
    pub(crate) fn disturb(&self) {
        let tasks: Vec<_> = lock(&self.watchers).iter().flat_map(|watcher| watcher.notify_threads()).collect();
        tasks.into_iter().for_each(Waker::wake);
    }
}
