//! A small world around a desk: members with leases, a log whose end may be lost, crashes. It checks, after each step
//! and whatever the steps are, what groups promise.
//!
//! - A record has one live delivery at most, and the member's leases know it.
//! - What is finished, and survives, is never handed out again; in the end every record is finished, in one way.
//! - The count that a delivery shows is never below the number of deliveries that there were; without a crash, a
//!   truncation or a reset it is that number.
//! - Not more than `max_deliveries` deliveries fail, crashes included.
//! - Ordered: nothing is handed out before what stands in front of it, nor behind a record that was nacked.
//! - The log says what the desk knows.

use super::MemberId;
use super::desk::Desk;
use super::desk::reopening::NotReopened;
use super::leases::{Lease, Leases, Unheld};
use super::retry::RetryPolicy;
use super::taken::{Cause, DeadLetter, DeskOptions, GivenBack, GroupKind, Opening, Taken, Ticket, Want};
use crate::lane::progress::{Progress, ProgressChange, Reason};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Range;

/// The id that every member gives the partition.
const PARTITION: u32 = 7;
const SERIAL: u64 = 1;
const LEASE_MS: i64 = 100;
const MEMBERS: usize = 3;

#[derive(Clone, Debug)]
enum Logged {
    Change(ProgressChange),
    Truncate(u64),
}

/// What waits for the log to be durable up to a length.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    Limit(Ticket),
    Count(Ticket, MemberId, bool),
    Truncate(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Acknowledged,
    DeadLetter,
    Gone,
}

/// What really happened to a record.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    deliveries: u32,
    releases: u32,
    /// The engine cannot know the number any more, only a bound.
    is_inexact: bool,
}

struct Member {
    id: MemberId,
    leases: Leases,
}

struct World {
    options: DeskOptions,
    /// Every delivery of such a record ends the process.
    is_poison: fn(u64) -> bool,
    log: Vec<Logged>,
    durable: usize,
    waiting: Vec<(usize, Waiting)>,
    /// The log, applied.
    mirror: Progress,
    desk: Desk,
    members: Vec<Member>,
    next_member: MemberId,
    owner: Option<MemberId>,
    first_offset: u64,
    /// As the partition's index says: durably.
    told_first_offset: u64,
    next_offset: u64,
    now_ms: i64,
    live: BTreeMap<u64, MemberId>,
    truth: BTreeMap<u64, Truth>,
    /// How records ended, and how long the log was before.
    ended: BTreeMap<u64, (End, usize)>,
    nacked: BTreeMap<u64, usize>,
    /// What began anew: how long the log was before, the offset, and how it had ended.
    reopened: Vec<(usize, u64, (End, usize))>,
    dead_letters: Vec<DeadLetter>,
    must_crash: bool,
}

impl World {
    fn new(options: DeskOptions, is_poison: fn(u64) -> bool) -> World {
        options.validate().unwrap();
        let mirror = Progress::begin(0).unwrap();
        let desk = Desk::open(mirror.clone(), options, Opening { next_offset: 0, is_clean: true });
        let members = (0..MEMBERS as u32).map(|id| Member { id, leases: Leases::default() }).collect();
        World {
            options,
            is_poison,
            log: Vec::new(),
            durable: 0,
            waiting: Vec::new(),
            mirror,
            desk,
            members,
            next_member: MEMBERS as u32,
            owner: None,
            first_offset: 0,
            told_first_offset: 0,
            next_offset: 0,
            now_ms: 1_790_000_000_000,
            live: BTreeMap::new(),
            truth: BTreeMap::new(),
            ended: BTreeMap::new(),
            nacked: BTreeMap::new(),
            reopened: Vec::new(),
            dead_letters: Vec::new(),
            must_crash: false,
        }
    }

    fn log(&mut self, changes: impl IntoIterator<Item = ProgressChange>) {
        for change in changes {
            self.mirror.apply(&change).expect("the log contradicts itself");
            self.mirror.truncate(self.first_offset);
            self.log.push(Logged::Change(change));
        }
    }

