//! Damage of every kind, in every file: what `ringlane-proof corruption` sweeps over, a part of it here,
//! and the cases whose very errors matter.
//!
//! `RINGLANE_CORRUPTION_CASES` sets how many of the systematic cases run (default 240),
//! `RINGLANE_TEST_BACKEND` the backend.

#![allow(clippy::unwrap_used)]

use ringlane::*;
use ringlane_proof::corruption::{Built, Files, Image, noise, read_files, values, write_files};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use tempfile::TempDir;

/// On the disk the crate is built on.
fn scratch() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// The backend that this run is about.
fn backend() -> String {
    std::env::var("RINGLANE_TEST_BACKEND").unwrap_or_else(|_| "auto".to_owned())
}

/// The options that the log was made with.
fn options() -> Options {
    ringlane_proof::corruption::options(backend().parse().unwrap())
}

fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| Built::new(scratch(), backend().parse().unwrap()).unwrap())
}

#[test]
fn every_class_of_byte_is_detected_or_harmless() {
    let wanted = std::env::var("RINGLANE_CORRUPTION_CASES").unwrap_or_else(|_| "240".to_owned());
    let output = Command::new(env!("CARGO_BIN_EXE_ringlane-proof"))
        .args(["corruption", "--systematic", &wanted, "--backend", &backend()])
        .args(["--scratch", scratch().to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("corruption: ") && last.ends_with(" 0 failures"), "{last}");
    let figure = |what: &str| -> usize {
        let before = last.split_once(what).unwrap_or_else(|| panic!("no {what} in {last}")).0;
        before.rsplit(' ').next().unwrap().parse().unwrap()
    };
    // The sweep itself could go wrong: nothing damaged, nothing opened.
    assert!(figure(" cases") > wanted.parse::<usize>().unwrap() + 200, "{last}");
    assert!(figure(" refused") > 100 && figure(" read errors") > 50 && figure(" in the window") > 0, "{last}");
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
    write_files(scratch(), &files).unwrap()
}

fn open(directory: &TempDir) -> Result<Engine> {
    Engine::open(directory.path(), options())
}

#[track_caller]
fn check_all(engine: &Engine) {
    for ((topic, partition), expected) in &built().acknowledged.values {
        let read = values(engine, &engine.topic(topic).unwrap(), *partition).unwrap();
        assert!(read == *expected, "{topic} {partition}: {} of {} records", read.len(), expected.len());
    }
}

#[test]
fn undamaged_copies_are_whole() {
    for image in built().images() {
        let directory = write_files(scratch(), &image.files).unwrap();
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
    for image in built().images() {
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
    let mut files = read_files(directory.path()).unwrap();
    files.remove("lock");
    files
}

#[test]
fn a_missing_or_cut_segment_is_damage() {
    for image in built().images() {
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
    for image in built().images() {
        let segment = image.written();
        let from = segment.end();
        let tail = changed(image, |files| {
            let bytes = files.get_mut(&segment.info.file).unwrap();
            bytes.truncate(from);
            bytes.extend(noise(11, 100_000));
            bytes.resize(bytes.len().max(segment.info.bytes as usize), 0);
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
    for image in built().images() {
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
