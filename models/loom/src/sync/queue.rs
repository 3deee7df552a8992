//! Stand-ins for crossbeam's queue and padding. The queue is not ours, so no fault weakens it; and it orders
//! no more than crossbeam's does: a push is one sequentially consistent step, and who finds the queue empty has
//! passed a fence and looked at counters, with no lock that would bring more.

use loom::sync::Mutex;
use loom::sync::atomic::{AtomicUsize, Ordering, fence};
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::ops::Deref;

pub(crate) struct ArrayQueue<T> {
    capacity: usize,
    /// What is left when a run fails is not dropped: it would lock once more, in a run that is over.
    entries: Mutex<ManuallyDrop<VecDeque<T>>>,
    pushed: AtomicUsize,
    popped: AtomicUsize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let (pushed, popped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        ArrayQueue { capacity, entries: Mutex::new(ManuallyDrop::new(VecDeque::new())), pushed, popped }
    }
    pub(crate) fn push(&self, entry: T) -> Result<(), T> {
        {
            let mut entries = self.entries.lock().expect("loom's locks are not poisoned");
            if entries.len() == self.capacity {
                return Err(entry);
            }
            entries.push_back(entry);
        }
        fence(Ordering::SeqCst);
        self.pushed.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
    pub(crate) fn pop(&self) -> Option<T> {
        if self.is_empty() {
            return None;
        }
        let entry = self.entries.lock().expect("loom's locks are not poisoned").pop_front()?;
        self.popped.fetch_add(1, Ordering::AcqRel);
        Some(entry)
    }
    pub(crate) fn is_empty(&self) -> bool {
        fence(Ordering::SeqCst);
        self.pushed.load(Ordering::Acquire) <= self.popped.load(Ordering::Acquire)
    }
}

pub(crate) struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    pub(crate) fn new(value: T) -> Self {
        CachePadded(value)
    }
}

impl<T> Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}
