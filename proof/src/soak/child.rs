//! The child: opens the engine, works until it is killed or asked to close.
//!
//! Invariants:
//! - A call that is refused for want of space is counted, and made again later: a full disk ends nothing.
//! - It closes in the midst of all the work; what then is `Closed` ends a thread, any other error ends the child.

use super::Lie;
use super::message::{Figures, Kept, Message, say, say_panics};
use super::order::{Order, readers, receive, wait_for_the_end};
use super::plan::{Kind, Plan, TopicPlan};
use super::reader::{self, Reading};
use super::sender;
use crate::sim::random::Random;
use crate::witness::wall_ms;
use ringlane::{Engine, Error, Options, RecordId, Topic};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How often it is looked at what topics keep.
const LOOK: Duration = Duration::from_millis(200);
/// Looks between two lines of figures.
const LOOKS_OF_FIGURES: u32 = 5;
/// A thread that waits looks so often whether it should end.
const STEP: Duration = Duration::from_millis(50);
/// How long a sender waits that was refused.
const REFUSED: Duration = Duration::from_millis(100);

/// Does what the parent orders on standard input.
///
/// # Errors
/// The order cannot be read, or the engine fails.
pub fn run_child() -> Result<(), String> {
    // SAFETY: changes a setting of this process only. A child does not outlive its parent.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
    let order: Order = receive()?;
    say_panics();
    run(&order).map_err(|error| {
        say(Message::Trouble(error.to_string()));
        error.to_string()
    })
}

/// What all threads share.
pub(super) struct Work<'a> {
    pub(super) engine: &'a Engine,
    pub(super) order: &'a Order,
    pub(super) stopping: AtomicBool,
    pub(super) refused: AtomicU64,
    /// Where the slow reader is.
    pub(super) slow_position: AtomicU64,
}

impl Work<'_> {
    /// Waits. `false`: it is time to end.
    pub(super) fn pause(&self, time: Duration) -> bool {
        let end = Instant::now() + time;
        while !self.stopping.load(Relaxed) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(STEP));
        }
        false
    }

    /// What is refused for want of room is counted, and waits; another error is one.
    pub(super) fn refuse(&self, error: Error) -> ringlane::Result<()> {
        if !error.is_retriable() {
            return Err(error);
        }
        self.refused.fetch_add(1, Relaxed);
        self.pause(REFUSED);
        Ok(())
    }

    pub(super) fn random(&self, purpose: u64) -> Random {
        Random::new(self.order.seed).fork(purpose)
    }

    pub(super) fn topic(&self, kind: Kind) -> Option<(&TopicPlan, Topic)> {
        let plan = self.order.plan.topics.iter().find(|topic| topic.kind == kind)?;
        Some((plan, self.engine.topic(&plan.name).ok()?))
    }
}

fn run(order: &Order) -> ringlane::Result<()> {
    let plan = &order.plan;
    let engine = Engine::open(&order.directory, options(order))?;
    say(Message::Opened {
        opened_in_us: engine.stats().opened_in_us,
        topics: engine.topics().iter().map(|topic| topic.name().to_owned()).collect(),
        kept: kept(&engine, plan),
        wall_ms: wall_ms(),
    });
    let work = Work {
        engine: &engine,
        order,
        stopping: AtomicBool::new(false),
        refused: AtomicU64::new(0),
        slow_position: AtomicU64::new(0),
    };
    create_topics(&work)?;
    if let Some(outstanding) = &order.settle {
        settle(&work, outstanding)?;
        return close(&engine);
    }
    say(Message::Ready);
    let work = &work;
    std::thread::scope(|scope| {
        for topic in &plan.topics {
            scope.spawn(move || ended(sender::send(work, topic)));
        }
        scope.spawn(move || ended(reader::follow(work)));
        scope.spawn(move || ended(reader::read_slowly(work)));
        scope.spawn(move || ended(reader::lag(work)));
        scope.spawn(move || ended(reader::begin_anew(work)));
        if plan.churn {
            scope.spawn(move || ended(sender::churn(work)));
        }
        scope.spawn(move || look(work));
        if order.lie == Some(Lie::DeleteForever) {
            scope.spawn(move || delete_forever(work));
        }
        wait_for_the_end();
        // In the midst of everything; who is told `Closed` ends.
        let closed = close(&engine);
        work.stopping.store(true, Relaxed);
        closed
    })
}

