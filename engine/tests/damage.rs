//! Damage of every kind, in every file: it is refused, reported by the read it concerns, or mended.
//! Never a wrong value, never records missing without a word.
//!
//! A log is made once and kept in memory twice: as it lies on the disk while the engine is open and idle
//! (unclean), and after closing (clean). Each case changes one thing in a copy.

#![allow(clippy::unwrap_used)]

mod common;

use common::{directory, read_from, small};
use ringlane::inspect::{FrameInfo, SegmentInfo};
use ringlane::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PAGE: usize = 4096;

/// The files of a directory by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A directory at one moment, and what stands where in it.
struct Image {
    name: &'static str,
    files: Files,
    segments: Vec<Layout>,
}

struct Layout {
    info: SegmentInfo,
    frames: Vec<FrameInfo>,
}

impl Layout {
    fn end(&self) -> usize {
        self.frames.last().map_or(PAGE, |last| (last.file_offset + last.bytes) as usize)
    }

    fn last_records(&self) -> &FrameInfo {
        self.frames.iter().rfind(|frame| frame.kind == "records").unwrap()
    }

    fn middle_records(&self) -> &FrameInfo {
        let from = self.end() as u64 / 2;
        self.frames.iter().find(|frame| frame.kind == "records" && frame.file_offset > from).unwrap()
    }
}

impl Image {
    fn in_state(&self, state: &str) -> impl Iterator<Item = &Layout> {
        self.segments.iter().filter(move |segment| segment.info.state == state)
    }

    /// The live segment that was written last.
    fn written(&self) -> &Layout {
        self.in_state("live").filter(|segment| !segment.frames.is_empty()).last().unwrap()
    }
}

/// Everything that was acknowledged.
#[derive(Default)]
struct Acknowledged {
    /// By topic and partition, in the order of offsets.
    values: BTreeMap<(&'static str, u32), Vec<Vec<u8>>>,
    /// Delayed for an hour: they go to `later`.
    withheld: Vec<(RecordId, Vec<u8>)>,
    cancelled: Vec<RecordId>,
}

struct Built {
    acknowledged: Acknowledged,
    unclean: Image,
    clean: Image,
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(build)
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

fn value(number: u64) -> Vec<u8> {
    let mut value = noise(number + 1, 1200 + (number % 5) as usize * 300);
    value[..8].copy_from_slice(&number.to_le_bytes());
    value
}

fn options() -> Options {
    small().lock_wait_ms(0)
}

fn build() -> Built {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let orders = engine.create_topic("orders", TopicOptions::new().partitions(2)).unwrap();
    let later = engine.create_topic("later", TopicOptions::new()).unwrap();
    let gone = engine.create_topic("gone", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut acknowledged = Acknowledged::default();
    let mut number = 0;
    let hour = Duration::from_secs(3600);
    let mut soon = 0;
    for round in 0..240u32 {
        let partition = round % 2;
        let values: Vec<Vec<u8>> = (0..7).map(|at| value(number + at)).collect();
        number += 7;
        let records: Vec<_> = values.iter().map(|value| Record::new(value).partition(partition)).collect();
        let receipts = producer.send_batch(&orders, &records).unwrap().wait().unwrap();
        let list = acknowledged.values.entry(("orders", partition)).or_default();
        for (receipt, value) in receipts.iter().zip(values) {
            assert_eq!((receipt.partition, receipt.offset), (partition, Some(list.len() as u64)));
            list.push(value);
        }
        let mut delayed = |after| {
            number += 1;
            let value = value(number - 1);
            let id = producer.send(&later, Record::new(&value).visible_after(after)).unwrap().wait().unwrap().id;
            (id, value)
        };
        match round {
            5 | 100 | 235 => {
                acknowledged.withheld.push(delayed(hour));
                let cancelled = delayed(hour).0;
                producer.cancel(cancelled).unwrap();
                acknowledged.cancelled.push(cancelled);
            }
            20 | 120 | 230 => {
                delayed(Duration::from_millis(2));
                soon += 1;
            }
            10 | 11 => drop(producer.send(&gone, Record::new(&value(0))).unwrap().wait().unwrap()),
            90 => engine.delete_topic("gone").unwrap(),
            _ => {}
        }
    }
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let read: Vec<Vec<u8>> = common::values(&engine, &later, 0);
        let image = inspect(directory.path()).unwrap();
        let sealed = image.segments.iter().filter(|segment| segment.state == "sealed");
        let indexed = sealed.filter(|s| directory.path().join(format!("{}.index", s.file)).exists()).count();
        if read.len() == soon && indexed >= 2 {
            acknowledged.values.insert(("later", 0), read);
            break;
        }
        assert!(Instant::now() < deadline, "{} published, {indexed} sealed", read.len());
        std::thread::sleep(Duration::from_millis(5));
    }
    // One more group, so that the last frames are records and the idle mark.
    let last = value(number);
    producer.send(&orders, Record::new(&last).partition(0)).unwrap().wait().unwrap();
    acknowledged.values.get_mut(&("orders", 0)).unwrap().push(last);
    engine.sync().unwrap();
    let unclean = loop {
        std::thread::sleep(Duration::from_millis(60));
        let image = image("unclean", directory.path());
        if image.written().frames.last().unwrap().kind == "mark" {
            break image;
        }
        assert!(Instant::now() < deadline, "no idle mark");
    };
    engine.close().unwrap();
    let clean = image("clean", directory.path());
    Built { acknowledged, unclean, clean }
}

fn image(name: &'static str, path: &Path) -> Image {
    let mut files = Files::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            files.insert(entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap());
        }
    }
    let segments = inspect(path).unwrap().segments.into_iter().map(|info| {
        let mut frames = Vec::new();
        if matches!(info.state, "live" | "sealed") {
            inspect_frames(path, &info.file, &mut |frame| {
                let whole = frame.problem.is_none();
                frames.extend(whole.then_some(frame));
                whole
            })
            .unwrap();
        }
        Layout { info, frames }
    });
    let segments = segments.collect();
    Image { name, files, segments }
}

