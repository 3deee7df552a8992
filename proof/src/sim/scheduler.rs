//! Plays all threads of an engine and its clients on one, in an order that a seed fixes.
//!
//! Every thread is a coroutine. It runs until it would wait (for another thread, for the device, for
//! time); then the scheduler takes the next one at random from those that can go on. Time is simulated:
//! each step costs a little, and when nobody can go on, the clock jumps to the next moment at which
//! somebody can.
//!
//! Invariants:
//! - Exactly one coroutine runs at any moment, and the same seed gives the same order.
//! - A wake-up ends a sleep that has begun; one that nobody sleeps on is nothing. Whoever relies on a wake
//!   that can come before the sleep must keep it, as on real threads: what is lost here is lost there.
//! - Nothing to run, no timer set and somebody still waiting is a deadlock, and is reported as one.

use super::random::{Digest, Random};
use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use ringlane::simulation::{Driver, install};
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A thread's number.
pub type TaskId = usize;

const STACK_BYTES: usize = 512 << 10;
/// What a step costs: between these many ns.
const STEP_NS: (u64, u64) = (200, 4_000);

type Body = Box<dyn FnOnce()>;
type Threads = Coroutine<(), (), ()>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Ready,
    Running,
    Sleeping,
    Ended,
}

struct Task {
    name: String,
    state: State,
    coroutine: Option<Threads>,
    /// One more with each sleep; a timer of an earlier one is void.
    sleep: u64,
    /// What it sleeps for, for reports.
    reason: &'static str,
    joiners: Vec<TaskId>,
}

struct Inner {
    now_ns: u64,
    random: Random,
    tasks: Vec<Task>,
    ready: Vec<TaskId>,
    timers: BinaryHeap<Reverse<(u64, TaskId, u64)>>,
    /// Who sleeps on which word. The address is only a key, never an order.
    words: BTreeMap<usize, Vec<TaskId>>,
    digest: Digest,
    steps: u64,
    panics: Vec<String>,
}

/// See the module.
pub struct Scheduler {
    inner: RefCell<Inner>,
    current: Cell<Option<TaskId>>,
    yielder: Cell<*const Yielder<(), ()>>,
    start: Instant,
}

/// Why the scheduler came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A thread ran a step.
    Stepped,
    /// All threads have ended.
    AllEnded,
    /// Nothing can ever happen again, and these still wait.
    Deadlock(String),
}

/// Stacks kept for the next threads.
const STACKS_MAX: usize = 64;

thread_local! {
    static STACKS: RefCell<Vec<DefaultStack>> = const { RefCell::new(Vec::new()) };
    static CURRENT: RefCell<Option<Rc<Scheduler>>> = const { RefCell::new(None) };
}

/// The scheduler that is installed on this thread.
pub fn current() -> Rc<Scheduler> {
    CURRENT.with(|current| current.borrow().clone()).expect("a simulation is going on")
}

/// Puts a scheduler in charge of this thread until it is dropped; then the one before is again.
pub struct Installed {
    before: (Option<Rc<Scheduler>>, Option<Rc<dyn Driver>>),
}

impl Scheduler {
    /// A scheduler without threads, whose clock shows `now_ns`.
    pub fn new(random: Random, now_ns: u64) -> Rc<Scheduler> {
        let inner = Inner {
            now_ns,
            random,
            tasks: Vec::new(),
            ready: Vec::new(),
            timers: BinaryHeap::new(),
            words: BTreeMap::new(),
            digest: Digest::default(),
            steps: 0,
            panics: Vec::new(),
        };
        Rc::new(Scheduler {
            inner: RefCell::new(inner),
            current: Cell::new(None),
            yielder: Cell::new(std::ptr::null()),
            start: Instant::now(),
        })
    }