    fn take(&mut self, member: usize, count_max: u64, has_others: bool) -> Taken {
        let id = self.members[member].id;
        let (now_ms, next_offset) = (self.now_ms, self.next_offset);
        let taken = self.desk.take(Want { member: id, now_ms, next_offset, count_max, has_others });
        assert!(taken.records() <= count_max);
        assert_eq!(taken.pause.is_some(), taken.records() == 0 && count_max > 0, "{taken:?}");
        self.dead_letters.extend(&taken.dead_letters);
        for range in &taken.ranges {
            range.clone().for_each(|offset| self.hand_out(member, offset, 1));
            self.hold(member, range.clone(), 1);
        }
        if let Some(counting) = &taken.counting {
            if counting.is_alone {
                assert!(taken.records() == 1 && !has_others, "{taken:?}");
            }
            self.log(counting.changes.iter().cloned());
            self.waiting.push((self.log.len(), Waiting::Count(counting.ticket, id, counting.is_alone)));
        }
        if let Some(limit) = taken.limit.clone() {
            self.log([limit.change]);
            self.waiting.push((self.log.len(), Waiting::Limit(limit.ticket)));
        }
        taken
    }

    fn hand_out(&mut self, member: usize, offset: u64, deliveries: u32) {
        let id = self.members[member].id;
        assert!(offset < self.next_offset, "{offset} is not there yet");
        assert_eq!(self.live.insert(offset, id), None, "{offset} is handed out twice at a time");
        // What the log has given up may be handed out until the desk hears of it.
        let end = self.ended.get(&offset).map(|(end, _)| *end);
        assert!(
            end.is_none() || end == Some(End::Gone) && self.desk.position() <= offset,
            "{offset} had ended: {end:?}"
        );
        let truth = self.truth.entry(offset).or_default();
        truth.deliveries += 1;
        assert!(deliveries >= truth.deliveries, "{offset} shows {deliveries}, it was {truth:?}");
        assert!(truth.is_inexact || deliveries == truth.deliveries, "{offset} shows {deliveries}, it was {truth:?}");
        assert!(truth.deliveries - truth.releases <= self.options.retry.max_deliveries, "{offset}: {truth:?}");
        if self.options.kind == GroupKind::Ordered {
            assert_eq!(self.owner, Some(id));
            for before in self.mirror.unfinished(0, offset).flatten() {
                assert!(self.live.contains_key(&before), "{offset} is handed out before {before}");
                assert!(!self.nacked.contains_key(&before), "{offset} is handed out behind {before}, which was nacked");
            }
        }
        self.must_crash |= (self.is_poison)(offset);
    }

    fn hold(&mut self, member: usize, offsets: Range<u64>, deliveries: u32) {
        let (until_ms, bytes) = (self.now_ms + LEASE_MS, offsets.end - offsets.start);
        self.members[member].leases.hold(Lease {
            partition: PARTITION,
            offsets,
            until_ms,
            deliveries,
            serial: SERIAL,
            bytes,
        });
    }

    /// So many more entries of the log are durable.
    fn flush(&mut self, count: usize) {
        self.durable = self.log.len().min(self.durable.saturating_add(count));
        let durable = self.durable;
        let done: Vec<_> = self.waiting.extract_if(.., |(length, _)| *length <= durable).collect();
        for (_, waiting) in done {
            match waiting {
                Waiting::Limit(ticket) => self.desk.limit_durable(ticket),
                Waiting::Truncate(first_offset) => self.truncated(first_offset),
                Waiting::Count(ticket, id, is_alone) => {
                    let handed_out = self.desk.counted(ticket);
                    let member = self.members.iter().position(|member| member.id == id);
                    assert!(member.is_some() || handed_out.is_empty(), "the claims of {id} ended with it");
                    for retried in handed_out {
                        let member = member.unwrap();
                        assert!(retried.attempts.deliveries > 1 && retried.attempts.is_handed_out);
                        assert_eq!(is_alone, retried.attempts.failures > 3);
                        self.hand_out(member, retried.offset, retried.attempts.deliveries);
                        self.hold(member, retried.offset..retried.offset + 1, retried.attempts.deliveries);
                    }
                }
            }
        }
    }

    fn end(&mut self, range: Range<u64>, end: End) {
        for offset in range.clone() {
            self.live.remove(&offset);
        }
        self.end_in_log(range, end);
    }

    /// The next entry of the log ends these records, unless they have ended.
    fn end_in_log(&mut self, range: Range<u64>, end: End) {
        for offset in range {
            self.nacked.remove(&offset);
            let length = self.log.len();
            self.ended.entry(offset).or_insert((end, length));
        }
    }