fn write(files: &Files) -> TempDir {
    let directory = directory();
    for (name, bytes) in files {
        std::fs::write(directory.path().join(name), bytes).unwrap();
    }
    directory
}

/// What may come of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Allowed {
    /// Refused, reported by reads, or everything is there.
    Noticed,
    /// Refused.
    Refused,
    /// Everything is there, and `verify` finds no damage.
    Harmless,
    /// The stated window: no frame is left that could speak for the last ones. So many records may go.
    Window(usize),
}

struct Case {
    class: &'static str,
    /// The damaged file; errors must name it.
    file: String,
    what: String,
    allowed: Allowed,
    damage: Box<dyn Fn(&mut Files)>,
}

impl Case {
    fn new(
        class: &'static str,
        file: &str,
        what: impl Into<String>,
        allowed: Allowed,
        damage: impl Fn(&mut Files) + 'static,
    ) -> Case {
        Case { class, file: file.to_owned(), what: what.into(), allowed, damage: Box::new(damage) }
    }

    /// Damage within one file's bytes.
    fn within(
        class: &'static str,
        file: &str,
        what: impl Into<String>,
        allowed: Allowed,
        damage: impl Fn(&mut Vec<u8>) + 'static,
    ) -> Case {
        let name = file.to_owned();
        Case::new(class, file, what, allowed, move |files| damage(files.get_mut(&name).unwrap()))
    }

    fn flip(class: &'static str, file: &str, allowed: Allowed, at: usize, what: &str) -> Case {
        Case::within(class, file, format!("{what}, byte {at}"), allowed, move |bytes| bytes[at] ^= 0x10)
    }

    fn remove(class: &'static str, file: &str, allowed: Allowed) -> Case {
        let name = file.to_owned();
        Case::new(class, file, "deleted", allowed, move |files| drop(files.remove(&name)))
    }
}

fn fill(bytes: &mut Vec<u8>, from: usize, with: &[u8]) {
    bytes.resize(bytes.len().max(from + with.len()), 0);
    bytes[from..from + with.len()].copy_from_slice(with);
}

