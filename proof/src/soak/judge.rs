//! Judges what the processes say, as it comes.
//!
//! The rules are those of docs/GUARANTEES.md, and the kinds of wrong are the checker's. It cannot be the checker
//! itself, which judges a history that is there as a whole.
//!
//! Invariants:
//! - Only what is certain is a finding: a time of sending is at most what is known of it, bytes are counted with the
//!   most that they can be, and what was asked for may have been done.
//! - Memory follows what the log holds.

use super::delays::Delays;
use super::ledger::{Ledger, Wrong};
use super::message::{Kept, Message, Run};
use super::order::readers;
use super::plan::{CHURN_KEY_FIRST, Kind, Plan, TopicPlan};
use crate::checker::Anomaly;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Instant;

/// Findings that are kept; a broken log breaks every later look.
const FINDINGS_MAX: usize = 20;

/// Everything that is known, and what was found.
pub(super) struct Judge {
    plan: Plan,
    began: Instant,
    topics: BTreeMap<u16, Topic>,
    /// Where each reader is: the next offset of reader, topic, partition.
    positions: HashMap<(u32, u16, u32), u64>,
    delays: Delays,
    findings: Vec<String>,
    findings_max: usize,
    churn_next: u16,
    /// Topics were there once: from then on those of the plan must be.
    was_ready: bool,
    pub(super) counts: Counts,
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: u64,
    pub(super) bytes: u64,
    pub(super) delayed: u64,
    pub(super) cancelled: u64,
    pub(super) read: u64,
    pub(super) read_outside: u64,
    pub(super) truncations: u64,
    pub(super) topics: u64,
    pub(super) given_up: u64,
}

struct Topic {
    plan: TopicPlan,
    partitions: Vec<Ledger>,
    /// From which sequence on records were sent no earlier than when, ms; and below which they may have been sent.
    sent: VecDeque<(u32, i64)>,
    below: u32,
    /// Its front may be gone up to here, because somebody asked for it.
    asked_below: u64,
    acknowledged: u64,
    is_created: bool,
    is_dropping: bool,
}

impl Topic {
    fn new(plan: TopicPlan) -> Topic {
        let partitions = (0..plan.partitions).map(|_| Ledger::default()).collect();
        let sent = VecDeque::new();
        Topic {
            plan,
            partitions,
            sent,
            below: 0,
            asked_below: 0,
            acknowledged: 0,
            is_created: false,
            is_dropping: false,
        }
    }

    /// No earlier than this was a record sent, ms.
    fn sent_ms(&self, sequence: u32) -> i64 {
        let later = self.sent.partition_point(|(from, _)| *from <= sequence);
        later.checked_sub(1).map_or(i64::MIN, |at| self.sent[at].1)
    }
}

impl Judge {
    pub(super) fn new(plan: &Plan) -> Judge {
        Judge {
            plan: plan.clone(),
            began: Instant::now(),
            topics: plan.topics.iter().map(|topic| (topic.key, Topic::new(topic.clone()))).collect(),
            positions: HashMap::new(),
            delays: Delays::default(),
            findings: Vec::new(),
            findings_max: FINDINGS_MAX,
            churn_next: CHURN_KEY_FIRST,
            was_ready: false,
            counts: Counts::default(),
        }
    }

    pub(super) fn findings(&self) -> &[String] {
        &self.findings
    }

    /// Whether there is so much that more says nothing.
    pub(super) fn is_hopeless(&self) -> bool {
        self.findings.len() >= self.findings_max
    }

    /// The first finding is enough.
    pub(super) fn stop_at_the_first(&mut self) {
        self.findings_max = 1;
    }

    /// How much is remembered.
    pub(super) fn remembered(&self) -> usize {
        self.topics.values().flat_map(|topic| &topic.partitions).map(Ledger::runs).sum()
    }

    pub(super) fn find(&mut self, text: String) {
        if !self.is_hopeless() {
            self.findings.push(format!("{text} (after {:.1} s)", self.began.elapsed().as_secs_f64()));
        }
    }

    // ----- what the next child must know -----

    pub(super) fn sequences(&self) -> Vec<(u16, u32)> {
        self.topics.iter().map(|(key, topic)| (*key, topic.below)).collect()
    }