    fn finished(&mut self, range: Range<u64>, end: End) {
        let mut changes = Vec::new();
        self.desk.finish(std::iter::once(range.clone()), &mut changes);
        self.end(range, end);
        self.log(changes);
    }

    fn given_back(&mut self, given: GivenBack) {
        for dead in &given.dead_letters {
            let is_exhausted = dead.attempts.failures >= self.options.retry.max_deliveries;
            assert!(is_exhausted || dead.attempts.reason == Reason::Rejected, "{dead:?}");
        }
        self.dead_letters.extend(&given.dead_letters);
        self.log(given.changes);
    }

    /// Ends deliveries whose leases have ended.
    fn give_back(&mut self, offsets: Range<u64>, cause: Cause) {
        for offset in offsets.clone() {
            // A record that was given up in the meantime is nobody's any more.
            if self.live.remove(&offset).is_none() {
                continue;
            }
            let truth = self.truth.get_mut(&offset).unwrap();
            match cause {
                Cause::Released => truth.releases += 1,
                Cause::NotDelivered => truth.deliveries -= 1,
                _ => {}
            }
        }
        let given = self.desk.give_back(offsets.clone(), cause, self.now_ms);
        self.given_back(given);
        if let Cause::Nacked { .. } = cause {
            // The last change says so.
            self.nacked.extend(offsets.map(|offset| (offset, self.log.len() - 1)));
        }
    }

    /// The member gives one of its records back.
    fn nack(&mut self, member: usize, offset: u64, cause: Cause) {
        if self.members[member].leases.release(PARTITION, offset, SERIAL).is_ok() {
            self.give_back(offset..offset + 1, cause);
        }
    }

    fn acknowledge(&mut self, member: usize, offset: u64) {
        match self.members[member].leases.finish(PARTITION, offset, SERIAL) {
            Ok(()) => self.finished(offset..offset + 1, End::Acknowledged),
            Err(_) => {
                assert_ne!(self.live.get(&offset), Some(&self.members[member].id), "{offset} is held");
            }
        }
    }

    fn acknowledge_to(&mut self, member: usize, to: u64) {
        if let Ok(finished) = self.members[member].leases.finish_to(PARTITION, to) {
            finished.ranges.into_iter().for_each(|range| self.finished(range, End::Acknowledged));
        }
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        for member in 0..MEMBERS {
            for lease in self.members[member].leases.expire(self.now_ms) {
                let late = self.members[member].leases.finish(PARTITION, lease.offsets.start, SERIAL);
                assert_eq!(late, Err(Unheld::LeaseLost));
                self.give_back(lease.offsets, Cause::LeaseEnded);
            }
        }
    }

    /// Ordered: moves the partition.
    fn assign(&mut self, member: Option<usize>, cause: Cause) {
        if self.options.kind != GroupKind::Ordered {
            return;
        }
        let id = member.map(|member| self.members[member].id);
        if id == self.owner {
            return;
        }
        self.owner = id;
        for member in &mut self.members {
            member.leases.take_back(PARTITION, 0..u64::MAX);
        }
        for offset in std::mem::take(&mut self.live).into_keys() {
            self.truth.get_mut(&offset).unwrap().releases += u32::from(cause == Cause::Released);
        }
        let given = self.desk.assign(id, cause, self.now_ms);
        self.given_back(given);
    }

    fn leave(&mut self, member: usize) {
        let id = self.members[member].id;
        if self.owner == Some(id) {
            self.assign(None, Cause::MemberLeft);
        }
        for lease in self.members[member].leases.drain() {
            self.give_back(lease.offsets, Cause::MemberLeft);
        }
        let changes = self.desk.member_left(id);
        self.log(changes);
        self.members[member] = Member { id: self.next_member, leases: Leases::default() };
        self.next_member += 1;
    }

    /// One of the dead letters is written, or cannot be.
    fn bury(&mut self, fails: bool) {
        let Some(dead) = self.dead_letters.pop() else { return };
        if fails {
            self.desk.dead_letter_failed(dead.offset);
        } else if !self.ended.contains_key(&dead.offset) {
            assert!(!self.live.contains_key(&dead.offset), "a dead letter is in flight");
            self.finished(dead.offset..dead.offset + 1, End::DeadLetter);
        }
    }