fn segment_cases(class: &'static str, segment: &Layout, cases: &mut Vec<Case>) {
    use Allowed::{Harmless, Noticed, Refused, Window};
    let file = segment.info.file.as_str();
    let live = segment.info.state == "live";
    let must = if live { Refused } else { Noticed };
    for (at, what) in
        [(1, "header magic"), (8, "header version"), (33, "header salt"), (41, "header base"), (100, "header zeros")]
    {
        cases.push(Case::flip(class, file, must, at, what));
    }
    cases.push(Case::within(class, file, "header page zeroed", must, |bytes| bytes[..PAGE].fill(0)));
    cases.push(Case::remove(class, file, Refused));
    cases.push(Case::within(class, file, "truncated to zero", must, |bytes| bytes.clear()));
    cases.push(Case::within(class, file, "truncated at half", must, |bytes| bytes.truncate(bytes.len() / 2)));
    cases.push(Case::within(class, file, "garbage appended", Harmless, |bytes| bytes.extend(noise(3, 10_000))));
    if segment.frames.is_empty() {
        let garbage = |bytes: &mut Vec<u8>| fill(bytes, PAGE, &noise(4, 8 * PAGE));
        cases.push(Case::within(class, file, "garbage where frames will be", Harmless, garbage));
        return;
    }
    let first = &segment.frames[0];
    let at = first.file_offset as usize;
    let fields = [
        (0, "magic"),
        (2, "version"),
        (3, "kind"),
        (4, "length"),
        (9, "stamp"),
        (16, "distance"),
        (20, "previous"),
        (24, "body checksum"),
        (28, "header checksum"),
        (33, "body"),
    ];
    for (field, what) in fields {
        cases.push(Case::flip(class, file, must, at + field, &format!("first frame, {what}")));
    }
    let middle = segment.middle_records();
    let (at, bytes) = (middle.file_offset as usize, middle.bytes as usize);
    for (field, what) in
        [(4, "length"), (9, "stamp"), (32, "slot"), (36, "count"), (40, "offset"), (60, "body"), (bytes - 9, "body")]
    {
        cases.push(Case::flip(class, file, must, at + field, &format!("middle frame, {what}")));
    }
    let page = at / PAGE * PAGE;
    cases.push(Case::within(class, file, "middle page zeroed", must, move |bytes| bytes[page..page + PAGE].fill(0)));
    let garbage = move |bytes: &mut Vec<u8>| fill(bytes, page, &noise(5, PAGE));
    cases.push(Case::within(class, file, "middle page garbage", must, garbage));
    let swap = move |bytes: &mut Vec<u8>| {
        let (left, right) = bytes.split_at_mut(page + 3 * PAGE);
        left[page..page + PAGE].swap_with_slice(&mut right[..PAGE]);
    };
    cases.push(Case::within(class, file, "two pages swapped", must, swap));
    // A whole frame over another one: its stamp tells.
    let moved = move |all: &mut Vec<u8>| {
        let other = all[at..at + bytes].to_vec();
        fill(all, PAGE + 8 * 2000, &other);
    };
    cases.push(Case::within(class, file, "a frame written to a wrong place", must, moved));
    for frame in &segment.frames {
        if matches!(frame.kind, "withheld" | "publish" | "discard" | "catalog") {
            let at = frame.file_offset as usize;
            cases.push(Case::flip(class, file, must, at + frame.bytes as usize - 10, &format!("{} frame", frame.kind)));
        }
    }
    let last = segment.last_records();
    let at = last.file_offset as usize;
    cases.push(Case::flip(class, file, must, at + 8, "last records, header"));
    cases.push(Case::flip(class, file, must, at + 300, "last records, body"));
    // The last frame of all, a mark or the End frame: no record is in it.
    let end = segment.frames.last().unwrap();
    let tail = end.file_offset as usize;
    let only_tail = if live { Harmless } else { Noticed };
    cases.push(Case::flip(class, file, only_tail, tail + 9, &format!("last frame ({}), header", end.kind)));
    cases.push(Case::flip(class, file, only_tail, tail + 32, &format!("last frame ({}), body", end.kind)));
    let lost = |from: usize| -> usize {
        let behind = segment.frames.iter().filter(|frame| (frame.file_offset + frame.bytes) as usize > from);
        behind.filter_map(|frame| frame.count).sum::<u32>() as usize
    };
    let behind = segment.end();
    if live {
        let from = behind.next_multiple_of(PAGE);
        cases.push(Case::within(class, file, "garbage behind the end", Harmless, move |bytes| {
            fill(bytes, from, &noise(6, 5 * PAGE));
        }));
        cases.push(Case::within(class, file, "garbage right behind the last frame", Harmless, move |bytes| {
            fill(bytes, behind, &noise(7, 3 * PAGE));
        }));
        let zero = move |bytes: &mut Vec<u8>| bytes[at..].fill(0);
        cases.push(Case::within("the last frames", file, "all from the last records on", Window(lost(at)), zero));
        let garbage = move |bytes: &mut Vec<u8>| fill(bytes, at, &noise(8, behind - at));
        cases.push(Case::within(
            "the last frames",
            file,
            "garbage from the last records on",
            Window(lost(at)),
            garbage,
        ));
        let page = (behind - 1) / PAGE * PAGE;
        let zero = move |bytes: &mut Vec<u8>| bytes[page..page + PAGE].fill(0);
        cases.push(Case::within("the last frames", file, "last page zeroed", Window(lost(page)), zero));
    } else {
        let zero = move |bytes: &mut Vec<u8>| bytes[at..].fill(0);
        cases.push(Case::within(class, file, "all from the last records on", must, zero));
    }
}

