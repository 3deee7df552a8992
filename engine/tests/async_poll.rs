//! Polls that are awaited: by one thread for each, by one thread for all of them, and dropped in the midst.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, small};
use ringlane::*;
use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// A task that has been woken, and the thread that polls it.
struct Task {
    is_woken: AtomicBool,
    wakes: AtomicU64,
    thread: Thread,
}

impl Task {
    fn new() -> Arc<Task> {
        Arc::new(Task { is_woken: AtomicBool::new(true), wakes: AtomicU64::new(0), thread: thread::current() })
    }

    /// Whether it was woken since the last call, or was never polled.
    fn take(&self) -> bool {
        self.is_woken.swap(false, Ordering::SeqCst)
    }
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        self.is_woken.store(true, Ordering::SeqCst);
        self.thread.unpark();
    }
}

/// Polls a future when it is woken, and only then.
fn block_on<F: Future>(future: F) -> F::Output {
    let (task, deadline) = (Task::new(), Instant::now() + LONG);
    let waker = Waker::from(task.clone());
    let mut future = pin!(future);
    loop {
        if task.take()
            && let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return output;
        }
        assert!(Instant::now() < deadline, "nobody woke it");
        thread::park_timeout(Duration::from_secs(1));
    }
}

/// Runs many futures on this thread, each when it is woken; gives how often they were woken, all together.
fn run_all<'a>(futures: impl IntoIterator<Item = Pin<Box<dyn Future<Output = ()> + 'a>>>) -> u64 {
    let mut tasks: Vec<_> = futures.into_iter().map(|future| (Task::new(), Some(future))).collect();
    let deadline = Instant::now() + LONG;
    while tasks.iter().any(|(_, future)| future.is_some()) {
        let mut was_idle = true;
        for (task, future) in &mut tasks {
            let Some(running) = future else { continue };
            if task.take() {
                was_idle = false;
                let waker = Waker::from(task.clone());
                if running.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
                    *future = None;
                }
            }
        }
        assert!(Instant::now() < deadline, "nobody woke those that are left");
        if was_idle {
            thread::park_timeout(Duration::from_secs(1));
        }
    }
    tasks.iter().map(|(task, _)| task.wakes.load(Ordering::SeqCst)).sum()
}

/// Polls once; a future that is dropped afterwards.
fn poll_once<F: Future + Unpin>(future: &mut F, task: &Arc<Task>) -> Poll<F::Output> {
    task.take();
    Pin::new(future).poll(&mut Context::from_waker(&Waker::from(task.clone())))
}

fn open(path: &Path) -> (Engine, Topic) {
    let engine = Engine::open(path, small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).unwrap();
    (engine, topic)
}

fn create(engine: &Engine, options: GroupOptions) {
    let options = options.topic("t", Start::Beginning).retry_delay(Duration::ZERO, Duration::ZERO);
    engine.create_group("g", options).unwrap();
}

fn join(engine: &Engine) -> GroupConsumer {
    engine.join_group("g", MemberOptions::new()).unwrap()
}

fn send(engine: &Engine, topic: &Topic, numbers: std::ops::Range<u64>) {
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for number in numbers {
        let text = number.to_string();
        producer.send(topic, Record::new(text.as_bytes()).partition((number % 2) as u32)).unwrap().wait().unwrap();
    }
}

fn number(record: &RecordView<'_>) -> u64 {
    std::str::from_utf8(record.value().unwrap()).unwrap().parse().unwrap()
}

fn first(deliveries: &Deliveries) -> (u64, u32, DeliveryId) {
    let delivery = deliveries.iter().next().unwrap();
    (number(&delivery.record), delivery.delivery_count, delivery.id())
}

/// Does something while a future waits; the future is polled again when that has woken it.
fn while_it_waits<F: Future + Unpin>(mut future: F, act: impl FnOnce()) -> F::Output {
    let (task, deadline) = (Task::new(), Instant::now() + LONG);
    assert!(poll_once(&mut future, &task).is_pending());
    act();
    while !task.is_woken.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "nobody woke it");
        thread::park_timeout(Duration::from_secs(1));
    }
    block_on(future)
}