    /// Where readers that go on do so.
    pub(super) fn positions(&self) -> Vec<(u32, u16, u32, u64)> {
        let goes_on = |reader: u32| [readers::FOLLOWER, readers::SLOW, readers::LAGGARD].contains(&reader);
        let positions = self.positions.iter().filter(|((reader, ..), _)| goes_on(*reader));
        positions.map(|((reader, topic, partition), offset)| (*reader, *topic, *partition, *offset)).collect()
    }

    pub(super) fn churn(&self) -> (Vec<u16>, u16) {
        (self.topics.keys().copied().filter(|key| *key >= CHURN_KEY_FIRST).collect(), self.churn_next)
    }

    pub(super) fn outstanding(&self) -> Vec<(u32, String)> {
        self.delays.outstanding()
    }

    /// Readers outside are gone for good.
    pub(super) fn forget_readers_outside(&mut self) {
        self.positions.retain(|(reader, ..), _| *reader < readers::OUTSIDE_FIRST);
    }

    // ----- what is said -----

    pub(super) fn hear(&mut self, message: Message) {
        match message {
            Message::Opened { topics, kept, wall_ms, .. } => self.opened(&topics, &kept, wall_ms),
            Message::Ready => {
                self.was_ready = true;
                self.topics
                    .values_mut()
                    .filter(|topic| topic.plan.kind != Kind::Churn)
                    .for_each(|topic| topic.is_created = true);
            }
            Message::Kept { kept, wall_ms } => kept.iter().for_each(|kept| self.kept(*kept, wall_ms)),
            Message::Sending { topic, below, wall_ms } => self.sending(topic, below, wall_ms),
            Message::Acknowledged { topic, bytes, runs } => self.acknowledged(topic, bytes, &runs),
            Message::Begun { reader, topic, partition, offset } => {
                self.positions.insert((reader, topic, partition), offset);
            }
            Message::Read { reader, topic, runs, wall_ms } => self.read(reader, topic, &runs, wall_ms),
            Message::Truncated { reader, topic, partition, from, to } => {
                self.truncated((reader, topic, partition), from, to);
            }
            Message::Deleting { topic, below, .. } => {
                if let Some(topic) = self.topics.get_mut(&topic) {
                    topic.asked_below = topic.asked_below.max(below);
                }
            }
            Message::Delaying { sequence, due_ms } => self.delays.sending(sequence, due_ms),
            Message::Withheld { sequence, id, bytes } => {
                self.delays.withheld(sequence, id);
                self.counts.delayed += 1;
                self.counts.acknowledged += 1;
                self.counts.bytes += bytes;
            }
            Message::Cancelling { sequence } => self.delays.cancelling(sequence),
            Message::Cancelled { sequence, done, wall_ms } => {
                self.counts.cancelled += u64::from(done);
                let result = self.delays.cancelled(sequence, done, wall_ms);
                self.judge(result, || "cancelling".to_owned());
            }
            Message::Creating { topic } => {
                self.churn_next = self.churn_next.max(topic + 1);
                self.topics.insert(topic, Topic::new(TopicPlan::churn(topic)));
            }
            Message::Created { topic } => {
                self.counts.topics += 1;
                self.change(topic, |topic| topic.is_created = true);
            }
            Message::Dropping { topic } => self.change(topic, |topic| topic.is_dropping = true),
            Message::Dropped { topic } => self.forget_topic(topic),
            Message::Settled { kept } => self.settled(&kept),
            Message::Trouble(text) => self.find(text),
            Message::Figures(_) | Message::Closed => {}
        }
    }

    fn change(&mut self, key: u16, change: impl FnOnce(&mut Topic)) {
        if let Some(topic) = self.topics.get_mut(&key) {
            change(topic);
        }
    }

    fn forget_topic(&mut self, key: u16) {
        self.topics.remove(&key);
        self.positions.retain(|(_, topic, _), _| *topic != key);
    }

    fn judge<T>(&mut self, result: Result<T, Wrong>, place: impl FnOnce() -> String) {
        if let Err((anomaly, text)) = result {
            self.find(format!("{}: {}: {text}", anomaly.name(), place()));
        }
    }