fn manifest_cases(image: &Image, cases: &mut Vec<Case>) {
    let used = 32 + u32::from_le_bytes(image.files["manifest-a"][12..16].try_into().unwrap()) as usize;
    let places = [
        (0, "magic"),
        (8, "version"),
        (12, "length"),
        (16, "sequence"),
        (24, "checksum"),
        (28, "checksum"),
        (40, "body"),
        (used - 1, "body"),
    ];
    for name in ["manifest-a", "manifest-b"] {
        let class = "one manifest";
        for (at, what) in places {
            cases.push(Case::flip(class, name, Allowed::Harmless, at, what));
        }
        cases.push(Case::remove(class, name, Allowed::Harmless));
        cases.push(Case::within(class, name, "empty", Allowed::Harmless, |bytes| bytes.clear()));
        cases.push(Case::within(class, name, "cut", Allowed::Harmless, move |bytes| bytes.truncate(used / 2)));
        cases.push(Case::within(class, name, "garbage", Allowed::Harmless, |bytes| *bytes = noise(1, 5000)));
        let behind = move |bytes: &mut Vec<u8>| bytes.extend(noise(1, 5000));
        cases.push(Case::within(class, name, "garbage behind", Allowed::Harmless, behind));
    }
    let both = |what: &str, allowed, change: fn(&mut Vec<u8>)| {
        Case::new("both manifests", "manifest", what, allowed, move |files| {
            change(files.get_mut("manifest-a").unwrap());
            change(files.get_mut("manifest-b").unwrap());
        })
    };
    cases.push(both("magic", Allowed::Refused, |bytes| bytes[0] ^= 1));
    cases.push(both("sequence", Allowed::Refused, |bytes| bytes[16] ^= 1));
    cases.push(both("body", Allowed::Refused, |bytes| bytes[50] ^= 1));
    cases.push(both("empty", Allowed::Refused, |bytes| bytes.clear()));
    cases.push(both("cut", Allowed::Refused, |bytes| bytes.truncate(60)));
    cases.push(both("zeroed", Allowed::Refused, |bytes| bytes.fill(0)));
    cases.push(both("garbage", Allowed::Refused, |bytes| *bytes = noise(2, 4096)));
    cases.push(Case::new("both manifests", "manifest", "deleted", Allowed::Refused, |files| {
        files.retain(|name, _| !name.starts_with("manifest"));
    }));
}

fn sidecar_cases(image: &Image, segment: &Layout, other: &Layout, cases: &mut Vec<Case>) {
    let name = format!("{}.index", segment.info.file);
    let (class, allowed) = ("sidecar", Allowed::Harmless);
    let bytes = &image.files[&name];
    let entries = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let runs = 64 + entries * 56;
    let places = [
        (0, "magic"),
        (8, "version"),
        (12, "entries"),
        (16, "salt"),
        (24, "end"),
        (32, "checksum"),
        (64, "slot"),
        (68, "runs count"),
        (72, "first offset"),
        (96, "runs start"),
        (104, "runs bytes"),
        (108, "runs checksum"),
        (116, "entry checksum"),
        (64 + 56 + 9, "second entry"),
        (runs + 1, "runs"),
        (runs + 40, "runs"),
    ];
    for (at, what) in places {
        cases.push(Case::flip(class, &name, allowed, at, what));
    }
    cases.push(Case::remove(class, &name, allowed));
    cases.push(Case::within(class, &name, "empty", allowed, |bytes| bytes.clear()));
    cases.push(Case::within(class, &name, "cut at half", allowed, |bytes| bytes.truncate(bytes.len() / 2)));
    cases.push(Case::within(class, &name, "cut in the runs", allowed, move |bytes| bytes.truncate(runs + 5)));
    cases.push(Case::within(class, &name, "zeroed", allowed, |bytes| bytes.fill(0)));
    cases.push(Case::within(class, &name, "garbage", allowed, |bytes| *bytes = noise(9, 3000)));
    let (from, to) = (format!("{}.index", other.info.file), name.clone());
    cases.push(Case::new(class, &name, "of another segment", allowed, move |files| {
        let bytes = files[&from].clone();
        files.insert(to.clone(), bytes);
    }));
}

