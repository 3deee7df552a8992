//! Stand-ins for crossbeam's queue and padding. The queue is not ours; threads may change at each of its steps.

use super::atomic::{AtomicUsize, Ordering};
use shuttle::sync::Mutex;
use std::collections::VecDeque;
use std::ops::Deref;

pub(crate) struct ArrayQueue<T> {
    capacity: usize,
    entries: Mutex<VecDeque<T>>,
    pushed: AtomicUsize,
    popped: AtomicUsize,
}

impl<T> ArrayQueue<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        let (pushed, popped) = (AtomicUsize::new(0), AtomicUsize::new(0));
        ArrayQueue { capacity, entries: Mutex::new(VecDeque::new()), pushed, popped }
    }
    pub(crate) fn push(&self, entry: T) -> Result<(), T> {
        {
            let mut entries = self.entries.lock().expect("nobody panicked with it");
            if entries.len() == self.capacity {
                return Err(entry);
            }
            entries.push_back(entry);
        }
        self.pushed.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
    pub(crate) fn pop(&self) -> Option<T> {
        let entry = self.entries.lock().expect("nobody panicked with it").pop_front()?;
        self.popped.fetch_add(1, Ordering::SeqCst);
        Some(entry)
    }
    pub(crate) fn is_empty(&self) -> bool {
        self.pushed.load(Ordering::SeqCst) <= self.popped.load(Ordering::SeqCst)
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