    /// The partition gives records up; the desk and the members hear of it when that is durable.
    fn truncate(&mut self, first_offset: u64) {
        let first_offset = first_offset.min(self.next_offset);
        if first_offset <= self.first_offset {
            return;
        }
        self.end_in_log(0..first_offset, End::Gone);
        let gone = self.mirror.unfinished_below(first_offset);
        assert_eq!(self.mirror.truncate(first_offset), gone);
        self.first_offset = first_offset;
        self.log.push(Logged::Truncate(first_offset));
        self.waiting.push((self.log.len(), Waiting::Truncate(first_offset)));
    }

    fn truncated(&mut self, first_offset: u64) {
        self.told_first_offset = first_offset;
        self.desk.truncate(first_offset);
        for member in &mut self.members {
            member.leases.take_back(PARTITION, 0..first_offset);
        }
        self.live = self.live.split_off(&first_offset);
    }

    fn reset(&mut self, position: u64) {
        let position = position.clamp(self.first_offset, self.next_offset);
        self.end(0..position, End::Gone);
        let change = self.desk.reset(position).unwrap();
        self.log([change]);
        for member in &mut self.members {
            member.leases.take_back(PARTITION, 0..u64::MAX);
        }
        self.live.clear();
        self.dead_letters.clear();
        self.ended.split_off(&position);
        self.nacked.split_off(&position);
        self.truth.split_off(&position);
        // What was asked for before is answered after, and means nothing any more.
        self.flush(usize::MAX);
        assert_eq!(self.desk.in_flight(), 0);
    }

    /// A record that has ended begins anew.
    fn redrive(&mut self, offset: u64) {
        if offset < self.told_first_offset {
            return;
        }
        let is_open = self.desk.position() <= offset && !self.desk.progress().is_finished(offset);
        match self.desk.reopen(offset) {
            Err(NotReopened::Full) => return,
            Err(reason) => {
                assert!(is_open, "{offset}: {reason:?}");
                let is_dying = self.desk.progress().attempts(offset).is_some() || !self.live.contains_key(&offset);
                return assert!(reason == NotReopened::Unfinished || is_dying, "{offset} is in flight");
            }
            Ok(mut changes) => {
                assert!(!is_open && changes.pop() == Some(ProgressChange::Reopen { offset }));
                self.log(changes);
            }
        }
        self.truth.remove(&offset);
        if offset < self.first_offset {
            // The record was given up, and the desk hears of that next.
            self.ended.get_mut(&offset).expect("what is finished has ended").0 = End::Gone;
        } else {
            let ended = self.ended.remove(&offset).expect("what is finished has ended");
            self.reopened.push((self.log.len(), offset, ended));
        }
        self.log([ProgressChange::Reopen { offset }]);
    }

    /// The process ends; of what was logged, and not yet durable, a part survives.
    fn crash(&mut self, survive: usize) {
        self.must_crash = false;
        let length = self.durable + survive % (self.log.len() - self.durable + 1);
        self.log.truncate(length);
        self.ended.retain(|_, (_, at)| *at < length);
        while let Some((_, offset, ended)) = self.reopened.pop_if(|(at, ..)| *at >= length) {
            self.ended.extend((ended.1 < length).then_some((offset, ended)));
        }
        self.nacked.retain(|_, at| *at < length);
        self.truth.values_mut().for_each(|truth| truth.is_inexact = true);
        for offset in 0..self.next_offset {
            self.truth.entry(offset).or_default().is_inexact = true;
        }
        self.reopen(false);
    }

    fn close(&mut self) {
        for offset in std::mem::take(&mut self.live).into_keys() {
            self.truth.get_mut(&offset).unwrap().releases += 1;
        }
        let changes = self.desk.close(self.now_ms);
        self.log(changes);
        self.flush(usize::MAX);
        self.check_desk();
        self.reopen(true);
    }

    fn reopen(&mut self, is_clean: bool) {
        self.durable = self.log.len();
        self.waiting.clear();
        self.live.clear();
        self.dead_letters.clear();
        self.owner = None;
        for member in &mut self.members {
            *member = Member { id: self.next_member, leases: Leases::default() };
            self.next_member += 1;
        }
        self.mirror = Progress::begin(0).unwrap();
        self.first_offset = 0;
        for logged in &self.log {
            match logged {
                Logged::Change(change) => {
                    self.mirror.apply(change).expect("a cut log contradicts itself");
                    self.mirror.truncate(self.first_offset);
                }
                Logged::Truncate(first_offset) => {
                    self.mirror.truncate(*first_offset);
                    self.first_offset = *first_offset;
                }
            }
        }
        self.told_first_offset = self.first_offset;
        let opening = Opening { next_offset: self.next_offset, is_clean };
        self.desk = Desk::open(self.mirror.clone(), self.options, opening);
    }

