//! Something that happens again and again.
//!
//! Invariant: who looks, checks, and then sleeps or registers a task misses no notification. The one says that it waits
//! and then looks at the count; the other moves the count and then looks for those who wait. All four are sequentially
//! consistent, so one of them sees the other.

use super::atomic::{AtomicU32, Ordering};
use super::{Mutex, futex, lock};
use std::task::Waker;
use std::time::Duration;

/// A counter that can be waited on: look at it, check what you wait for, then sleep, or have a task woken, unless it
/// moved.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    count: AtomicU32,
    /// Threads that sleep, and tasks.
    waiting: AtomicU32,
    /// Each under the key of its owner.
    tasks: Mutex<Vec<(u32, Waker)>>,
}

impl Signal {
    /// The count now; what [`Signal::wait`] compares with.
    pub(crate) fn look(&self) -> u32 {
        self.count.load(Ordering::SeqCst)
    }

    /// Moves the count and wakes all who wait.
    pub(crate) fn notify(&self) {
        self.notify_threads().into_iter().for_each(Waker::wake);
    }

    /// The same, but for the tasks: who holds a lock wakes them when it has let go of it, for nobody knows what they do.
    #[must_use]
    pub(crate) fn notify_threads(&self) -> Vec<Waker> {
        self.count.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) == 0 {
            return Vec::new();
        }
        futex::wake_all(&self.count);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        self.waiting.fetch_sub(tasks.len() as u32, Ordering::SeqCst);
        tasks.into_iter().map(|(_, waker)| waker).collect()
    }

    /// Has a task woken, once, when the count is no longer `seen`; `false`: it is not now. One task for each key: a new
    /// one takes the place of the last.
    pub(crate) fn wake_task(&self, seen: u32, key: u32, waker: &Waker) -> bool {
        {
            let mut tasks = lock(&self.tasks);
            match tasks.iter_mut().find(|(of, _)| *of == key) {
                Some((_, known)) => known.clone_from(waker),
                None => {
                    tasks.push((key, waker.clone()));
                    self.waiting.fetch_add(1, Ordering::SeqCst);
                }
            }
        }
        let is_unmoved = self.look() == seen;
        if !is_unmoved {
            self.forget_task(key);
        }
        is_unmoved
    }

    /// The task of this key waits no more.
    pub(crate) fn forget_task(&self, key: u32) {
        let mut tasks = lock(&self.tasks);
        if let Some(at) = tasks.iter().position(|(of, _)| *of == key) {
            let gone = tasks.swap_remove(at);
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            drop(tasks);
            drop(gone);
        }
    }

    /// Sleeps until the count is no longer `seen`, or the time is over, or for no reason.
    pub(crate) fn wait(&self, seen: u32, timeout: Duration) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        if self.look() == seen {
            futex::wait(&self.count, seen, Some(timeout));
        }
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_notification_between_look_and_wait_is_not_lost() {
        let signal = Signal::default();
        let seen = signal.look();
        signal.notify();
        signal.wait(seen, Duration::from_secs(60));
    }

    #[derive(Default)]
    struct Count(AtomicU32);

    impl std::task::Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn a_task_is_woken_once_for_each_time_it_waits() {
        let (signal, one, two) = (Signal::default(), Arc::new(Count::default()), Arc::new(Count::default()));
        let wakers = [one.clone(), two.clone()].map(Waker::from);
        let counts = || [&one, &two].map(|count| count.0.load(Ordering::SeqCst));
        let seen = signal.look();
        assert!(signal.wake_task(seen, 1, &wakers[0]) && signal.wake_task(seen, 1, &wakers[0]));
        assert!(signal.wake_task(seen, 2, &wakers[1]));
        signal.notify();
        signal.notify();
        assert_eq!(counts(), [1, 1]);
        assert!(!signal.wake_task(seen, 1, &wakers[0]), "it moved meanwhile");
        assert!(signal.wake_task(signal.look(), 1, &wakers[0]) && signal.wake_task(signal.look(), 2, &wakers[1]));
        signal.forget_task(1);
        signal.forget_task(1);
        signal.notify();
        assert_eq!((counts(), signal.waiting.load(Ordering::SeqCst)), ([1, 2], 0));
    }

    #[test]
    fn a_sleeper_is_woken() {
        let signal = Arc::new(Signal::default());
        let other = signal.clone();
        let seen = signal.look();
        let sleeper = std::thread::spawn(move || {
            while other.look() == seen {
                other.wait(seen, Duration::from_secs(60));
            }
        });
        signal.notify();
        sleeper.join().unwrap();
    }
}