    fn opened(&mut self, names: &[String], kept: &[Kept], wall_ms: i64) {
        let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let (mut gone, mut lost) = (Vec::new(), Vec::new());
        for (key, topic) in &self.topics {
            if !names.contains(&*topic.plan.name) {
                match topic.plan.kind {
                    // Whether it was made, or dropped, nobody knew.
                    Kind::Churn if !topic.is_created || topic.is_dropping => gone.push(*key),
                    _ if topic.is_created => lost.push(topic.plan.name.clone()),
                    _ => {}
                }
            }
        }
        gone.into_iter().for_each(|key| self.forget_topic(key));
        for name in lost {
            self.find(format!("{}: {name} is gone", Anomaly::LostTopic.name()));
        }
        let known: BTreeSet<&str> = self.topics.values().map(|topic| &*topic.plan.name).collect();
        let unknown: Vec<_> = names.difference(&known).map(|name| (*name).to_owned()).collect();
        for name in unknown {
            self.find(format!("{}: {name} is there, and was deleted", Anomaly::DeletedTopicRead.name()));
        }
        for kept in kept {
            self.kept(*kept, wall_ms);
            let Some(ledger) = self.ledger(kept.topic, kept.partition) else { continue };
            let (told, end) = (ledger.told.max(ledger.first), ledger.end());
            let place = || format!("topic {} partition {}", kept.topic, kept.partition);
            if kept.first < told {
                let text = format!("it begins at {}, and readers were told that it begins at {told}", kept.first);
                self.judge::<()>(Err((Anomaly::TruncationUndone, text)), place);
            }
            if kept.next < end {
                let text = format!("it ends at {}, and records up to {end} were acknowledged or read", kept.next);
                self.judge::<()>(Err((Anomaly::LostWrite, text)), place);
            }
        }
    }

    fn ledger(&mut self, topic: u16, partition: u32) -> Option<&mut Ledger> {
        self.topics.get_mut(&topic)?.partitions.get_mut(partition as usize)
    }

    /// What a partition keeps: whatever is given up must have been so by its bounds.
    fn kept(&mut self, kept: Kept, wall_ms: i64) {
        let follower = self.positions.get(&(readers::FOLLOWER, kept.topic, kept.partition)).copied();
        let Some(topic) = self.topics.get_mut(&kept.topic) else { return };
        let Some(ledger) = topic.partitions.get_mut(kept.partition as usize) else { return };
        if kept.first <= ledger.first {
            return;
        }
        let gone = ledger.forget_below(kept.first);
        self.counts.given_up += gone.iter().map(|run| u64::from(run.count)).sum::<u64>();
        let wrong = match topic.plan.kind {
            Kind::Forever | Kind::Churn => Some("nothing may be given up".to_owned()),
            Kind::Front => (kept.first > topic.asked_below)
                .then(|| format!("it was asked to give up what lies below {}", topic.asked_below)),
            Kind::Bytes | Kind::Many => {
                let bytes_max = kept.next.saturating_sub(kept.first) * topic.plan.counted_bytes_max();
                let kept_bytes = topic.plan.kept_bytes.unwrap_or_default();
                (bytes_max < kept_bytes).then(|| format!("{bytes_max} bytes are left, and {kept_bytes} must be"))
            }
            Kind::Time | Kind::Delayed => {
                let kept_ms = topic.plan.kept_ms.unwrap_or_default() as i64;
                let newest_ms = match topic.plan.kind {
                    Kind::Delayed => self.delays.gone(&gone),
                    _ => gone.last().map(|run| topic.sent_ms(run.sequence + run.count - 1)),
                };
                if topic.plan.kind == Kind::Delayed && follower.is_none_or(|position| position < kept.first) {
                    self.delays.gone_unread(wall_ms - kept_ms);
                }
                newest_ms.filter(|newest| *newest > wall_ms - kept_ms).map(|newest| {
                    format!(
                        "its newest record was {} ms old, and {kept_ms} ms are kept",
                        wall_ms.saturating_sub(newest)
                    )
                })
            }
        };
        if let Some(text) = wrong {
            let text = format!("given up below {} of {}: {text}", kept.first, kept.next);
            let name = topic.plan.name.clone();
            let place = || format!("{name} partition {}", kept.partition);
            self.judge::<()>(Err((Anomaly::UnaskedTruncation, text)), place);
        }
    }