#[test]
fn a_consumer_is_woken_by_what_it_waits_for() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    assert_eq!(block_on(consumer.poll_async()).unwrap_err().code(), "invalid-argument", "nothing is assigned");
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    for round in 0..20 {
        let records = while_it_waits(consumer.poll_async(), || send(&engine, &topic, round..round + 1)).unwrap();
        assert_eq!(records.iter().map(|record| number(&record)).collect::<Vec<_>>(), [round]);
    }
    let error = while_it_waits(consumer.poll_async(), || engine.delete_topic("t").unwrap()).unwrap_err();
    assert_eq!(error.code(), "topic-deleted");
    let other = engine.create_topic("u", TopicOptions::new()).unwrap();
    (0..2).for_each(|partition| consumer.unassign(&topic, partition));
    consumer.assign_all(&other, Start::Beginning).unwrap();
    let error = while_it_waits(consumer.poll_async(), || engine.close().unwrap()).unwrap_err();
    assert_eq!(error.code(), "closed");
    let outside = Engine::open_read_only(directory.path(), Options::new()).unwrap();
    let mut consumer = outside.consumer(ConsumerOptions::new()).unwrap();
    assert_eq!(block_on(consumer.poll_async()).unwrap_err().code(), "read-only");
}

#[test]
fn what_a_filter_passes_over_does_not_keep_the_thread() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    send(&engine, &topic, 0..10);
    let filter = Filter::tag("wanted");
    let mut consumer = engine.consumer(ConsumerOptions::new().filter(filter.clone())).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    create(&engine, GroupOptions::shared().filter(filter));
    let mut member = join(&engine);
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let send = || drop(producer.send(&topic, Record::new(b"10").tag("wanted")).unwrap().wait().unwrap());
    let records = while_it_waits(consumer.poll_async(), send).unwrap();
    assert_eq!(number(&records.iter().next().unwrap()), 10);
    assert_eq!(first(&block_on(member.poll_async()).unwrap()).0, 10);
    drop(member);
    engine.close().unwrap();
}

#[test]
fn a_member_is_woken_by_whatever_makes_a_record_available() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    create(&engine, GroupOptions::shared());
    let mut member = join(&engine);
    let taken = while_it_waits(member.poll_async(), || send(&engine, &topic, 0..1)).unwrap();
    // Its own time, from now on.
    let delay = Duration::from_millis(100);
    let began = Instant::now();
    member.nack(first(&taken).2, Some(delay)).unwrap();
    let again = block_on(member.poll_async()).unwrap();
    // Due times are whole milliseconds.
    assert!(began.elapsed() + Duration::from_millis(2) >= delay, "{:?}", began.elapsed());
    assert_eq!((first(&again).0, first(&again).1), (0, 2));
    member.ack(first(&again).2).unwrap();

    // The delay of another member's, its lease, and its end.
    let mut other = engine.join_group("g", MemberOptions::new().lease(Duration::from_millis(100))).unwrap();
    send(&engine, &topic, 1..2);
    let id = first(&other.poll(LONG).unwrap()).2;
    let taken = while_it_waits(member.poll_async(), || other.nack(id, Some(Duration::from_millis(20))).unwrap());
    assert_eq!(first(taken.as_ref().unwrap()).0, 1);
    member.release(first(&taken.unwrap()).2).unwrap();
    assert_eq!(first(&other.poll(LONG).unwrap()).1, 3);
    let taken = block_on(member.poll_async()).unwrap();
    assert_eq!(first(&taken).1, 4, "the lease ran out");
    member.release(first(&taken).2).unwrap();
    let mut other = join(&engine);
    assert_eq!(first(&other.poll(LONG).unwrap()).1, 5);
    let taken = while_it_waits(member.poll_async(), || other.close()).unwrap();
    assert_eq!(first(&taken).1, 6);

    // Room of its own.
    let mut small = engine.join_group("g", MemberOptions::new().max_in_flight_records(1)).unwrap();
    send(&engine, &topic, 2..4);
    let id = first(&block_on(small.poll_async()).unwrap()).2;
    assert!(poll_once(&mut small.poll_async(), &Task::new()).is_pending(), "it is full");
    small.ack(id).unwrap();
    block_on(small.poll_async()).unwrap();

    let error = while_it_waits(member.poll_async(), || engine.delete_group("g").unwrap()).unwrap_err();
    assert_eq!(error.code(), "group-deleted");
    drop((member, small));
    create(&engine, GroupOptions::ordered());
    engine.reset_group("g", "t", 0, Start::End).unwrap();
    engine.reset_group("g", "t", 1, Start::End).unwrap();
    let mut member = join(&engine);
    let error = while_it_waits(member.poll_async(), || engine.close().unwrap()).unwrap_err();
    assert_eq!(error.code(), "closed");
}