    /// From now on engine code on this thread waits here.
    pub fn install(self: &Rc<Self>) -> Installed {
        let driver: Rc<dyn Driver> = self.clone();
        let before = CURRENT.with(|current| current.replace(Some(self.clone())));
        Installed { before: (before, install(Some(driver))) }
    }

    /// Simulated ns.
    pub fn now_ns(&self) -> u64 {
        self.inner.borrow().now_ns
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.inner.borrow().steps
    }

    /// Adds what happened to the hash of the run.
    pub fn note(&self, number: u64) {
        self.inner.borrow_mut().digest.add(number);
    }

    /// The hash of the run so far.
    pub fn digest(&self) -> u64 {
        self.inner.borrow().digest.0
    }

    /// Threads that panicked, and what they said.
    pub fn take_panics(&self) -> Vec<String> {
        std::mem::take(&mut self.inner.borrow_mut().panics)
    }

    /// Starts a thread.
    pub fn start(self: &Rc<Self>, name: &str, body: impl FnOnce() + 'static) -> TaskId {
        self.start_boxed(name, Box::new(body))
    }

    fn start_boxed(&self, name: &str, body: Body) -> TaskId {
        let stack = STACKS.with(|stacks| stacks.borrow_mut().pop());
        let stack = stack.unwrap_or_else(|| DefaultStack::new(STACK_BYTES).expect("memory for a stack"));
        let coroutine = Coroutine::with_stack(stack, move |yielder: &Yielder<(), ()>, ()| {
            current().yielder.set(yielder);
            body();
        });
        let mut inner = self.inner.borrow_mut();
        let task = inner.tasks.len();
        inner.tasks.push(Task {
            name: name.to_owned(),
            state: State::Ready,
            coroutine: Some(coroutine),
            sleep: 0,
            reason: "",
            joiners: Vec::new(),
        });
        inner.ready.push(task);
        task
    }

    /// Whether a thread has ended.
    pub fn has_ended(&self, task: TaskId) -> bool {
        self.inner.borrow().tasks[task].state == State::Ended
    }

    /// Runs one step of one thread.
    pub fn turn(&self) -> Turn {
        let Some(task) = self.choose() else {
            let waiting = self.waiting();
            return if waiting.is_empty() { Turn::AllEnded } else { Turn::Deadlock(waiting) };
        };
        let mut coroutine = self.inner.borrow_mut().tasks[task].coroutine.take().expect("it has not ended");
        let (before, yielder) = (self.current.replace(Some(task)), self.yielder.get());
        let result = catch_unwind(AssertUnwindSafe(|| coroutine.resume(())));
        self.current.set(before);
        self.yielder.set(yielder);
        match result {
            Ok(CoroutineResult::Yield(())) => self.inner.borrow_mut().tasks[task].coroutine = Some(coroutine),
            Ok(CoroutineResult::Return(())) => {
                STACKS.with(|stacks| {
                    let mut stacks = stacks.borrow_mut();
                    if stacks.len() < STACKS_MAX {
                        stacks.push(coroutine.into_stack());
                    }
                });
                self.ended(task);
            }
            Err(panic) => {
                let name = self.inner.borrow().tasks[task].name.clone();
                self.inner.borrow_mut().panics.push(format!("{name}: {}", panic_text(&*panic)));
                self.ended(task);
            }
        }
        Turn::Stepped
    }

    /// The threads that have not ended, and what they wait for.
    pub fn waiting(&self) -> String {
        let inner = self.inner.borrow();
        let alive = inner.tasks.iter().filter(|task| task.state != State::Ended);
        alive.map(|task| format!("{} ({})", task.name, task.reason)).collect::<Vec<_>>().join(", ")
    }

