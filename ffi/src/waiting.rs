//! What a consumer and a member have in common: one thread at a time uses them, and another may end its wait, close them,
//! or ask to be told when there is something.
//!
//! Invariants:
//! - A wait ends when there is something, when its time is over, by a wakeup, or because it is closed. A wakeup that comes
//!   while nobody waits ends the next wait.
//! - What a look for news has found is given by the next poll: nothing is lost by asking.

use crate::queue::{Queue, RINGLANE_EVENT_READABLE};
use crate::records::{Account, RecordsObject};
use crate::status::{Failure, RINGLANE_ERROR_WOKEN, Result};
use engine::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

/// Where nobody tells of news, they are looked for so often.
const LOOK: Duration = Duration::from_millis(20);

/// Something that is polled.
pub(crate) trait Source: Send {
    /// What it is called in messages.
    const NAME: &'static str;
    /// What there is now; `None`: nothing.
    fn poll_now(&mut self) -> engine::Result<Option<crate::records::Polled>>;
    /// The same, and where there is nothing the waker is woken when there is; it stays so until the next look.
    fn poll_task(&mut self, context: &mut Context<'_>) -> Poll<engine::Result<crate::records::Polled>>;
    /// Whether anybody tells it of news.
    fn is_told(&self) -> bool;
    /// What was found is not wanted now: the next look finds it again.
    fn give_back(&mut self, polled: crate::records::Polled);
}

/// What a wait ended by.
#[derive(Default)]
struct Ended {
    has_news: bool,
    is_woken: bool,
    is_closed: bool,
    /// Who is to be told of news.
    notice: Option<Arc<Notice>>,
}

/// How one thread waits, and others end it.
#[derive(Default)]
struct Wait {
    ended: Mutex<Ended>,
    changed: Condvar,
}

impl Wake for Wait {
    fn wake(self: Arc<Self>) {
        self.lock().has_news = true;
        self.changed.notify_all();
    }
}

impl Wait {
    fn lock(&self) -> MutexGuard<'_, Ended> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits; `false`: the time is over.
    fn wait(&self, what: &'static str, deadline: Option<Instant>) -> Result<bool> {
        let mut ended = self.lock();
        loop {
            if ended.is_closed {
                return Err(Failure::Engine(Error::Closed { what }));
            }
            if std::mem::take(&mut ended.is_woken) {
                return Err(Failure::Own(RINGLANE_ERROR_WOKEN, "the wait was ended by a wakeup".to_owned()));
            }
            if std::mem::take(&mut ended.has_news) {
                return Ok(true);
            }
            let left = deadline.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(false);
            }
            ended = self.changed.wait_timeout(ended, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Tells a queue that there is something.
struct Notice {
    queue: Arc<Queue>,
    user_data: u64,
    is_given: AtomicBool,
}

impl Wake for Notice {
    fn wake(self: Arc<Self>) {
        if !self.is_given.swap(true, Ordering::AcqRel) {
            self.queue.push(RINGLANE_EVENT_READABLE, self.user_data, 0);
        }
    }
}

/// What the thread has that uses it.
struct Used<S> {
    source: S,
    /// What a look for news has found.
    found: Option<engine::Result<crate::records::Polled>>,
}

/// See the module.
pub(crate) struct Waiting<S> {
    used: Mutex<Option<Used<S>>>,
    wait: Arc<Wait>,
    account: Arc<Account>,
}

impl<S: Source> Waiting<S> {
    pub(crate) fn new(source: S, account: &Arc<Account>) -> Waiting<S> {
        Waiting { used: Mutex::new(Some(Used { source, found: None })), wait: Arc::default(), account: account.clone() }
    }

    /// Runs something with it that changes where it reads, unless another thread uses it.
    pub(crate) fn turn<T>(&self, run: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        self.with_used(|used| {
            if let Some(Ok(polled)) = used.found.take() {
                used.source.give_back(polled);
            }
            run(&mut used.source)
        })
    }

    /// Runs something with it, unless another thread does.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut S) -> Result<T>) -> Result<T> {
        self.with_used(|used| run(&mut used.source))
    }

    fn with_used<T>(&self, run: impl FnOnce(&mut Used<S>) -> Result<T>) -> Result<T> {
        let mut guard = match self.used.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) if self.wait.lock().is_closed => {
                return Err(Failure::Engine(Error::Closed { what: S::NAME }));
            }
            Err(TryLockError::WouldBlock) => return Err(Failure::in_use(S::NAME)),
        };
        if self.wait.lock().is_closed {
            *guard = None;
        }
        let used = guard.as_mut().ok_or(Error::Closed { what: S::NAME })?;
        let result = run(used);
        if self.wait.lock().is_closed {
            // Whoever closed it left the rest to this thread.
            *guard = None;
        }
        result
    }

    /// What comes within the time; `None`: nothing did.
    pub(crate) fn poll(&self, timeout: Duration) -> Result<Option<RecordsObject>> {
        let batch = |polled| RecordsObject::new(polled, &self.account);
        self.with_used(|used| {
            self.account.check()?;
            if let Some(found) = used.found.take() {
                return Ok(Some(batch(found?)));
            }
            if let Some(polled) = used.source.poll_now()? {
                return Ok(Some(batch(polled)));
            }
            if timeout.is_zero() {
                return Ok(None);
            }
            let deadline = Instant::now().checked_add(timeout);
            let waker = Waker::from(self.wait.clone());
            loop {
                if used.source.is_told() {
                    if let Poll::Ready(polled) = used.source.poll_task(&mut Context::from_waker(&waker)) {
                        return Ok(Some(batch(polled?)));
                    }
                    if !self.wait.wait(S::NAME, deadline)? {
                        return Ok(None);
                    }
                } else {
                    let now = Instant::now();
                    let next = now.checked_add(LOOK).map(|look| deadline.map_or(look, |deadline| look.min(deadline)));
                    self.wait.wait(S::NAME, next)?;
                    if let Some(polled) = used.source.poll_now()? {
                        return Ok(Some(batch(polled)));
                    }
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return Ok(None);
                    }
                }
            }
        })
    }

    /// Has a queue told, once, when there is something to be polled.
    pub(crate) fn notify(&self, queue: &Arc<Queue>, user_data: u64) -> Result<()> {
        let notice = Arc::new(Notice { queue: queue.clone(), user_data, is_given: AtomicBool::new(false) });
        self.with_used(|used| {
            self.wait.lock().notice = Some(notice.clone());
            if used.found.is_none() {
                let waker = Waker::from(notice.clone());
                match used.source.poll_task(&mut Context::from_waker(&waker)) {
                    Poll::Ready(Err(error)) if !used.source.is_told() => return Err(error.into()),
                    Poll::Ready(found) => used.found = Some(found),
                    Poll::Pending => return Ok(()),
                }
            }
            notice.wake();
            Ok(())
        })
    }

    /// Ends the wait of another thread, or the next one.
    pub(crate) fn wake_up(&self) {
        self.wait.lock().is_woken = true;
        self.wait.changed.notify_all();
    }

    /// Ends it. A thread that is in a call of it does so when the call ends.
    pub(crate) fn close(&self) {
        let notice = {
            let mut ended = self.wait.lock();
            ended.is_closed = true;
            ended.notice.take()
        };
        self.wait.changed.notify_all();
        // There will be none: who waits for it finds out.
        if let Some(notice) = notice {
            notice.wake();
        }
        if let Ok(mut used) = self.used.try_lock() {
            *used = None;
        }
    }
}