    fn sending(&mut self, key: u16, below: u32, wall_ms: i64) {
        let Some(topic) = self.topics.get_mut(&key) else { return };
        topic.sent.push_back((topic.below, wall_ms));
        topic.below = topic.below.max(below);
        // What is older than that is certainly old enough.
        let old_ms = wall_ms - 2 * topic.plan.kept_ms.unwrap_or_default() as i64 - 1_000;
        while topic.sent.get(1).is_some_and(|(_, sent_ms)| *sent_ms < old_ms) {
            topic.sent.pop_front();
        }
        if let Some(front) = topic.sent.front_mut().filter(|(_, sent_ms)| *sent_ms < old_ms) {
            front.1 = i64::MIN;
        }
    }

    fn acknowledged(&mut self, key: u16, bytes: u64, runs: &[Run]) {
        let count: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
        self.counts.acknowledged += count;
        self.counts.bytes += bytes;
        self.change(key, |topic| topic.acknowledged += count);
        for run in runs {
            self.learn(key, *run, None, || "a receipt".to_owned());
        }
    }

    fn read(&mut self, reader: u32, key: u16, runs: &[Run], wall_ms: i64) {
        let count: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
        self.counts.read += count;
        self.counts.read_outside += if reader >= readers::OUTSIDE_FIRST { count } else { 0 };
        for run in runs {
            let position = self.positions.insert((reader, key, run.partition), run.end());
            if position != Some(run.offset) {
                let anomaly = match position {
                    None => Anomaly::UnassignedRead,
                    Some(position) if run.offset > position => Anomaly::SkippedPoll,
                    Some(_) => Anomaly::NonmonotonicPoll,
                };
                let text = format!("reader {reader} got offset {} where {position:?} comes next", run.offset);
                self.judge::<()>(Err((anomaly, text)), || format!("topic {key} partition {}", run.partition));
            }
            self.learn(key, *run, Some(wall_ms), || format!("reader {reader}"));
        }
    }

    /// Where records are, by a receipt or by whoever read them.
    fn learn(&mut self, key: u16, run: Run, read_ms: Option<i64>, who: impl Fn() -> String) {
        let Some(topic) = self.topics.get_mut(&key) else { return };
        let place = || format!("topic {key} partition {}, {}", run.partition, who());
        let Some(ledger) = topic.partitions.get_mut(run.partition as usize) else {
            return self.judge::<()>(Err((Anomaly::Misplaced, "there is no such partition".to_owned())), place);
        };
        let below = run.sequence.saturating_add(run.count);
        if below > topic.below {
            let text = format!("record {} was never sent", below - 1);
            return self.judge::<()>(Err((Anomaly::Unexpected, text)), place);
        }
        let is_delayed = topic.plan.kind == Kind::Delayed;
        let new = ledger.learn(run, !is_delayed);
        let result = match (new, read_ms) {
            (Ok(new), Some(wall_ms)) if is_delayed => self.delays.read(&new, wall_ms),
            (new, _) => new.map(drop),
        };
        self.judge(result, place);
    }

    fn truncated(&mut self, reader: (u32, u16, u32), from: u64, to: u64) {
        self.counts.truncations += 1;
        let (_, topic, partition) = reader;
        let position = self.positions.insert(reader, to);
        if position != Some(from) || to <= from {
            let text = format!("reader {} was told that {from} to {to} are gone, at {position:?}", reader.0);
            self.judge::<()>(Err((Anomaly::SkippedPoll, text)), || format!("topic {topic} partition {partition}"));
        }
        if let Some(ledger) = self.ledger(topic, partition) {
            ledger.told = ledger.told.max(to);
        }
    }