    /// The next thread to run; moves the clock.
    fn choose(&self) -> Option<TaskId> {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.now_ns += inner.random.between(STEP_NS.0, STEP_NS.1);
        loop {
            while let Some(Reverse((at_ns, task, sleep))) = inner.timers.peek().copied() {
                if inner.tasks[task].state != State::Sleeping || inner.tasks[task].sleep != sleep {
                    inner.timers.pop();
                } else if at_ns <= inner.now_ns {
                    inner.timers.pop();
                    inner.tasks[task].state = State::Ready;
                    inner.ready.push(task);
                } else {
                    break;
                }
            }
            if !inner.ready.is_empty() {
                break;
            }
            let Reverse((at_ns, ..)) = inner.timers.peek()?;
            inner.now_ns = *at_ns;
        }
        let at = inner.random.below(inner.ready.len() as u64) as usize;
        let task = inner.ready.swap_remove(at);
        inner.tasks[task].state = State::Running;
        inner.steps += 1;
        inner.digest.add(task as u64);
        inner.digest.add(inner.now_ns);
        Some(task)
    }

    fn ended(&self, task: TaskId) {
        let joiners = {
            let mut inner = self.inner.borrow_mut();
            inner.tasks[task].state = State::Ended;
            std::mem::take(&mut inner.tasks[task].joiners)
        };
        for joiner in joiners {
            self.unpark(joiner);
        }
    }

    /// The thread that runs now.
    pub fn current_task(&self) -> Option<TaskId> {
        self.current.get()
    }

    /// Sleeps until somebody calls [`Scheduler::unpark`], or until this time.
    pub fn park(&self, deadline_ns: Option<u64>, reason: &'static str) {
        let task = self.current.get().expect("only threads of the simulation wait");
        {
            let mut inner = self.inner.borrow_mut();
            let sleeper = &mut inner.tasks[task];
            sleeper.state = State::Sleeping;
            sleeper.sleep += 1;
            sleeper.reason = reason;
            let sleep = sleeper.sleep;
            if let Some(deadline_ns) = deadline_ns {
                inner.timers.push(Reverse((deadline_ns, task, sleep)));
            }
        }
        self.suspend();
    }

    /// Ends the sleep of a thread, if it sleeps.
    pub fn unpark(&self, task: TaskId) {
        let mut inner = self.inner.borrow_mut();
        if inner.tasks[task].state == State::Sleeping {
            inner.tasks[task].state = State::Ready;
            inner.ready.push(task);
        }
    }

    /// Sleeps so long.
    pub fn sleep(&self, ns: u64, reason: &'static str) {
        self.park(Some(self.now_ns() + ns), reason);
        // Nobody wakes a sleeper of this kind but the clock.
    }

    /// Lets others run.
    pub fn give_way(&self) {
        let task = self.current.get().expect("only threads of the simulation give way");
        {
            let mut inner = self.inner.borrow_mut();
            inner.tasks[task].state = State::Ready;
            inner.ready.push(task);
        }
        self.suspend();
    }

    /// Returns when a thread has ended.
    pub fn wait_for(&self, task: TaskId) {
        while !self.has_ended(task) {
            let me = self.current.get().expect("only threads of the simulation wait");
            self.inner.borrow_mut().tasks[task].joiners.push(me);
            self.park(None, "the end of a thread");
        }
    }

    fn suspend(&self) {
        let yielder = self.yielder.get();
        // SAFETY: `yielder` belongs to the coroutine that runs now: it was set when that began or was
        // resumed, and lives on its stack until it ends.
        unsafe { (*yielder).suspend(()) };
        // Others ran meanwhile and set theirs.
        self.yielder.set(yielder);
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panicked: {}", text.unwrap_or("no message"))
}

/// From now on panics of simulated threads are not printed: they are findings, and told as such.
pub fn hush_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let simulated = CURRENT.try_with(|current| current.try_borrow().is_ok_and(|current| current.is_some()));
        if !simulated.unwrap_or(false) || std::env::var_os("RINGLANE_PROOF_PANICS").is_some() {
            before(panic);
        }
    }));
}

impl Driver for Scheduler {
    fn now(&self) -> Instant {
        self.start + Duration::from_nanos(self.now_ns())
    }