fn other_cases(image: &Image, cases: &mut Vec<Case>) {
    let allowed = Allowed::Harmless;
    cases.push(Case::remove("lock", "lock", allowed));
    cases.push(Case::within("lock", "lock", "empty", allowed, |bytes| bytes.clear()));
    cases.push(Case::within("lock", "lock", "garbage", allowed, |bytes| *bytes = noise(1, 9000)));
    for free in image.in_state("recycled").chain(image.in_state("raw")) {
        let file = free.info.file.as_str();
        cases.push(Case::remove("free segment", file, allowed));
        cases.push(Case::within("free segment", file, "garbage", allowed, |bytes| *bytes = noise(2, bytes.len())));
        cases.push(Case::within("free segment", file, "cut", allowed, |bytes| bytes.truncate(5000)));
    }
    // Damage in two files: a sidecar that is missing, of a segment that is damaged. Reads of it fail, and
    // writing goes on: a read that fails does not poison.
    let segment = image.in_state("sealed").next().unwrap();
    let (file, at) = (segment.info.file.clone(), segment.middle_records().file_offset as usize + 100);
    let sidecar = format!("{file}.index");
    cases.push(Case::new("segment and sidecar", &file.clone(), "frame, no sidecar", Allowed::Noticed, move |files| {
        files.remove(&sidecar);
        files.get_mut(&file).unwrap()[at] ^= 1;
    }));
}

/// What came of a case.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    refused: bool,
    /// Records that a read reported as damaged.
    damaged: usize,
    lost: usize,
}

fn names_it(case: &Case, error: &Error) -> Result<(), String> {
    let kind = matches!(
        error,
        Error::Damaged { .. } | Error::ForeignFormat { .. } | Error::UnsupportedVersion { .. } | Error::Io(_)
    );
    match kind && error.to_string().contains(&case.file) {
        true => Ok(()),
        false => Err(format!("the error does not name {}: {error}", case.file)),
    }
}

/// Reads a partition, past what is damaged; `Err` is a wrong value or something missing without a word.
fn read_partition(
    case: &Case,
    engine: &Engine,
    topic: &Topic,
    partition: u32,
    expected: &[Vec<u8>],
    wait: Duration,
) -> Result<Outcome, String> {
    let mut outcome = Outcome::default();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(topic, partition, Start::Beginning).map_err(|error| format!("assign: {error}"))?;
    let mut next = 0;
    while next < expected.len() || wait.is_zero() {
        match consumer.poll(wait) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => {
                for record in &records {
                    let place = format!("{} {partition} offset {}", topic.name(), record.offset());
                    if record.offset() != next as u64 {
                        return Err(format!("{place} came instead of {next}"));
                    }
                    match expected.get(next) {
                        Some(value) if record.value() == Some(&value[..]) => next += 1,
                        Some(_) => return Err(format!("{place} has a wrong value")),
                        None => return Err(format!("{place} was never acknowledged")),
                    }
                }
            }
            Err(error) => {
                names_it(case, &error)?;
                if consumer.position(topic, partition) != Some(next as u64) || next >= expected.len() {
                    return Err(format!("{} {partition}: an error elsewhere than at {next}: {error}", topic.name()));
                }
                outcome.damaged += 1;
                next += 1;
                consumer
                    .seek(topic, partition, Start::Offset(next as u64))
                    .map_err(|error| format!("seek: {error}"))?;
            }
        }
    }
    outcome.lost = expected.len() - next;
    Ok(outcome)
}

fn read_all(case: &Case, engine: &Engine, acknowledged: &Acknowledged) -> Result<Outcome, String> {
    let mut sum = Outcome::default();
    if !matches!(engine.topic("gone"), Err(Error::UnknownTopic { .. })) {
        return Err("the deleted topic is there again".to_owned());
    }
    for ((topic, partition), expected) in &acknowledged.values {
        let topic = engine.topic(topic).map_err(|error| format!("topic: {error}"))?;
        let outcome = read_partition(case, engine, &topic, *partition, expected, Duration::ZERO)?;
        sum.damaged += outcome.damaged;
        sum.lost += outcome.lost;
    }
    Ok(sum)
}

