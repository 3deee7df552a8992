//! Files of a newer format, crafted with right checksums: refused as such, never taken for damage or for a
//! torn tail, and never written over.

use crate::common::{assert_says, directory, small};
use crate::directories::contents;
use ringlane::*;
use std::fs;
use std::path::Path;

/// A closed engine with a topic and some records, in one segment.
fn closed_engine() -> tempfile::TempDir {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    for _ in 0..10 {
        producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
    }
    engine.close().unwrap();
    directory
}

/// The segment that holds frames.
fn live_segment(path: &Path) -> inspect::SegmentInfo {
    let segments = ringlane::inspect(path).unwrap().segments;
    let has_frames = |file: &str| {
        let mut frames = 0;
        inspect_frames(path, file, &mut |frame| {
            frames += usize::from(frame.problem.is_none());
            true
        })
        .unwrap();
        frames > 0
    };
    segments.into_iter().find(|segment| segment.state == "live" && has_frames(&segment.file)).unwrap()
}

fn edit(path: &Path, file: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path.join(file)).unwrap();
    change(&mut bytes);
    fs::write(path.join(file), bytes).unwrap();
}

fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Every way in says the same, and nothing was changed but the lock file.
fn assert_refused(path: &Path, file: &str) {
    let without_lock = || {
        let mut files = contents(path);
        files.remove("lock");
        files
    };
    let before = without_lock();
    let words = [file, "format version 2", "reads 1", "use a newer library"];
    assert_says(&Engine::open(path, small()).unwrap_err(), "unsupported-version", &words);
    let salvage = Engine::open(path, small().recovery(Recovery::Salvage)).unwrap_err();
    assert_says(&salvage, "unsupported-version", &words);
    assert_eq!(before, without_lock(), "the files of a newer version were changed");
}

#[test]
fn a_newer_manifest() {
    let directory = closed_engine();
    for file in ["manifest-a", "manifest-b"] {
        edit(directory.path(), file, |bytes| {
            put_u32(bytes, 8, 2);
            let checksum = crc32c::crc32c(&bytes[..28]);
            put_u32(bytes, 28, checksum);
        });
    }
    assert_refused(directory.path(), "manifest-a");
    let error = verify(directory.path(), &mut |_| {}).unwrap_err();
    assert_says(&error, "unsupported-version", &["manifest-a"]);
    assert_says(&inspect(directory.path()).unwrap_err(), "unsupported-version", &["manifest-a"]);
}

#[test]
fn a_newer_segment() {
    let directory = closed_engine();
    let file = live_segment(directory.path()).file;
    edit(directory.path(), &file, |bytes| {
        put_u32(bytes, 8, 2);
        let checksum = crc32c::crc32c(&bytes[..64]);
        put_u32(bytes, 64, checksum);
    });
    assert_refused(directory.path(), &file);
    let report = verify(directory.path(), &mut |_| {}).unwrap();
    assert!(report.findings.iter().any(|finding| finding.what.contains("format version 2")), "{report:?}");
    assert!(report.is_damaged());
}

/// A segment whose first frame was of a newer version was taken for one that nothing was ever written to:
/// the engine opened empty, and used the file again.
#[test]
fn a_newer_frame_at_any_place() {
    let directory = closed_engine();
    let path = directory.path();
    let segment = live_segment(path);
    let mut frames = Vec::new();
    inspect_frames(path, &segment.file, &mut |frame| {
        frames.extend(frame.problem.is_none().then_some(frame));
        true
    })
    .unwrap();
    let salt = u64::from_str_radix(&segment.salt, 16).unwrap();
    let original = fs::read(path.join(&segment.file)).unwrap();
    for at in [0, 1, frames.len() / 2, frames.len() - 1] {
        let frame = &frames[at];
        edit(path, &segment.file, |bytes| {
            let seed = crc32c::crc32c(&[segment.log.to_le_bytes(), segment.generation.to_le_bytes()].concat());
            let start = frame.file_offset as usize;
            let header_bytes = if frame.kind == "records" { 72 } else { 32 };
            let header = &mut bytes[start..start + header_bytes];
            assert_eq!(header[8..16], salt.wrapping_add(frame.position).to_le_bytes());
            header[2] = 2;
            put_u32(header, 28, 0);
            let checksum = crc32c::crc32c_append(seed, header);
            put_u32(header, 28, checksum);
        });
        assert_refused(path, &segment.file);
        let report = verify(path, &mut |_| {});
        let noticed = match &report {
            Ok(report) => report.findings.iter().any(|finding| finding.what.contains("version is 2")),
            Err(error) => error.code() == "unsupported-version",
        };
        assert!(noticed, "frame {at}: {report:?}");
        fs::write(path.join(&segment.file), &original).unwrap();
    }
    Engine::open(path, small()).unwrap().close().unwrap();
}