fn close(engine: &Engine) -> ringlane::Result<()> {
    engine.close()?;
    say(Message::Closed);
    Ok(())
}

/// How a thread ended.
fn ended(result: ringlane::Result<()>) {
    match result {
        Ok(()) | Err(Error::Closed { .. }) => {}
        Err(error) => {
            say(Message::Trouble(error.to_string()));
            std::process::exit(1);
        }
    }
}

fn options(order: &Order) -> Options {
    let segment_bytes_max = order.plan.segment_bytes_max();
    Options::new()
        .lanes(Some(order.lanes))
        .disk_bytes_max(Some(order.plan.disk_bytes_max))
        .segment_bytes_max(segment_bytes_max)
        .segment_bytes_first(segment_bytes_max.min(2 << 20))
        .segments_recycled_max(2)
        .lock_wait_ms(30_000)
}

fn create_topics(work: &Work<'_>) -> ringlane::Result<()> {
    for topic in &work.order.plan.topics {
        while let Err(error) = work.engine.create_topic(&topic.name, topic.options()) {
            match error {
                Error::TopicExists { .. } => break,
                error => work.refuse(error)?,
            }
        }
    }
    Ok(())
}

/// What the topics of the plan keep now.
fn kept(engine: &Engine, plan: &Plan) -> Vec<Kept> {
    let mut all = Vec::new();
    for topic in &plan.topics {
        let Ok(handle) = engine.topic(&topic.name) else { continue };
        all.extend((0..topic.partitions).filter_map(|partition| {
            let info = handle.partition_info(partition).ok()?;
            Some(Kept { topic: topic.key, partition, first: info.first_offset, next: info.next_offset })
        }));
    }
    all
}

/// Says what is given up, and figures.
fn look(work: &Work<'_>) {
    let mut firsts: HashMap<(u16, u32), u64> = HashMap::new();
    for round in 0u32.. {
        let mut kept = kept(work.engine, &work.order.plan);
        let front = work.order.plan.topics.iter().find(|topic| topic.kind == Kind::Front);
        let front_next =
            kept.iter().find(|kept| Some(kept.topic) == front.map(|topic| topic.key)).map(|kept| kept.next);
        let moved = |kept: &Kept| firsts.insert((kept.topic, kept.partition), kept.first) != Some(kept.first);
        let mut moved = moved;
        kept.retain(|kept| moved(kept));
        if !kept.is_empty() {
            say(Message::Kept { kept, wall_ms: wall_ms() });
        }
        if round % LOOKS_OF_FIGURES == 0 {
            let stats = work.engine.stats();
            say(Message::Figures(Figures {
                disk_bytes: stats.disk_bytes,
                withheld: stats.withheld_records,
                backlog: front_next.unwrap_or_default().saturating_sub(work.slow_position.load(Relaxed)),
                refused: work.refused.load(Relaxed),
            }));
        }
        if !work.pause(LOOK) {
            return;
        }
    }
}

/// A fault on purpose.
fn delete_forever(work: &Work<'_>) {
    while work.pause(LOOK) {
        if let Some((_, topic)) = work.topic(Kind::Forever) {
            let _ = work.engine.delete_records(&topic, 0, 2);
        }
    }
}

/// The last child: nothing is withheld any more, and everything is read.
fn settle(work: &Work<'_>, outstanding: &[(u32, String)]) -> ringlane::Result<()> {
    let producer = work.engine.producer(ringlane::ProducerOptions::new())?;
    for (sequence, id) in outstanding {
        let id: RecordId = id.parse().expect("it was written as one");
        sender::cancel(work, &producer, *sequence, id)?;
    }
    // What is published already is visible behind this.
    work.engine.sync()?;
    let mut plans = work.order.plan.topics.clone();
    plans.extend(work.order.churn.iter().map(|key| TopicPlan::churn(*key)));
    plans.retain(|topic| work.engine.topic(&topic.name).is_ok());
    let plan = Plan { topics: plans, ..work.order.plan.clone() };
    let kept = kept(work.engine, &plan);
    let mut reading = Reading::new(work.engine, &plan, readers::SETTLER, None)?;
    for topic in &plan.topics {
        reading.begin(topic, None)?;
    }
    reading.read_to(&kept)?;
    say(Message::Settled { kept });
    Ok(())
}
