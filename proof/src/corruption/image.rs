//! A small log, kept in memory twice: as it lies on the disk while the engine is open and idle
//! (`unclean`), and after closing (`clean`); with what stands where in it, and what was acknowledged.
//!
//! It has two topics and a deleted one, several sealed segments with their indexes, withheld, published
//! and cancelled records, prepared segments, and an idle mark at its end. It began with two lanes and goes on with
//! one, so some of its segments are of logs that nobody writes any more.

use super::{Told, told};
use ringlane::inspect::{FrameInfo, SegmentInfo};
use ringlane::{
    Backend, ConsumerOptions, Engine, Options, Producer, ProducerOptions, Record, RecordId, Start, Topic, TopicOptions,
    inspect, inspect_frames,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(super) const PAGE: usize = 4096;
/// From this round on the log has one lane.
const ROUND_OF_THE_CHANGE: u32 = 80;
/// How long the log may take to come to rest. It tells a hang from a slow machine.
const REST: Duration = Duration::from_secs(30);

/// The files of a directory by name.
pub type Files = BTreeMap<String, Vec<u8>>;

/// A directory at one moment, and what stands where in it.
pub struct Image {
    /// `unclean` or `clean`.
    pub name: &'static str,
    /// All files.
    pub files: Files,
    /// Its segments.
    pub segments: Vec<Layout>,
}

/// A segment and its frames.
pub struct Layout {
    /// What the manifest says of it.
    pub info: SegmentInfo,
    /// Its frames.
    pub frames: Vec<FrameInfo>,
}

impl Layout {
    /// Behind its last frame.
    pub fn end(&self) -> usize {
        self.frames.last().map_or(PAGE, |last| (last.file_offset + last.bytes) as usize)
    }

    /// Its last frame with records.
    pub fn last_records(&self) -> &FrameInfo {
        self.frames.iter().rfind(|frame| frame.kind == "records").expect("it has records")
    }

    /// A frame with records in its middle.
    pub fn middle_records(&self) -> &FrameInfo {
        let from = self.end() as u64 / 2;
        self.frames.iter().find(|frame| frame.kind == "records" && frame.file_offset > from).expect("it has many")
    }
}

impl Image {
    /// Segments in a state.
    pub fn in_state(&self, state: &str) -> impl Iterator<Item = &Layout> {
        self.segments.iter().filter(move |segment| segment.info.state == state)
    }

    /// The live segment that was written last.
    pub fn written(&self) -> &Layout {
        self.in_state("live").filter(|segment| !segment.frames.is_empty()).last().expect("the log has one")
    }
}

/// Everything that was acknowledged.
#[derive(Default)]
pub struct Acknowledged {
    /// By topic and partition, in the order of offsets.
    pub values: BTreeMap<(&'static str, u32), Vec<Vec<u8>>>,
    /// Delayed for an hour: they go to `later`.
    pub withheld: Vec<(RecordId, Vec<u8>)>,
    /// Cancelled for ever.
    pub cancelled: Vec<RecordId>,
}

/// The log in both states.
pub struct Built {
    /// What must be there.
    pub acknowledged: Acknowledged,
    /// While the engine was open.
    pub unclean: Image,
    /// After it was closed.
    pub clean: Image,
}

/// Bytes that mean nothing.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
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

/// The options that the log was made with: small caches and segments, so that it reaches rolls, indexes
/// and cold reads quickly.
pub fn options(backend: Backend) -> Options {
    Options::new()
        .backend(backend)
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(256 << 10)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
}

impl Built {
    /// Makes the log in a directory below `scratch`.
    ///
    /// # Errors
    /// The engine's, in words.
    pub fn new(scratch: &Path, backend: Backend) -> Told<Built> {
        let directory = tempfile::tempdir_in(scratch).map_err(|error| format!("{}: {error}", scratch.display()))?;
        build(directory.path(), backend)
    }

    /// Both states.
    pub fn images(&self) -> [&Image; 2] {
        [&self.unclean, &self.clean]
    }
}

/// What is being made.
struct Maker {
    engine: Engine,
    producer: Producer,
    orders: Topic,
    later: Topic,
    gone: Topic,
    acknowledged: Acknowledged,
    /// The next value.
    number: u64,
    /// Records that are delayed for a moment only.
    soon: usize,
}

fn build(path: &Path, backend: Backend) -> Told<Built> {
    let engine = told("open", Engine::open(path, options(backend).lanes(Some(2))))?;
    let create = |name, partitions| told(name, engine.create_topic(name, TopicOptions::new().partitions(partitions)));
    let (orders, later, gone) = (create("orders", 2)?, create("later", 1)?, create("gone", 1)?);
    let producer = told("producer", engine.producer(ProducerOptions::new()))?;
    let acknowledged = Acknowledged::default();
    let mut maker = Maker { engine, producer, orders, later, gone, acknowledged, number: 0, soon: 0 };
    for round in 0..240 {
        if round == ROUND_OF_THE_CHANGE {
            maker.go_on_with_one_lane(path, backend)?;
        }
        maker.send_a_batch(round % 2)?;
        maker.do_something_else(round)?;
    }
    maker.wait_until_sealed(path)?;
    // One more group, so that the last frames are records and the idle mark.
    let last = value(maker.number);
    told(
        "send",
        maker.producer.send(&maker.orders, Record::new(&last).partition(0)).and_then(ringlane::SendHandle::wait),
    )?;
    maker.acknowledged.values.entry(("orders", 0)).or_default().push(last);
    told("sync", maker.engine.sync())?;
    let unclean = wait_for(|| {
        std::thread::sleep(Duration::from_millis(60));
        let image = Image::of("unclean", path)?;
        let at_rest = image.written().frames.last().is_some_and(|last| last.kind == "mark");
        Ok(at_rest.then_some(image))
    })?;
    told("close", maker.engine.close())?;
    Ok(Built { acknowledged: maker.acknowledged, unclean, clean: Image::of("clean", path)? })
}

/// Waits until there is something.
fn wait_for<T>(mut look: impl FnMut() -> Told<Option<T>>) -> Told<T> {
    let deadline = Instant::now() + REST;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            return Err("the log does not come to rest".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Maker {
    fn go_on_with_one_lane(&mut self, path: &Path, backend: Backend) -> Told<()> {
        told("close", self.engine.close())?;
        let engine = told("open with one lane", Engine::open(path, options(backend).lanes(Some(1))))?;
        self.producer = told("producer", engine.producer(ProducerOptions::new()))?;
        let topic = |name| told(name, engine.topic(name));
        (self.orders, self.later, self.gone) = (topic("orders")?, topic("later")?, topic("gone")?);
        self.engine = engine;
        Ok(())
    }

    fn send_a_batch(&mut self, partition: u32) -> Told<()> {
        let values: Vec<Vec<u8>> = (0..7).map(|at| value(self.number + at)).collect();
        self.number += 7;
        let records: Vec<_> = values.iter().map(|value| Record::new(value).partition(partition)).collect();
        let sent = self.producer.send_batch(&self.orders, &records).and_then(ringlane::BatchHandle::wait);
        let list = self.acknowledged.values.entry(("orders", partition)).or_default();
        for (receipt, value) in told("send", sent)?.iter().zip(values) {
            assert_eq!((receipt.partition, receipt.offset), (partition, Some(list.len() as u64)));
            list.push(value);
        }
        Ok(())
    }

    fn send_delayed(&mut self, after: Duration) -> Told<(RecordId, Vec<u8>)> {
        let value = value(self.number);
        self.number += 1;
        let record = Record::new(&value).visible_after(after);
        let receipt = told("send", self.producer.send(&self.later, record).and_then(ringlane::SendHandle::wait))?;
        Ok((receipt.id, value))
    }

    fn do_something_else(&mut self, round: u32) -> Told<()> {
        let hour = Duration::from_secs(3600);
        match round {
            5 | 100 | 235 => {
                let withheld = self.send_delayed(hour)?;
                self.acknowledged.withheld.push(withheld);
                let (cancelled, _) = self.send_delayed(hour)?;
                told("cancel", self.producer.cancel(cancelled))?;
                self.acknowledged.cancelled.push(cancelled);
            }
            20 | 120 | 230 => {
                self.send_delayed(Duration::from_millis(2))?;
                self.soon += 1;
            }
            10 | 11 => {
                let sent = self.producer.send(&self.gone, Record::new(&value(0)));
                told("send", sent.and_then(ringlane::SendHandle::wait))?;
            }
            90 => told("delete", self.engine.delete_topic("gone"))?,
            _ => {}
        }
        Ok(())
    }

    /// What is due is published, and two segments are sealed and have their index.
    fn wait_until_sealed(&mut self, path: &Path) -> Told<()> {
        let published = wait_for(|| {
            let read = told("read", values(&self.engine, &self.later, 0))?;
            let segments = told("inspect", inspect(path))?.segments;
            let sealed = segments.iter().filter(|segment| segment.state == "sealed");
            let indexed = sealed.filter(|segment| path.join(format!("{}.index", segment.file)).exists()).count();
            Ok((read.len() == self.soon && indexed >= 2).then_some(read))
        })?;
        self.acknowledged.values.insert(("later", 0), published);
        Ok(())
    }
}

/// All values of a partition.
///
/// # Errors
/// The engine's.
pub fn values(engine: &Engine, topic: &Topic, partition: u32) -> ringlane::Result<Vec<Vec<u8>>> {
    let mut consumer = engine.consumer(ConsumerOptions::new())?;
    consumer.assign(topic, partition, Start::Beginning)?;
    let mut all = Vec::new();
    loop {
        let records = consumer.poll(Duration::ZERO)?;
        if records.is_empty() {
            return Ok(all);
        }
        all.extend(records.iter().map(|record| record.value().unwrap_or_default().to_vec()));
    }
}

/// Reads the files of a directory.
///
/// # Errors
/// The file system's, in words.
pub fn read_files(path: &Path) -> Told<Files> {
    let mut files = Files::new();
    for entry in told("list", std::fs::read_dir(path))? {
        let entry = told("list", entry)?;
        if told("look at", entry.file_type())?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, told("read", std::fs::read(entry.path()))?);
        }
    }
    Ok(files)
}

/// Writes files into a new directory below `scratch`.
///
/// # Errors
/// The file system's, in words.
pub fn write_files(scratch: &Path, files: &Files) -> Told<TempDir> {
    let directory = told("make a directory", tempfile::tempdir_in(scratch))?;
    for (name, bytes) in files {
        told("write", std::fs::write(directory.path().join(name), bytes))?;
    }
    Ok(directory)
}

impl Image {
    fn of(name: &'static str, path: &Path) -> Told<Image> {
        let files = read_files(path)?;
        let mut segments = Vec::new();
        for info in told("inspect", inspect(path))?.segments {
            let mut frames = Vec::new();
            if matches!(info.state, "live" | "sealed") {
                let whole = inspect_frames(path, &info.file, &mut |frame| {
                    let whole = frame.problem.is_none();
                    frames.extend(whole.then_some(frame));
                    whole
                });
                told("inspect", whole)?;
            }
            segments.push(Layout { info, frames });
        }
        Ok(Image { name, files, segments })
    }
}