/// What was withheld is there: it is published now, and read.
fn publish_withheld(case: &Case, engine: &Engine, acknowledged: &Acknowledged) -> Result<Outcome, String> {
    for id in &acknowledged.cancelled {
        let result = engine.publish_withheld(*id, &[]);
        if result != Err(Error::NotWithheld) {
            return Err(format!("the cancelled {id:?} is there again: {result:?}"));
        }
    }
    let mut expected = acknowledged.values[&("later", 0)].clone();
    for (id, value) in &acknowledged.withheld {
        engine.publish_withheld(*id, &[]).map_err(|error| format!("publish {id:?}: {error}"))?;
        expected.push(value.clone());
    }
    let later = engine.topic("later").unwrap();
    read_partition(case, engine, &later, 0, &expected, Duration::from_secs(5))
}

fn run(case: &Case, image: &Image, acknowledged: &Acknowledged) -> Result<Outcome, String> {
    let mut files = image.files.clone();
    (case.damage)(&mut files);
    let directory = write(&files);
    let path = directory.path();
    let verified = verify(path, &mut |_| {});
    let found = verified.as_ref().map_or(true, VerifyReport::is_damaged);
    let mut outcome = Outcome::default();
    match Engine::open(path, options()) {
        Err(error) => {
            names_it(case, &error)?;
            outcome.refused = true;
        }
        Ok(engine) => {
            outcome = read_all(case, &engine, acknowledged)?;
            let published = publish_withheld(case, &engine, acknowledged)?;
            outcome.damaged += published.damaged;
            // What `later` lost in the first reading would move the others.
            outcome.lost = outcome.lost.max(published.lost);
            if let Some(poisoned) = engine.stats().poisoned {
                return Err(format!("poisoned: {poisoned}"));
            }
            engine.close().map_err(|error| format!("close: {error}"))?;
        }
    }
    let problem = match case.allowed {
        Allowed::Noticed | Allowed::Refused if outcome.lost > 0 => Some("records are missing without a word"),
        Allowed::Refused if !outcome.refused => Some("it was not refused"),
        Allowed::Harmless if outcome.refused || outcome.damaged + outcome.lost > 0 => Some("not everything is there"),
        Allowed::Harmless if found => Some("verify calls it damage"),
        Allowed::Window(bound) if outcome.lost > bound => Some("more is missing than was damaged"),
        _ if (outcome.refused || outcome.damaged > 0) && !found => Some("verify found no damage"),
        _ => None,
    };
    match problem {
        Some(problem) => Err(format!("{problem}: {outcome:?}, verify: {verified:?}")),
        None => Ok(outcome),
    }
}

#[derive(Default)]
struct Row {
    cases: usize,
    refused: usize,
    read_error: usize,
    recovered: usize,
    window: usize,
    records: usize,
}

fn sweep(image: &Image, cases: &[Case]) {
    let began = Instant::now();
    let mut table: BTreeMap<&str, Row> = BTreeMap::new();
    let mut failures = String::new();
    let mut failed = 0;
    for case in cases {
        let outcome =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| run(case, image, &built().acknowledged)))
                .unwrap_or_else(|_| Err("a panic".to_owned()));
        let row = table.entry(case.class).or_default();
        row.cases += 1;
        match outcome {
            Err(failure) => {
                failed += 1;
                let (class, file, what) = (case.class, &case.file, &case.what);
                writeln!(failures, "  {class}, {file}, {what} ({:?}): {failure}", case.allowed).unwrap();
            }
            Ok(Outcome { refused: true, .. }) => row.refused += 1,
            Ok(Outcome { lost: lost @ 1.., .. }) => {
                row.window += 1;
                row.records += lost;
            }
            Ok(Outcome { damaged: 1.., .. }) => row.read_error += 1,
            Ok(_) => row.recovered += 1,
        }
    }
    let mut text = format!("\n{} image, {} cases in {:.1?}\n", image.name, cases.len(), began.elapsed());
    writeln!(text, "{:<20} {:>5} {:>7} {:>10} {:>9}  window", "class", "cases", "refused", "read error", "recovered")
        .unwrap();
    for (class, row) in table {
        let Row { cases, refused, read_error, recovered, window, records } = row;
        write!(text, "{class:<20} {cases:>5} {refused:>7} {read_error:>10} {recovered:>9}").unwrap();
        writeln!(text, "  {window} cases, {records} records").unwrap();
    }
    println!("{text}");
    assert_eq!(failed, 0, "of {}:\n{failures}", cases.len());
}

