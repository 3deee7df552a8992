//! A small log that the fuzzer's bytes have changed, or any bytes in its place: verified, looked into, opened, read,
//! written to, closed, verified again.
//!
//! Promises:
//! - Nothing panics, hangs, or takes memory without bound; whatever is refused is refused with an error.
//! - Where checksums were left wrong: what opening or a read reports, `verify` has found before; and a
//!   directory in which it found no damage opens, reads without an error, from outside too, and is without damage when
//!   closed.
//! - Where checksums were made right, the bytes are a lie and not damage. Any error may come, no panic.

use super::mutation::{self, Input};
use super::packed::{Files, unpack};
use ringlane::{
    Backend, ConsumerOptions, Engine, Options, ProducerOptions, Record, Recovery, Start, Topic, WriteStrategy, inspect,
    inspect_frames, verify,
};
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

/// A log of a sealed segment and a live one: while its engine was open, and after it was closed.
static IMAGES: LazyLock<[Files; 2]> =
    LazyLock::new(|| [unpack(include_bytes!("open.log")), unpack(include_bytes!("closed.log"))]);

/// Errors after which a reader goes on to the next record; a lie may make a partition look endless.
const ERRORS_MAX: usize = 64;
/// Polls of one partition. The images have fewer records.
const POLLS_MAX: usize = 4096;

/// The logs that are changed.
pub fn images() -> &'static [Files; 2] {
    &IMAGES
}

/// Small, and without measuring the disk; what the images were made with.
pub fn options() -> Options {
    Options::new()
        .create(false)
        .backend(Backend::PlainBuffered)
        .write_strategy(Some(WriteStrategy::Blocking))
        .segment_bytes_first(1 << 20)
        .segment_bytes_max(1 << 20)
        .record_bytes_max(128 << 10)
        .tail_cache_bytes(4 << 20)
        .index_cache_bytes(1 << 20)
        .segments_prepared(1)
        .lane_nice(0)
        .pin_lanes(false)
}

/// See the module. The first byte chooses the image, whether checksums are made right, and how it is opened.
pub fn directory(bytes: &[u8]) {
    let mut input = Input(bytes);
    let how = input.byte();
    let mut files = IMAGES[usize::from(how & 1)].clone();
    let lies = how & 2 != 0;
    let salvage = how & 4 != 0;
    for name in mutation::mutate(&mut files, &mut input) {
        if lies && let Some(bytes) = files.get_mut(&name) {
            mutation::mend(&name, bytes);
        }
    }
    let directory = write_files(&files);
    let path = directory.path();
    let before = damage_in(path);
    look_into(path, &files);
    let outside = match Engine::open_read_only(path, options()) {
        Err(error) => Some(format!("refused from outside: {error}")),
        Ok(engine) => read_all(&engine).map(|error| format!("from outside: {error}")),
    };
    let opened = Engine::open(path, if salvage { options().recovery(Recovery::Salvage) } else { options() });
    let reported = match opened {
        Err(error) => Some(format!("refused: {error}")),
        Ok(engine) => {
            let reported = read_all(&engine).or_else(|| if salvage { None } else { write_to(&engine) });
            let closed = engine.close();
            let poisoned = engine.stats().poisoned.unwrap_or_default();
            assert!(!poisoned.contains("a bug in Ringlane"), "a lane panicked: {poisoned}");
            reported.or_else(|| closed.err().map(|error| format!("close: {error}")))
        }
    };
    if lies {
        return;
    }
    match (&before, &reported) {
        (None, Some(reported)) => panic!("verify finds no damage, but: {reported}"),
        (None, None) if outside.is_some() => panic!("verify finds no damage, but: {outside:?}"),
        (None, None) if !salvage => {
            let after = damage_in(path);
            assert_eq!(after, None, "no damage before, and some after");
        }
        _ => {}
    }
}

/// What `verify` calls damage, or why it refuses the directory.
fn damage_in(path: &Path) -> Option<String> {
    match verify(path, &mut |_| {}) {
        Err(error) => Some(error.to_string()),
        Ok(report) => report.is_damaged().then(|| format!("{:?}", report.findings)),
    }
}

fn look_into(path: &Path, files: &Files) {
    let _ = inspect(path);
    for name in files.keys().filter(|name| name.starts_with("segment")) {
        let mut frames = 0;
        let _ = inspect_frames(path, name, &mut |_| {
            frames += 1;
            assert!(frames < 1 << 18, "a segment has no more frames than bytes");
            true
        });
    }
}

/// Reads every partition; gives the first error.
fn read_all(engine: &Engine) -> Option<String> {
    let mut first = None;
    for topic in engine.topics() {
        for partition in 0..topic.partitions().min(16) {
            first = read_partition(engine, &topic, partition).err().or(first);
        }
    }
    first
}

fn read_partition(engine: &Engine, topic: &Topic, partition: u32) -> Result<(), String> {
    let told = |error: ringlane::Error| format!("{} {partition}: {error}", topic.name());
    let mut consumer = engine.consumer(ConsumerOptions::new()).map_err(told)?;
    consumer.assign(topic, partition, Start::Beginning).map_err(told)?;
    let mut first = Ok(());
    let mut errors = 0;
    for polls in 0.. {
        assert!(polls < POLLS_MAX, "reading does not end");
        match consumer.poll(Duration::ZERO) {
            Ok(records) if records.is_empty() => break,
            Ok(records) => records.iter().for_each(|record| {
                std::hint::black_box((record.offset(), record.value().map(<[u8]>::len), record.headers().count()));
            }),
            Err(error) => {
                first = first.and_then(|()| Err(told(error)));
                errors += 1;
                let next = consumer.position(topic, partition).unwrap_or(0).checked_add(1);
                let sought = next.map(|next| consumer.seek(topic, partition, Start::Offset(next)));
                if errors == ERRORS_MAX || !matches!(sought, Some(Ok(()))) {
                    break;
                }
            }
        }
    }
    first
}

/// The log goes on.
fn write_to(engine: &Engine) -> Option<String> {
    let topic = engine.topics().into_iter().next()?;
    let producer = engine.producer(ProducerOptions::new()).ok()?;
    let sent = producer.send(&topic, Record::new(b"once more").partition(0));
    sent.and_then(ringlane::SendHandle::wait).err().map(|error| format!("send: {error}"))
}

/// Writes files into a new directory; stretches of zeros stay holes, which makes it quick.
fn write_files(files: &Files) -> tempfile::TempDir {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    for (name, bytes) in files {
        let file = std::fs::File::create(directory.path().join(name)).expect("a new file");
        file.set_len(bytes.len() as u64).expect("its length");
        for (at, page) in bytes.chunks(4096).enumerate() {
            if page.iter().any(|byte| *byte != 0) {
                file.write_all_at(page, at as u64 * 4096).expect("room for it");
            }
        }
    }
    directory
}