    fn check_desk(&self) {
        assert_eq!(self.desk.in_flight(), self.live.len() as u64);
        if self.waiting.iter().any(|(_, waiting)| matches!(waiting, Waiting::Truncate(_))) {
            return;
        }
        assert_eq!(self.desk.progress(), &self.mirror, "the log says what the desk knows");
        let (in_flight, available) = (self.desk.in_flight(), self.desk.available(self.next_offset));
        assert!(in_flight + available <= self.mirror.unfinished_below(self.next_offset));
    }

    fn check(&self) {
        self.check_desk();
        let held: u64 = self.members.iter().map(|member| member.leases.records()).sum();
        assert_eq!(held, self.live.len() as u64, "what is in flight is held, once");
        for (offset, id) in &self.live {
            let member = self.members.iter().find(|member| member.id == *id).expect("members live");
            assert_eq!(member.leases.check(PARTITION, *offset, SERIAL), Ok(()), "{offset}");
        }
        for offset in 0..self.next_offset {
            assert_eq!(self.mirror.is_finished(offset), self.ended.contains_key(&offset), "{offset}");
        }
    }

    /// A record that somebody holds, or another.
    fn pick(&self, number: usize) -> (usize, u64) {
        let Some((offset, id)) = self.live.iter().nth(number % self.live.len().max(1)) else {
            return (number % MEMBERS, number as u64 % (self.next_offset + 1));
        };
        (self.members.iter().position(|member| member.id == *id).unwrap(), *offset)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Produce(count) => self.next_offset += count,
            Step::Take(member, count_max, has_others) => {
                if self.owner.is_none() {
                    self.assign(Some(member), Cause::Released);
                }
                self.take(member, count_max, has_others);
            }
            Step::Flush(count) => self.flush(count),
            Step::Acknowledge(number, count) => {
                for _ in 0..count {
                    let (member, offset) = self.pick(number);
                    self.acknowledge(member, offset);
                }
            }
            Step::AcknowledgeTo(number) => {
                let (member, offset) = self.pick(number);
                self.acknowledge_to(member, offset + 1);
            }
            Step::LateAcknowledge(member, offset) => self.acknowledge(member, offset),
            Step::GiveBack(number, cause) => {
                let (member, offset) = self.pick(number);
                self.nack(member, offset, cause);
            }
            Step::Pass(ms) => self.pass(ms),
            Step::Assign(member) => self.assign(Some(member), Cause::Released),
            Step::Leave(member) => self.leave(member),
            Step::Bury(fails) => self.bury(fails),
            Step::Truncate(offset) => self.truncate(offset),
            Step::Reset(offset) => self.reset(offset),
            Step::Redrive(offset) => self.redrive(offset),
            Step::Crash(survive) => self.crash(survive),
            Step::Close => self.close(),
        }
        if self.must_crash {
            self.crash(self.now_ms as usize);
        }
        self.check();
    }

    /// Everybody works until everything is finished.
    fn heal(&mut self) {
        for round in 0.. {
            self.check();
            if self.desk.position() == self.next_offset {
                break;
            }
            assert!(round < 20_000, "{} of {} are left: {:?}", self.desk.position(), self.next_offset, self.desk);
            if self.owner.is_none() {
                self.assign(Some(0), Cause::Released);
            }
            self.pass(self.options.retry.delay_ms_max as i64);
            self.take(round % MEMBERS, 5, false);
            if self.must_crash {
                self.crash(round);
                continue;
            }
            self.flush(usize::MAX);
            if self.must_crash {
                self.crash(round);
                continue;
            }
            while let Some((offset, _)) = self.live.first_key_value() {
                let (member, offset) = (self.pick(0).0, *offset);
                self.acknowledge(member, offset);
            }
            while !self.dead_letters.is_empty() {
                self.bury(false);
            }
            self.flush(usize::MAX);
        }
        assert_eq!(self.ended.len() as u64, self.next_offset, "each record ended");
        for (offset, (end, _)) in &self.ended {
            let is_poison = (self.is_poison)(*offset) && *end == End::Acknowledged;
            assert!(!is_poison, "nobody lived to acknowledge {offset}");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Produce(u64),
    Take(usize, u64, bool),
    Flush(usize),
    Acknowledge(usize, u32),
    AcknowledgeTo(usize),
    LateAcknowledge(usize, u64),
    GiveBack(usize, Cause),
    Pass(i64),
    Assign(usize),
    Leave(usize),
    Bury(bool),
    Truncate(u64),
    Reset(u64),
    Redrive(u64),
    Crash(usize),
    Close,
}

fn any_step() -> impl Strategy<Value = Step> {
    let cause = prop_oneof![
        4 => prop::option::of(0u64..200).prop_map(|delay_ms| Cause::Nacked { delay_ms }),
        2 => Just(Cause::Released),
        2 => Just(Cause::NotDelivered),
        1 => Just(Cause::Rejected),
    ];
    let number = || 0usize..50;
    prop_oneof![
        6 => (0u64..12).prop_map(Step::Produce),
        12 => (0..MEMBERS, 0u64..9, any::<bool>())
            .prop_map(|(member, count, others)| Step::Take(member, count, others)),
        12 => (1usize..9).prop_map(Step::Flush),
        5 => (number(), 1u32..6).prop_map(|(number, count)| Step::Acknowledge(number, count)),
        1 => number().prop_map(Step::AcknowledgeTo),
        1 => (0..MEMBERS, 0u64..40).prop_map(|(member, offset)| Step::LateAcknowledge(member, offset)),
        8 => (number(), cause).prop_map(|(number, cause)| Step::GiveBack(number, cause)),
        4 => (1i64..120).prop_map(Step::Pass),
        1 => (0..MEMBERS).prop_map(Step::Assign),
        1 => (0..MEMBERS).prop_map(Step::Leave),
        3 => (0u64..40).prop_map(Step::Redrive),
        2 => any::<bool>().prop_map(Step::Bury),
        1 => number().prop_map(Step::Crash),
        1 => Just(Step::Close),
    ]
}

/// Also those that change what is true of records that nobody touched.
fn any_step_at_all() -> impl Strategy<Value = Step> {
    prop_oneof![
        40 => any_step(),
        1 => (0u64..60).prop_map(Step::Truncate),
        1 => (0u64..60).prop_map(Step::Reset),
    ]
}

fn any_options() -> impl Strategy<Value = DeskOptions> {
    let kind = prop_oneof![Just(GroupKind::Ordered), Just(GroupKind::Shared)];
    (kind, 1u64..30, 1u64..20, 1u32..7).prop_map(|(kind, unfinished_max, reserve, max_deliveries)| {
        let retry = RetryPolicy { first_delay_ms: 20, delay_ms_max: 300, max_deliveries, ..RetryPolicy::default() };
        DeskOptions { kind, unfinished_max, reserve, retry }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 800 }))]

    #[test]
    fn whatever_happens_groups_keep_what_they_promise(
        options in any_options(),
        has_poison in any::<bool>(),
        steps in prop::collection::vec(any_step_at_all(), 0..250),
    ) {
        let mut world = World::new(options, if has_poison { |offset| offset % 13 == 5 } else { |_| false });
        for step in &steps {
            world.step(step);
        }
        world.heal();
    }
}

/// A record whose every delivery ends the process is handed out `max_deliveries` times, and then it is a dead letter;
/// those that were handed out beside it are not.
#[test]
fn a_record_that_ends_the_process_becomes_a_dead_letter() {
    for kind in [GroupKind::Ordered, GroupKind::Shared] {
        for max_deliveries in [1, 2, 3, 4, 5, 16] {
            let mut options = DeskOptions::new(kind);
            options.retry.max_deliveries = max_deliveries;
            let mut world = World::new(options, |offset| offset == 5);
            world.next_offset = 10;
            world.heal();
            let end = |offset: u64| world.ended[&offset].0;
            assert_eq!((world.truth[&5].deliveries, end(5)), (max_deliveries, End::DeadLetter), "{kind:?}");
            for offset in (0..10).filter(|offset| *offset != 5) {
                let beside = if offset > 5 { 4 } else { 0 };
                match max_deliveries > 4 || offset < 5 {
                    true => assert_eq!((world.truth[&offset].deliveries, end(offset)), (beside + 1, End::Acknowledged)),
                    // With so few nobody can tell which of them it was.
                    false => assert_eq!(end(offset), End::DeadLetter),
                }
            }
        }
    }
}