    /// Everything was read, and nothing is withheld.
    fn settled(&mut self, kept: &[Kept]) {
        let mut found: Vec<Wrong> = Vec::new();
        for kept in kept {
            let Some(topic) = self.topics.get(&kept.topic) else { continue };
            let Some(ledger) = topic.partitions.get(kept.partition as usize) else { continue };
            let place = format!("{} partition {}", topic.plan.name, kept.partition);
            let position = self.positions.get(&(readers::SETTLER, kept.topic, kept.partition)).copied();
            if position.is_none_or(|position| position < kept.next) || kept.next < ledger.end() {
                let text = format!("{place}: read up to {position:?} of {}, {} is known", kept.next, ledger.end());
                found.push((Anomaly::LostWrite, text));
            }
            if let Some(hole) = ledger.hole(ledger.first, kept.next) {
                found.push((Anomaly::OffsetGap, format!("{place}: nobody saw offset {hole}")));
            }
            let is_whole = kept.first == 0 && kept.next >= topic.acknowledged;
            if topic.plan.kind == Kind::Forever && !is_whole {
                let text = format!(
                    "{place}: {} to {} are there, {} were acknowledged",
                    kept.first, kept.next, topic.acknowledged
                );
                found.push((Anomaly::LostWrite, text));
            }
        }
        found.extend(self.delays.settled());
        for wrong in found {
            self.judge::<()>(Err(wrong), || "at the end".to_owned());
        }
    }

    /// Whether everything was there once.
    pub(super) fn was_ready(&self) -> bool {
        self.was_ready
    }

    /// What the bounds of topics are believed to be; a lie, to show that they are looked at.
    pub(super) fn believe(&mut self, change: impl Fn(&mut TopicPlan)) {
        self.topics.values_mut().for_each(|topic| change(&mut topic.plan));
    }

    pub(super) fn disk_bytes_max(&self) -> u64 {
        self.plan.disk_bytes_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        let mut judge = Judge::new(&Plan::new(1 << 30, 60_000_000, 1800, &[]));
        judge.hear(Message::Ready);
        judge
    }

    fn key(kind: Kind) -> u16 {
        kind as u16
    }

    fn run(offset: u64, sequence: u32, count: u32) -> Run {
        Run { partition: 0, offset, sequence, count }
    }

    /// So many records, sent at a time, with receipts.
    fn send(judge: &mut Judge, kind: Kind, from: u32, count: u32, wall_ms: i64) {
        judge.hear(Message::Sending { topic: key(kind), below: from + count, wall_ms });
        let runs = vec![run(u64::from(from), from, count)];
        judge.hear(Message::Acknowledged { topic: key(kind), bytes: 1, runs });
    }

    fn kept(kind: Kind, first: u64, next: u64) -> Kept {
        Kept { topic: key(kind), partition: 0, first, next }
    }

    fn opened(judge: &mut Judge, kept: Vec<Kept>) {
        let topics = judge.plan.topics.iter().map(|topic| topic.name.clone()).collect();
        judge.hear(Message::Opened { opened_in_us: 1, topics, kept, wall_ms: 0 });
    }

    #[track_caller]
    fn expect(judge: &Judge, anomaly: Option<Anomaly>) {
        let found = judge.findings();
        match anomaly {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(anomaly) => assert!(found.len() == 1 && found[0].starts_with(anomaly.name()), "{found:?}"),
        }
    }

    #[test]
    fn what_is_acknowledged_is_there_after_the_next_opening() {
        for (next, anomaly) in [(10, None), (9, Some(Anomaly::LostWrite))] {
            let mut judge = judge();
            send(&mut judge, Kind::Bytes, 0, 10, 0);
            opened(&mut judge, vec![kept(Kind::Bytes, 0, next)]);
            expect(&judge, anomaly);
        }
    }

    #[test]
    fn topics_stay_and_what_was_dropped_does_not_come_again() {
        let mut judge = judge();
        let names = |judge: &Judge| judge.plan.topics.iter().map(|topic| topic.name.clone()).collect::<Vec<_>>();
        let topics = names(&judge)[1..].to_vec();
        judge.hear(Message::Opened { opened_in_us: 1, topics, kept: Vec::new(), wall_ms: 0 });
        expect(&judge, Some(Anomaly::LostTopic));
        let mut judge = super::tests::judge();
        judge.hear(Message::Creating { topic: 64 });
        judge.hear(Message::Created { topic: 64 });
        judge.hear(Message::Dropping { topic: 64 });
        judge.hear(Message::Dropped { topic: 64 });
        let mut topics = names(&judge);
        topics.push("churn-64".to_owned());
        judge.hear(Message::Opened { opened_in_us: 1, topics, kept: Vec::new(), wall_ms: 0 });
        expect(&judge, Some(Anomaly::DeletedTopicRead));
    }