/// Segments that opening reads, the prepared one, and the small files.
fn live_cases(image: &Image) -> Vec<Case> {
    let mut cases = Vec::new();
    segment_cases("live segment", image.written(), &mut cases);
    if let Some(prepared) = image.in_state("live").find(|segment| segment.frames.is_empty()) {
        segment_cases("prepared segment", prepared, &mut cases);
    }
    other_cases(image, &mut cases);
    cases
}

#[test]
fn damage_to_the_live_end_of_an_unclean_log() {
    let image = &built().unclean;
    sweep(image, &live_cases(image));
}

#[test]
fn damage_to_the_live_end_of_a_clean_log() {
    let image = &built().clean;
    sweep(image, &live_cases(image));
}

#[test]
fn damage_to_sealed_segments() {
    let image = &built().unclean;
    let sealed: Vec<_> = image.in_state("sealed").collect();
    let mut cases = Vec::new();
    segment_cases("oldest segment", sealed[0], &mut cases);
    segment_cases("newest sealed", sealed[sealed.len() - 1], &mut cases);
    sweep(image, &cases);
}

#[test]
fn damage_to_manifests_and_sidecars() {
    let image = &built().unclean;
    let sealed: Vec<_> = image.in_state("sealed").collect();
    let mut cases = Vec::new();
    manifest_cases(image, &mut cases);
    sidecar_cases(image, sealed[0], sealed[1], &mut cases);
    sweep(image, &cases);
}

/// CRC32C, bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

fn changed(image: &Image, change: impl FnOnce(&mut Files)) -> TempDir {
    let mut files = image.files.clone();
    change(&mut files);
    write(&files)
}

fn open(directory: &TempDir) -> Result<Engine> {
    Engine::open(directory.path(), options())
}

#[track_caller]
fn check_all(engine: &Engine) {
    for ((topic, partition), expected) in &built().acknowledged.values {
        let read = read_from(engine, &engine.topic(topic).unwrap(), *partition, Start::Beginning);
        let expected: Vec<_> = expected.iter().cloned().enumerate().map(|(at, value)| (at as u64, value)).collect();
        assert!(read == expected, "{topic} {partition}: {} of {} records", read.len(), expected.len());
    }
}

fn images() -> [&'static Image; 2] {
    [&built().unclean, &built().clean]
}

#[test]
fn undamaged_copies_are_whole() {
    for image in images() {
        let directory = write(&image.files);
        let report = verify(directory.path(), &mut |_| {}).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
        let engine = open(&directory).unwrap();
        assert_eq!((engine.recovery().clean, engine.recovery().torn_bytes), (image.name == "clean", 0));
        check_all(&engine);
        engine.close().unwrap();
    }
}

#[test]
fn a_damaged_frame_in_the_middle_is_damage_at_its_place() {
    for image in images() {
        let segment = image.written();
        let (file, frame) = (segment.info.file.clone(), segment.middle_records());
        let damaged = changed(image, |files| files.get_mut(&file).unwrap()[frame.file_offset as usize + 90] ^= 4);
        let before = image_of(&damaged);
        match open(&damaged).unwrap_err() {
            Error::Damaged { file: named, position, file_offset, bytes, reason } => {
                assert_eq!((named, position, file_offset), (file, frame.position, frame.file_offset));
                assert!(bytes >= frame.bytes && reason.contains("was durable"), "{bytes} bytes: {reason}");
            }
            other => panic!("{other}"),
        }
        assert!(before == image_of(&damaged), "a refused opening changes nothing");
    }
}

/// All files but the lock.
fn image_of(directory: &TempDir) -> Files {
    let mut files = image("", directory.path()).files;
    files.remove("lock");
    files
}