    fn wait(&self, word: &AtomicU32, expected: u32, timeout: Option<Duration>) {
        if word.load(Ordering::SeqCst) != expected {
            return;
        }
        let (key, task) = (word.as_ptr() as usize, self.current.get().expect("only threads of the simulation wait"));
        let deadline = timeout.map(|timeout| self.now_ns().saturating_add(timeout.as_nanos() as u64));
        self.inner.borrow_mut().words.entry(key).or_default().push(task);
        self.park(deadline, "another thread");
        let mut inner = self.inner.borrow_mut();
        if let Some(sleepers) = inner.words.get_mut(&key) {
            sleepers.retain(|sleeper| *sleeper != task);
            if sleepers.is_empty() {
                inner.words.remove(&key);
            }
        }
    }

    fn wake_all(&self, word: &AtomicU32) -> u32 {
        let sleepers = self.inner.borrow_mut().words.remove(&(word.as_ptr() as usize)).unwrap_or_default();
        for sleeper in &sleepers {
            self.unpark(*sleeper);
        }
        sleepers.len() as u32
    }

    fn yield_now(&self) {
        self.give_way();
    }

    fn spawn(&self, name: &str, body: Box<dyn FnOnce() + Send>) -> u64 {
        self.start_boxed(name, body) as u64
    }

    fn join(&self, thread: u64) {
        self.wait_for(thread as TaskId);
    }

    fn current(&self) -> u64 {
        self.current.get().map_or(u64::MAX, |task| task as u64)
    }
}

impl Drop for Scheduler {
    /// Threads that never ended cannot be unwound (the engine catches panics), so they are left as they are.
    fn drop(&mut self) {
        for task in &mut self.inner.get_mut().tasks {
            std::mem::forget(task.coroutine.take());
        }
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let (scheduler, driver) = std::mem::take(&mut self.before);
        CURRENT.with(|current| current.replace(scheduler));
        install(driver);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seed: u64, body: impl Fn(&Rc<Scheduler>)) -> (Turn, u64) {
        let scheduler = Scheduler::new(Random::new(seed), 0);
        let _installed = scheduler.install();
        body(&scheduler);
        loop {
            match scheduler.turn() {
                Turn::Stepped => {}
                end => return (end, scheduler.digest()),
            }
        }
    }

    #[test]
    fn sleepers_wake_in_the_order_of_their_times_and_the_seed_fixes_the_rest() {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let body = |scheduler: &Rc<Scheduler>| {
            for number in [3u64, 1, 2] {
                let (seen, inside) = (seen.clone(), scheduler.clone());
                scheduler.start("sleeper", move || {
                    inside.sleep(number * 1_000_000, "time");
                    seen.borrow_mut().push(number);
                });
            }
        };
        let (end, digest) = run(5, body);
        assert_eq!((end, seen.borrow().as_slice()), (Turn::AllEnded, &[1, 2, 3][..]));
        assert_eq!(run(5, body).1, digest);
        assert_ne!(run(6, body).1, digest);
    }

    #[test]
    fn a_wait_that_nobody_ends_is_a_deadlock() {
        let (end, _) = run(1, |scheduler| {
            let inside = scheduler.clone();
            scheduler.start("waiter", move || inside.park(None, "nothing"));
        });
        assert_eq!(end, Turn::Deadlock("waiter (nothing)".to_owned()));
    }

    #[test]
    fn a_panic_ends_its_thread_and_is_told() {
        let scheduler = Scheduler::new(Random::new(1), 0);
        let _installed = scheduler.install();
        let task = scheduler.start("faulty", || panic!("on purpose"));
        let inside = scheduler.clone();
        scheduler.start("joiner", move || inside.wait_for(task));
        while scheduler.turn() == Turn::Stepped {}
        assert_eq!(scheduler.take_panics(), ["faulty: panicked: on purpose"]);
    }
}