/// A lease that runs out, and a reset, make room for the member that held it, without a call of its own.
#[test]
fn a_full_member_is_woken_when_its_own_lease_ends() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    create(&engine, GroupOptions::shared());
    let options = MemberOptions::new().max_in_flight_records(1).lease(Duration::from_millis(100));
    let mut member = engine.join_group("g", options).unwrap();
    send(&engine, &topic, 0..1);
    assert_eq!(first(&block_on(member.poll_async()).unwrap()).1, 1);
    assert_eq!(first(&block_on(member.poll_async()).unwrap()).1, 2);
    member.close();
    let mut member = engine.join_group("g", MemberOptions::new().max_in_flight_records(1)).unwrap();
    assert_eq!(first(&block_on(member.poll_async()).unwrap()).1, 3);
    let reset = || assert_eq!(engine.reset_group("g", "t", 0, Start::Beginning).unwrap(), 0);
    assert_eq!(first(&while_it_waits(member.poll_async(), reset).unwrap()).1, 1, "counted anew");
    drop(member);
    engine.close().unwrap();
}

#[test]
fn a_partition_that_moves_wakes_its_next_owner() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    create(&engine, GroupOptions::ordered());
    send(&engine, &topic, 0..1);
    let mut one = join(&engine);
    let taken = one.poll(LONG).unwrap();
    assert_eq!(first(&taken).0, 0);
    let mut two = join(&engine);
    let moved = while_it_waits(two.poll_async(), || one.close()).unwrap();
    assert_eq!((first(&moved).0, first(&moved).1), (0, 2));
    drop(two);
    engine.close().unwrap();
}

/// One thread for 64 members: each record comes once, and one of them is woken for it, not all.
#[test]
fn many_members_in_one_thread_share_the_work_without_a_stampede() {
    const MEMBERS: usize = 64;
    const RECORDS: u64 = 300;
    for kind in [GroupOptions::shared(), GroupOptions::ordered()] {
        let is_shared = kind.kind == GroupKind::Shared;
        let directory = directory();
        let (engine, topic) = open(directory.path());
        create(&engine, kind);
        let mut members: Vec<_> = (0..MEMBERS).map(|_| Some(join(&engine))).collect();
        let seen = std::cell::RefCell::new(BTreeSet::new());
        let (is_done, all_wait) = (AtomicBool::new(false), AtomicU64::new(0));
        let work = |member: &mut Option<GroupConsumer>| {
            let (mut member, seen, is_done, all_wait) = (member.take().unwrap(), &seen, &is_done, &all_wait);
            let future: Pin<Box<dyn Future<Output = ()> + '_>> = Box::pin(async move {
                all_wait.fetch_add(1, Ordering::SeqCst);
                while !is_done.load(Ordering::SeqCst) {
                    match member.poll_async().await {
                        Ok(deliveries) => {
                            for delivery in &deliveries {
                                assert!(seen.borrow_mut().insert(number(&delivery.record)), "it came once");
                            }
                            member.ack_all(&deliveries).unwrap();
                        }
                        Err(error) => assert_eq!(error.code(), "group-deleted"),
                    }
                }
            });
            future
        };
        let futures: Vec<_> = members.iter_mut().map(work).collect();
        let wakes = thread::scope(|scope| {
            scope.spawn(|| {
                while all_wait.load(Ordering::SeqCst) < MEMBERS as u64 {
                    thread::yield_now();
                }
                send(&engine, &topic, 0..RECORDS);
                common::wait_until("all of it was acknowledged", || {
                    engine.describe_group("g").unwrap().partitions.iter().all(|of| of.lag == 0)
                });
                is_done.store(true, Ordering::SeqCst);
                engine.delete_group("g").unwrap();
            });
            run_all(futures)
        });
        assert_eq!(seen.borrow().len() as u64, RECORDS);
        // Some for the arrival, the acknowledgement and who watches next; not one for each member.
        if is_shared {
            assert!(wakes < RECORDS * 6 + 4 * MEMBERS as u64, "{wakes} for {RECORDS} records");
        }
        engine.close().unwrap();
    }
}