#[test]
fn a_missing_or_cut_segment_is_damage() {
    for image in images() {
        for segment in &image.segments {
            let file = &segment.info.file;
            if !matches!(segment.info.state, "live" | "sealed") {
                continue;
            }
            let missing = changed(image, |files| drop(files.remove(file)));
            let error = open(&missing).unwrap_err();
            assert!(matches!(&error, Error::Damaged { file: named, .. } if named == file), "{error}");
        }
        let file = &image.written().info.file;
        let cut = changed(image, |files| files.get_mut(file).unwrap().truncate(300_000));
        match open(&cut).unwrap_err() {
            Error::Damaged { file: named, file_offset, .. } => assert_eq!((&named, file_offset), (file, 300_000)),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn garbage_behind_the_end_is_cut() {
    for image in images() {
        let segment = image.written();
        let from = segment.end();
        let tail = changed(image, |files| {
            fill(files.get_mut(&segment.info.file).unwrap(), from, &noise(11, 100_000));
        });
        let engine = open(&tail).unwrap();
        check_all(&engine);
        engine.close().unwrap();
        let engine = open(&tail).unwrap();
        assert!(engine.recovery().clean);
        check_all(&engine);
        engine.close().unwrap();
    }
}

#[test]
fn one_manifest_is_mended_and_none_is_damage() {
    for image in images() {
        for name in ["manifest-a", "manifest-b"] {
            let one = changed(image, |files| files.get_mut(name).unwrap()[45] ^= 1);
            let engine = open(&one).unwrap();
            let mended = engine.recovery().manifest_copy_mended.clone();
            assert!(mended.as_ref().is_some_and(|words| words.contains(name)), "{mended:?}");
            check_all(&engine);
            engine.close().unwrap();
            let engine = open(&one).unwrap();
            assert_eq!((&engine.recovery().manifest_copy_mended, engine.recovery().clean), (&None, true));
            check_all(&engine);
            engine.close().unwrap();
        }
        let both = changed(image, |files| {
            files.get_mut("manifest-a").unwrap()[45] ^= 1;
            files.get_mut("manifest-b").unwrap()[45] ^= 1;
        });
        let error = open(&both).unwrap_err();
        assert!(matches!(&error, Error::Damaged { file, .. } if file.contains("manifest-a")), "{error}");
        assert!(verify(both.path(), &mut |_| {}).is_err());
    }
}

#[test]
fn sidecars_that_are_missing_or_damaged_are_made_again() {
    let image = &built().unclean;
    let missing = changed(image, |files| files.retain(|name, _| !name.ends_with(".index")));
    let damaged = changed(image, |files| {
        for (_, bytes) in files.iter_mut().filter(|(name, _)| name.ends_with(".index")) {
            let middle = bytes.len() / 2;
            bytes[middle..].fill(0xA5);
        }
    });
    for directory in [missing, damaged] {
        let engine = open(&directory).unwrap();
        check_all(&engine);
        engine.close().unwrap();
        let report = verify(directory.path(), &mut |_| {}).unwrap();
        assert!(report.findings.is_empty(), "{report:?}");
    }
}

#[test]
fn a_newer_format_is_not_damage() {
    let image = &built().clean;
    let segment = image.written();
    let file = segment.info.file.clone();
    let manifest = changed(image, |files| {
        for name in ["manifest-a", "manifest-b"] {
            let bytes = files.get_mut(name).unwrap();
            assert_eq!(crc32c(&bytes[..28]).to_le_bytes(), bytes[28..32]);
            bytes[8] = 2;
            let checksum = crc32c(&bytes[..28]).to_le_bytes();
            bytes[28..32].copy_from_slice(&checksum);
        }
    });
    let header = changed(image, |files| {
        let bytes = files.get_mut(&file).unwrap();
        assert_eq!(crc32c(&bytes[..64]).to_le_bytes(), bytes[64..68]);
        bytes[8] = 2;
        let checksum = crc32c(&bytes[..64]).to_le_bytes();
        bytes[64..68].copy_from_slice(&checksum);
    });
    // The very last frame: as damage it would be a torn tail.
    let frame = changed(image, |files| {
        let at = segment.frames.last().unwrap().file_offset as usize;
        let header = &mut files.get_mut(&file).unwrap()[at..at + 32];
        let checksum = |header: &[u8]| {
            let mut bytes = segment.info.log.to_le_bytes().to_vec();
            bytes.extend(segment.info.generation.to_le_bytes());
            bytes.extend(&header[..28]);
            bytes.extend([0; 4]);
            crc32c(&bytes).to_le_bytes()
        };
        assert_eq!(checksum(header), header[28..32]);
        header[2] = 2;
        let new = checksum(header);
        header[28..32].copy_from_slice(&new);
    });
    for (directory, name) in [(manifest, "manifest-a"), (header, &file), (frame, &file)] {
        let error = open(&directory).unwrap_err();
        let Error::UnsupportedVersion { file, found: 2, supported: 1 } = &error else { panic!("{name}: {error}") };
        assert_eq!(file, name);
        assert!(verify(directory.path(), &mut |_| {}).map_or(true, |report| report.is_damaged()));
    }
}