    #[test]
    fn readers_get_offset_after_offset() {
        for (offset, anomaly) in [(5, None), (6, Some(Anomaly::SkippedPoll)), (4, Some(Anomaly::NonmonotonicPoll))] {
            let mut judge = judge();
            send(&mut judge, Kind::Bytes, 0, 10, 0);
            let topic = key(Kind::Bytes);
            judge.hear(Message::Begun { reader: 0, topic, partition: 0, offset: 0 });
            judge.hear(Message::Read { reader: 0, topic, runs: vec![run(0, 0, 5)], wall_ms: 0 });
            let runs = vec![run(offset, offset as u32, 2)];
            judge.hear(Message::Read { reader: 0, topic, runs, wall_ms: 0 });
            expect(&judge, anomaly);
        }
        // What is told to be gone may be left out, and must be gone for ever.
        for (first, anomaly) in [(8, None), (7, Some(Anomaly::TruncationUndone))] {
            let mut judge = judge();
            let topic = key(Kind::Time);
            send(&mut judge, Kind::Time, 0, 10, -1_000_000);
            judge.hear(Message::Begun { reader: 0, topic, partition: 0, offset: 0 });
            judge.hear(Message::Truncated { reader: 0, topic, partition: 0, from: 0, to: 8 });
            judge.hear(Message::Read { reader: 0, topic, runs: vec![run(8, 8, 2)], wall_ms: 0 });
            opened(&mut judge, vec![kept(Kind::Time, first, 10)]);
            expect(&judge, anomaly);
        }
    }

    #[test]
    fn nothing_is_read_that_was_not_sent() {
        let mut judge = judge();
        send(&mut judge, Kind::Bytes, 0, 10, 0);
        judge.hear(Message::Acknowledged { topic: key(Kind::Bytes), bytes: 1, runs: vec![run(10, 10, 1)] });
        expect(&judge, Some(Anomaly::Unexpected));
    }

    #[test]
    fn nothing_is_given_up_too_early() {
        let window_ms = judge().plan.window_ms as i64;
        for (wall_ms, anomaly) in [(window_ms, None), (window_ms - 1, Some(Anomaly::UnaskedTruncation))] {
            let mut judge = judge();
            send(&mut judge, Kind::Time, 0, 10, -5);
            send(&mut judge, Kind::Time, 10, 10, 0);
            judge.hear(Message::Kept { kept: vec![kept(Kind::Time, 20, 20)], wall_ms });
            expect(&judge, anomaly);
        }
        let plan = judge().topics[&key(Kind::Bytes)].plan.clone();
        let least = plan.kept_bytes.unwrap().div_ceil(plan.counted_bytes_max());
        for (left, anomaly) in [(least, None), (least - 1, Some(Anomaly::UnaskedTruncation))] {
            let mut judge = judge();
            judge.hear(Message::Kept { kept: vec![kept(Kind::Bytes, 5, 5 + left)], wall_ms: 0 });
            expect(&judge, anomaly);
        }
        for (first, anomaly) in [(5, None), (6, Some(Anomaly::UnaskedTruncation))] {
            let mut judge = judge();
            judge.hear(Message::Deleting { topic: key(Kind::Front), partition: 0, below: 5 });
            judge.hear(Message::Kept { kept: vec![kept(Kind::Front, first, 10)], wall_ms: 0 });
            expect(&judge, anomaly);
        }
        let mut judge = judge();
        judge.hear(Message::Kept { kept: vec![kept(Kind::Forever, 1, 10)], wall_ms: i64::MAX });
        expect(&judge, Some(Anomaly::UnaskedTruncation));
    }

    #[test]
    fn at_the_end_everything_was_read() {
        for (read, anomaly) in [(10, None), (9, Some(Anomaly::LostWrite))] {
            let mut judge = judge();
            let (topic, reader) = (key(Kind::Forever), readers::SETTLER);
            send(&mut judge, Kind::Forever, 0, 10, 0);
            judge.hear(Message::Begun { reader, topic, partition: 0, offset: 0 });
            judge.hear(Message::Read { reader, topic, runs: vec![run(0, 0, read)], wall_ms: 0 });
            judge.hear(Message::Settled { kept: vec![kept(Kind::Forever, 0, 10)] });
            expect(&judge, anomaly);
        }
    }
}