/// Futures that are dropped while they watch, or are to watch next, pass that on; what they did not give comes to others.
#[test]
fn a_future_that_is_dropped_loses_nothing() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    create(&engine, GroupOptions::shared());
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign_all(&topic, Start::Beginning).unwrap();
    let mut members: Vec<_> = (0..4).map(|_| join(&engine)).collect();
    let [one, two, three, four] = &mut members[..] else { unreachable!("there are four") };
    for round in 0..10 {
        let tasks: Vec<_> = (0..4).map(|_| Task::new()).collect();
        let (mut watching, mut next) = (one.poll_async(), two.poll_async());
        let (mut third, mut fourth) = (three.poll_async(), four.poll_async());
        assert!(poll_once(&mut watching, &tasks[0]).is_pending());
        assert!(poll_once(&mut next, &tasks[1]).is_pending());
        assert!(poll_once(&mut third, &tasks[2]).is_pending());
        assert!(poll_once(&mut fourth, &tasks[3]).is_pending());
        drop(watching);
        assert!(tasks[1].is_woken.load(Ordering::SeqCst), "it watches now");
        drop(next);
        assert!(tasks[2].is_woken.load(Ordering::SeqCst));
        {
            let mut waiting = consumer.poll_async();
            assert!(poll_once(&mut waiting, &Task::new()).is_pending());
        }
        send(&engine, &topic, round..round + 1);
        let taken = thread::scope(|scope| {
            // Either one: the third was called and may come first, or find that the fourth was.
            scope.spawn(|| drop(third));
            block_on(fourth)
        });
        let (number, count, id) = first(taken.as_ref().unwrap());
        assert_eq!((number, count), (round, 1));
        four.ack(id).unwrap();
        assert_eq!(block_on(consumer.poll_async()).unwrap().len(), 1);
    }
    assert!(members.iter().all(|member| member.in_flight() == 0));
    drop(members);
    engine.close().unwrap();
}

/// A task that was woken and that nobody polls, nor drops, would hold up all that sleep.
#[test]
fn a_future_that_nobody_polls_holds_up_the_others_for_a_moment_only() {
    let directory = directory();
    let (engine, topic) = open(directory.path());
    create(&engine, GroupOptions::shared());
    let (mut one, mut two, mut three) = (join(&engine), join(&engine), join(&engine));
    let (mut idle, mut second) = (one.poll_async(), two.poll_async());
    assert!(poll_once(&mut idle, &Task::new()).is_pending());
    assert!(poll_once(&mut second, &Task::new()).is_pending());
    let taken = while_it_waits(three.poll_async(), || {
        send(&engine, &topic, 0..1);
    })
    .map(|taken| first(&taken).0);
    assert_eq!(taken.unwrap(), 0);
    drop((idle, second));
    drop((one, two, three));
    engine.close().unwrap();
}
