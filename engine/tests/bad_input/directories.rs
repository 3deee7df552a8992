//! Directories that hold no engine, or cannot hold one.

use crate::common::child;
use crate::common::{assert_says, directory, small, values};
use ringlane::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Names, lengths and checksums of all files.
pub(crate) fn contents(path: &Path) -> BTreeMap<String, (usize, u32)> {
    let name = |entry: &fs::DirEntry| entry.file_name().into_string().unwrap();
    let digest = |bytes: Vec<u8>| (bytes.len(), crc32c::crc32c(&bytes));
    let entries = fs::read_dir(path).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_file());
    entries.map(|entry| (name(&entry), digest(fs::read(entry.path()).unwrap()))).collect()
}

#[test]
fn a_path_that_is_no_directory() {
    let parent = directory();
    let absent = parent.path().join("absent");
    for options in [small().create(false), small().create(false).recovery(Recovery::Salvage)] {
        let error = Engine::open(&absent, options).unwrap_err();
        assert_says(&error, "invalid-directory", &["absent", "does not exist"]);
        assert!(!absent.exists());
    }
    let file = parent.path().join("file");
    fs::write(&file, b"text").unwrap();
    let error = Engine::open(&file, small()).unwrap_err();
    assert_says(&error, "invalid-directory", &["file", "is a file; give the directory"]);
    let below = Engine::open(file.join("below"), small()).unwrap_err();
    assert_says(&below, "invalid-directory", &["below"]);
    assert_eq!(fs::read(&file).unwrap(), b"text");
    for error in [verify(&file, &mut |_| {}).unwrap_err(), inspect(&absent).unwrap_err()] {
        assert_says(&error, "invalid-directory", &["is not a directory"]);
    }
}

#[test]
fn an_empty_directory_without_leave_to_create() {
    let directory = directory();
    let error = Engine::open(directory.path(), small().create(false)).unwrap_err();
    assert_says(&error, "invalid-directory", &["holds no engine", "create = true"]);
    let error = Engine::open(directory.path(), small().recovery(Recovery::Salvage)).unwrap_err();
    assert_says(&error, "invalid-directory", &["holds no engine"]);
    let error = verify(directory.path(), &mut |_| {}).unwrap_err();
    assert_says(&error, "invalid-directory", &["holds no engine"]);
    assert_eq!(contents(directory.path()), BTreeMap::new(), "what is refused leaves no trace");
    Engine::open(directory.path(), small()).unwrap().close().unwrap();
}

/// Opening a directory of other files was refused, but left a lock file in it.
#[test]
fn foreign_files_are_left_alone() {
    for name in ["notes.txt", "manifest-a", "manifest-b", "segment-1", "00000000000000000000.log"] {
        let directory = directory();
        fs::write(directory.path().join(name), b"Dear diary, today I was mistaken for a message log.").unwrap();
        let before = contents(directory.path());
        for create in [true, false] {
            let error = Engine::open(directory.path(), small().create(create)).unwrap_err();
            assert_says(&error, "foreign-format", &[name, "not a Ringlane file", "open an empty directory"]);
            assert_eq!(contents(directory.path()), before, "what is refused leaves no trace");
        }
        assert_says(&verify(directory.path(), &mut |_| {}).unwrap_err(), "foreign-format", &[name]);
        assert_says(&inspect(directory.path()).unwrap_err(), "foreign-format", &[name]);
    }
}

#[test]
fn other_files_beside_an_engine_do_not_matter() {
    let directory = directory();
    fs::write(directory.path().join(".hidden"), b"x").unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    engine.create_topic("t", TopicOptions::new()).unwrap();
    engine.close().unwrap();
    fs::write(directory.path().join("notes.txt"), b"x").unwrap();
    fs::write(directory.path().join("segment-7"), b"x").unwrap();
    fs::create_dir(directory.path().join("segment-99999999")).unwrap();
    let engine = Engine::open(directory.path(), small()).unwrap();
    assert_eq!(engine.topics().len(), 1);
    engine.close().unwrap();
    for name in [".hidden", "notes.txt", "segment-7"] {
        assert_eq!(fs::read(directory.path().join(name)).unwrap(), b"x", "not ours to remove");
    }
}

