//! What a consumer and a member have in common: one thread at a time uses them, and another may end its wait, close them,
//! or ask to be told when there is something.
//!
//! Invariants:
//! - A wait ends when there is something, when its time is over, by a wakeup, or because it is closed. A wakeup that comes
//!   while nobody waits ends the next wait.
//! - What a look for news has found is given by the next poll: nothing is lost by asking.
//! - Who asked to be told is told, also when polls looked meanwhile: a poll that finds nothing leaves its place as it was.
//! - It is ended once: by who closes it, or by the thread that is in a call of it then.

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
    /// Nobody is to be woken any more by what the last look left behind.
    fn forget_task(&mut self);
    /// Whether anybody tells it of news.
    fn is_told(&self) -> bool;
    /// Whether there is anything that could come.
    fn has_a_source(&self) -> bool;
    /// It is closed: what is held is let go, and that is no failure.
    fn end(self);
}

/// What a look for news has found.
pub(crate) type Found = Option<engine::Result<crate::records::Polled>>;

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
            let left = deadline.map_or(Duration::from_secs(3600), |at| at.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                // Also where there always is news: a filter passes over records for as long as there are some.
                return Ok(false);
            }
            if std::mem::take(&mut ended.has_news) {
                return Ok(true);
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
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.is_given.swap(true, Ordering::AcqRel) {
            self.queue.push(RINGLANE_EVENT_READABLE, self.user_data, 0);
        }
    }
}

/// What the thread has that uses it.
struct Used<S> {
    source: S,
    found: Found,
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

    /// Runs something with it, and with what was found and not given yet, unless another thread uses it.
    pub(crate) fn with<T>(&self, run: impl FnOnce(&mut S, &mut Found) -> Result<T>) -> Result<T> {
        self.with_used(|used| run(&mut used.source, &mut used.found))
    }

    fn with_used<T>(&self, run: impl FnOnce(&mut Used<S>) -> Result<T>) -> Result<T> {
        let closed = || Failure::Engine(Error::Closed { what: S::NAME });
        let result = match self.try_use() {
            None if self.is_closed() => Err(closed()),
            None => Err(Failure::in_use(S::NAME)),
            Some(mut guard) => match guard.as_mut() {
                Some(used) if !self.is_closed() => run(used),
                _ => Err(closed()),
            },
        };
        // Whoever closed it meanwhile left the rest to this thread.
        if self.is_closed() {
            self.end();
        }
        result
    }

    fn try_use(&self) -> Option<MutexGuard<'_, Option<Used<S>>>> {
        match self.used.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    fn is_closed(&self) -> bool {
        self.wait.lock().is_closed
    }

    /// Ends it, unless a thread uses it: that one does it then.
    fn end(&self) {
        let used = self.try_use().and_then(|mut guard| guard.take());
        if let Some(Used { source, found }) = used {
            drop(found);
            source.end();
        }
    }

    /// What comes within the time; `None`: nothing did.
    pub(crate) fn poll(&self, timeout: Duration) -> Result<Option<RecordsObject>> {
        self.with_used(|used| {
            self.account.check()?;
            let polled = self.poll_until(used, timeout);
            match (self.notice(), &polled) {
                (None, _) if timeout.is_zero() => {}
                (None, _) => used.source.forget_task(),
                // Who is to be told of news has its place again.
                (Some(notice), Ok(None) | Err(Failure::Own(RINGLANE_ERROR_WOKEN, _))) => {
                    if self.watch(used, &notice).is_err() {
                        notice.wake();
                    }
                }
                // There was something.
                (Some(notice), _) => notice.wake(),
            }
            Ok(polled?.map(|polled| RecordsObject::new(polled, &self.account)))
        })
    }

    fn poll_until(&self, used: &mut Used<S>, timeout: Duration) -> Result<Option<crate::records::Polled>> {
        if let Some(found) = used.found.take() {
            return Ok(Some(found?));
        }
        if let Some(polled) = used.source.poll_now()? {
            return Ok(Some(polled));
        }
        if timeout.is_zero() {
            return Ok(None);
        }
        if timeout == Duration::MAX && !used.source.has_a_source() {
            let reason =
                "nothing is assigned to it, so it would wait for ever; assign it first, or poll with a timeout";
            return Err(Failure::argument(S::NAME, reason));
        }
        let deadline = Instant::now().checked_add(timeout);
        let waker = Waker::from(self.wait.clone());
        loop {
            if used.source.is_told() {
                if let Poll::Ready(polled) = used.source.poll_task(&mut Context::from_waker(&waker)) {
                    return Ok(Some(polled?));
                }
                if !self.wait.wait(S::NAME, deadline)? {
                    return Ok(None);
                }
            } else {
                let now = Instant::now();
                let next = now.checked_add(LOOK).map(|look| deadline.map_or(look, |deadline| look.min(deadline)));
                self.wait.wait(S::NAME, next)?;
                if let Some(polled) = used.source.poll_now()? {
                    return Ok(Some(polled));
                }
                if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                    return Ok(None);
                }
            }
        }
    }

    /// Has a queue told, once, when there is something to be polled.
    pub(crate) fn notify(&self, queue: &Arc<Queue>, user_data: u64) -> Result<()> {
        let notice = Arc::new(Notice { queue: queue.clone(), user_data, is_given: AtomicBool::new(false) });
        self.with_used(|used| {
            {
                let mut ended = self.wait.lock();
                if ended.is_closed {
                    return Err(Failure::Engine(Error::Closed { what: S::NAME }));
                }
                let before = ended.notice.replace(notice.clone());
                drop(ended);
                // Who asked before has its answer: it looks, and asks again.
                if let Some(before) = before {
                    before.wake();
                }
            }
            let watched = self.watch(used, &notice);
            if watched.is_err() {
                // Nothing was promised.
                self.wait.lock().notice = None;
            }
            watched
        })
    }

    /// Looks for something; if there is nothing, the notice is given when there is.
    fn watch(&self, used: &mut Used<S>, notice: &Arc<Notice>) -> Result<()> {
        if used.found.is_none() {
            let waker = Waker::from(notice.clone());
            match used.source.poll_task(&mut Context::from_waker(&waker)) {
                Poll::Ready(Err(error)) if !used.source.is_told() => return Err(error.into()),
                Poll::Ready(found) => used.found = Some(found),
                Poll::Pending => return Ok(()),
            }
        }
        notice.wake_by_ref();
        Ok(())
    }

    /// The notice that is still to be given.
    fn notice(&self) -> Option<Arc<Notice>> {
        let notice = &mut self.wait.lock().notice;
        *notice = notice.take().filter(|notice| !notice.is_given.load(Ordering::Acquire));
        notice.clone()
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
        self.end();
    }
}