/// Creation that was cut short at any point: the next opening finishes it.
#[test]
fn creation_that_was_cut_short_is_done_again() {
    for files in [&["lock"][..], &["lock", "manifest-a"], &["lock", "manifest-a", "manifest-b"]] {
        let directory = directory();
        for name in files {
            fs::write(directory.path().join(name), b"").unwrap();
        }
        let engine = Engine::open(directory.path(), small()).unwrap();
        assert!(engine.recovery().created);
        engine.close().unwrap();
    }
}

#[test]
fn a_directory_without_permission() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    engine.create_topic("t", TopicOptions::new()).unwrap();
    engine.close().unwrap();
    let set = |mode| fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
    let before = contents(directory.path());
    // Owned by us: what counts for the child, which is nobody, are the bits for others.
    set(0o705);
    let mut child = child::start("nobody", directory.path().to_str().unwrap());
    assert_eq!(child.hear().as_deref(), Some("cannot write"));
    set(0o700);
    child.tell("unreadable now");
    assert_eq!(child.hear().as_deref(), Some("cannot read"));
    assert!(child.end().success());
    assert_eq!(contents(directory.path()), before);
}

/// The child of the test above.
pub(crate) fn nobody(path: &Path) {
    // SAFETY: plain system calls; they change this child only.
    unsafe {
        if libc::geteuid() == 0 {
            assert_eq!(libc::setgroups(0, std::ptr::null()), 0);
            assert_eq!((libc::setgid(65_534), libc::setuid(65_534)), (0, 0));
        } else {
            // Without privileges to drop we are the owner, and take the bits from ourselves.
            fs::set_permissions(path, fs::Permissions::from_mode(0o500)).unwrap();
        }
    }
    let words = [path.to_str().unwrap(), "cannot be used", "read and write the directory"];
    assert_says(&Engine::open(path, small()).unwrap_err(), "invalid-directory", &words);
    child::say("cannot write");
    child::listen();
    for options in [small(), small().recovery(Recovery::Salvage)] {
        let error = Engine::open(path, options).unwrap_err();
        assert!(matches!(error.code(), "invalid-directory" | "io"), "{error}");
        assert!(error.to_string().contains("ermission denied"), "{error}");
    }
    for error in [verify(path, &mut |_| {}).unwrap_err(), inspect(path).unwrap_err()] {
        assert!(error.to_string().contains("ermission denied"), "{error}");
    }
    child::say("cannot read");
}

#[test]
fn a_file_system_that_is_read_only() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"x")).unwrap().wait().unwrap();
    engine.close().unwrap();
    let mut child = child::start("read-only", directory.path().to_str().unwrap());
    match child.hear().as_deref() {
        Some("done") => assert!(child.end().success()),
        other => println!("skipped: no read-only mount can be made here ({other:?})"),
    }
}

/// The child of the test above: sees the directory through a read-only mount of its own.
pub(crate) fn read_only(path: &Path) {
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let none = std::ptr::null();
    // SAFETY: plain system calls with names that outlive them; the mounts are this thread's own.
    let mounted = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(none, c"/".as_ptr(), none, libc::MS_REC | libc::MS_PRIVATE, none.cast()) == 0
            && libc::mount(name.as_ptr(), name.as_ptr(), none, libc::MS_BIND, none.cast()) == 0
            && libc::mount(none, name.as_ptr(), none, libc::MS_REMOUNT | libc::MS_BIND | libc::MS_RDONLY, none.cast())
                == 0
    };
    if !mounted {
        return child::say(&std::io::Error::last_os_error().to_string());
    }
    let error = Engine::open(path, small()).unwrap_err();
    assert_says(&error, "invalid-directory", &["Read-only file system", "read and write the directory"]);
    let report = verify(path, &mut |_| {}).unwrap();
    assert!(!report.is_damaged() && report.records == 1, "{report:?}");
    let engine = Engine::open(path, small().recovery(Recovery::Salvage)).unwrap();
    assert_eq!(values(&engine, &engine.topic("t").unwrap(), 0), [b"x"]);
    child::say("done");
}
