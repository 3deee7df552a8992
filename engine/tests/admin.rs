//! The admin socket, from other processes: every request, and everything that a client or a holder may do wrong.

#![allow(clippy::unwrap_used)]

mod common;

use common::child::{self, TestChild, listen, say};
use common::ring::{Around, open_with_ring};
use common::watchdog::watchdog;
use common::{assert_says, directory, options, values};
use ringlane::admin::{Client, Value};
use ringlane::io::{Completion, Ring, Wait, Write as RingWrite};
use ringlane::*;
use std::io::{Read, Result as IoResult, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const SOCKET: &str = "admin.socket";

/// A ring that takes writes and never does them, once it is told to.
struct StuckRing {
    is_stuck: Arc<AtomicBool>,
}

impl Around for StuckRing {
    fn write(&mut self, inner: &mut dyn Ring, write: RingWrite) {
        if !self.is_stuck.load(Ordering::Relaxed) {
            inner.write(write);
        }
    }
}

/// What a child does: opens the engine in a directory, says so, and holds it until it is told to end.
fn hold(path: &Path) {
    let engine = Engine::open(path, options()).unwrap();
    say("open");
    listen();
    engine.close().unwrap();
    say("closed");
}

/// A holder whose device hangs as soon as the engine is open.
fn hang(path: &Path) {
    let is_stuck = Arc::new(AtomicBool::new(false));
    let shared = is_stuck.clone();
    let engine = open_with_ring(path, options(), move |_| StuckRing { is_stuck: shared.clone() }).unwrap();
    engine.serve_admin(path);
    is_stuck.store(true, Ordering::Relaxed);
    say("open");
    listen();
    std::process::abort();
}

/// A holder that is not root, with any umask.
fn hold_as_nobody(path: &Path) {
    // SAFETY: changes this process only.
    unsafe {
        libc::umask(0);
        assert_eq!((libc::setgid(65_534), libc::setuid(65_534)), (0, 0));
    }
    hold(path);
}

/// A client that is another user than the holder, and not root; says how connecting ends.
fn ask_as_another(path: &Path) {
    // SAFETY: changes this process only.
    unsafe { assert_eq!((libc::setgid(65_533), libc::setuid(65_533)), (0, 0)) };
    match Client::connect(path) {
        Ok(_) => say("connected"),
        Err(error) => say(&format!("{} {error}", error.code())),
    }
}

/// Runs what this process was started for, if it is a child.
#[test]
#[ignore = "run by the other tests"]
fn child() {
    let Some((word, argument)) = child::order() else { return };
    let path = Path::new(&argument);
    match word.as_str() {
        "hold" => hold(path),
        "hang" => hang(path),
        "hold-as-nobody" => hold_as_nobody(path),
        "ask-as-another" => ask_as_another(path),
        _ => panic!("{word}"),
    }
}

fn holder(word: &str, path: &Path) -> TestChild {
    let mut holder = child::start(word, path.to_str().unwrap());
    assert_eq!(holder.hear().as_deref(), Some("open"));
    holder
}

fn raw(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path.join(SOCKET)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// The bytes of a hello: magic, version, kind, zeros, length, number.
fn hello(number: u8) -> Vec<u8> {
    let mut bytes = b"RLAD\x01\x01\0\0\0\0\0\0".to_vec();
    bytes.extend_from_slice(&[number, 0, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// What comes until the other side ends the connection, as text.
fn rest(stream: &mut UnixStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn every_request_is_answered_by_the_process_that_holds_the_engine() {
    let directory = directory();
    let path = directory.path();
    let mut holder = holder("hold", path);
    let mut client = Client::connect(path).unwrap();
    assert_eq!((client.holder().pid, &*client.holder().version), (holder.id(), env!("CARGO_PKG_VERSION")));
    assert!(client.holder().program.contains("admin"), "{:?}", client.holder());

    let created = client.create_topic("orders", &TopicOptions::new().partitions(3)).unwrap();
    assert_eq!((&*created.name, created.partitions, created.records), ("orders", 3, 0));
    client.create_topic("audit", &TopicOptions::new()).unwrap();
    let headers = [Header { name: "h", value: b"v" }];
    let records = [
        Record::new(b"one").key(b"k").headers(&headers).partition(1).timestamp_ms(77),
        Record { value: None, ..Record::default() }.partition(1),
        Record::new(b"later").partition(2).visible_after(Duration::from_secs(3600)),
    ];
    let outcomes = client.produce("orders", Durability::Synced, &records).unwrap();
    let receipts: Vec<Receipt> = outcomes.into_iter().map(Result::unwrap).collect();
    assert_eq!(receipts.iter().map(|receipt| receipt.offset).collect::<Vec<_>>(), [Some(0), Some(1), None]);
    assert_eq!((receipts[0].timestamp_ms, receipts[0].partition, &*receipts[0].topic), (77, 1, "orders"));
    assert_eq!(receipts[0].durability, Durability::Synced);
    let buffered = client.produce("audit", Durability::Buffered, &[Record::new(b"x")]).unwrap();
    assert_eq!(buffered[0].as_ref().unwrap().durability, Durability::Buffered);
    client.sync().unwrap();

    let listed = client.topics().unwrap();
    let listed: Vec<_> = listed.iter().map(|topic| (&*topic.name, topic.partitions, topic.records)).collect();
    assert_eq!(listed, [("audit", 1, 1), ("orders", 3, 2)]);
    let described = client.describe_topic("orders").unwrap();
    assert_eq!(described.partition.iter().map(|info| info.next_offset).collect::<Vec<_>>(), [0, 2, 0]);
    let stats = client.stats().unwrap();
    assert_eq!(stats.get("topics").and_then(Value::as_u64), Some(2));
    assert_eq!(stats.get("withheld_records").and_then(Value::as_u64), Some(1));
    assert_eq!(stats.get("admin").and_then(|admin| admin.get("listening")), Some(&Value::Bool(true)));
    let kept = Retention::new().retention_ms(3_600_000);
    assert_eq!(client.set_retention("orders", kept).unwrap().retention(), kept);
    assert_eq!(client.delete_records("audit", 0, 1).unwrap().first_offset, 1);
    assert_eq!(client.delete_topic("audit").unwrap().records, 0);

    // Errors keep their kind and their text, and do not end the connection.
    assert_says(&client.delete_topic("audit").unwrap_err(), "unknown-topic", &["`audit`", "create it"]);
    assert_says(&client.create_topic("orders", &TopicOptions::new()).unwrap_err(), "topic-exists", &["3 partitions"]);
    assert_says(&client.create_topic("a/b", &TopicOptions::new()).unwrap_err(), "invalid-name", &["a/b"]);
    let error = client.produce("absent", Durability::Synced, &[Record::new(b"")]).unwrap_err();
    assert_says(&error, "unknown-topic", &["absent"]);
    let large = vec![7; (1 << 20) + 1];
    let records = [Record::new(b"fits").partition(0), Record::new(&large).partition(0), Record::new(b"behind it")];
    let outcomes = client.produce("orders", Durability::Synced, &records).unwrap();
    assert_eq!(outcomes.len(), 2, "what comes behind a record that cannot be sent is not sent");
    assert_eq!(outcomes[0].as_ref().unwrap().offset, Some(0));
    assert_says(outcomes[1].as_ref().unwrap_err(), "record-too-large", &["record_bytes_max"]);
    let records =
        [Record::new(b"next").partition(0), Record::new(b"").partition(9), Record::new(b"behind").partition(0)];
    let outcomes = client.produce("orders", Durability::Synced, &records).unwrap();
    assert_eq!((outcomes.len(), outcomes[0].as_ref().unwrap().offset), (2, Some(1)), "also within one message");
    assert_says(outcomes[1].as_ref().unwrap_err(), "invalid-partition", &["0 to 2"]);

    holder.tell("end");
    assert_eq!(holder.hear().as_deref(), Some("closed"));
    drop(holder);
    let engine = Engine::open(path, options()).unwrap();
    let topic = engine.topic("orders").unwrap();
    assert_eq!(values(&engine, &topic, 1), [b"one".to_vec(), b"null".to_vec()]);
    assert_eq!(values(&engine, &topic, 0), [b"fits".to_vec(), b"next".to_vec()]);
    assert_eq!(topic.retention(), kept);
    engine.close().unwrap();
    assert!(!path.join(SOCKET).exists(), "closing removes it");
}

#[test]
fn many_records_and_large_ones_go_through() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options().record_bytes_max(16 << 20)).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let mut client = Client::connect(directory.path()).unwrap();
    let values_sent: Vec<Vec<u8>> = (0..10_000u32).map(|number| number.to_le_bytes().to_vec()).collect();
    let records: Vec<Record<'_>> = values_sent.iter().map(|value| Record::new(value)).collect();
    let outcomes = client.produce("t", Durability::Synced, &records).unwrap();
    let offsets: Vec<u64> = outcomes.into_iter().map(|outcome| outcome.unwrap().offset.unwrap()).collect();
    assert_eq!(offsets, (0..10_000).collect::<Vec<u64>>(), "in their order");
    assert_eq!(values(&engine, &topic, 0), values_sent);
    let largest = vec![9; (16 << 20) - 64];
    client.produce("t", Durability::Synced, &[Record::new(&largest)]).unwrap().remove(0).unwrap();
    let error = client.produce("t", Durability::Synced, &[Record::new(&vec![9; 16 << 20])]).unwrap_err();
    assert_says(&error, "record-too-large", &[]);
    engine.close().unwrap();
}

#[test]
fn a_socket_that_a_killed_process_left_does_not_matter() {
    let directory = directory();
    let path = directory.path();
    let mut holder = holder("hold", path);
    Client::connect(path).unwrap().create_topic("kept", &TopicOptions::new()).unwrap();
    holder.kill();
    assert!(path.join(SOCKET).exists(), "a kill leaves it");
    assert_says(&Client::connect(path).unwrap_err(), "admin", &["nobody listens"]);
    let engine = Engine::open(path, options().lock_wait_ms(30_000)).unwrap();
    let mut client = Client::connect(path).unwrap();
    assert_eq!(client.holder().pid, std::process::id());
    assert_eq!(client.topics().unwrap()[0].name, "kept");
    engine.close().unwrap();
    assert_says(&Client::connect(path).unwrap_err(), "admin", &["no admin socket"]);
}

#[test]
fn who_dies_with_a_request_in_hand_leaves_an_unknown_outcome_and_statistics_come_while_the_device_hangs() {
    let _watchdog = watchdog(120, "a holder that is killed");
    let directory = directory();
    let path = directory.path();
    let mut holder = holder("hang", path);
    let mut other = Client::connect(path).unwrap();
    let waiting: Vec<_> = (0..3)
        .map(|number| {
            let path = path.to_owned();
            std::thread::spawn(move || {
                let mut client = Client::connect(path).unwrap();
                client.create_topic(&format!("t{number}"), &TopicOptions::new())
            })
        })
        .collect();
    let requests = |client: &mut Client| {
        let stats = client.stats().unwrap();
        stats.get("admin").and_then(|admin| admin.get("requests")).and_then(Value::as_u64).unwrap()
    };
    // Four say hello, three ask for something that waits, and the rest are those of this loop.
    let mut asked = 1;
    while requests(&mut other) < 4 + 3 + asked {
        asked += 1;
        std::thread::sleep(Duration::from_millis(1));
    }
    holder.kill();
    for waiting in waiting {
        let error = waiting.join().unwrap().unwrap_err();
        assert!(error.is_unknown_outcome(), "{error}");
    }
    assert_says(&other.stats().unwrap_err(), "admin", &[]);
    assert_says(&other.stats().unwrap_err(), "admin", &["connect again"]);
}

#[test]
fn a_hundred_clients_are_served_at_once() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    engine.create_topic("t", TopicOptions::new()).unwrap();
    let barrier = Arc::new(std::sync::Barrier::new(100));
    let clients: Vec<_> = (0..100)
        .map(|number| {
            let (path, barrier) = (directory.path().to_owned(), barrier.clone());
            std::thread::spawn(move || {
                let mut client = Client::connect(path).unwrap();
                barrier.wait();
                client.create_topic(&format!("topic-{number:03}"), &TopicOptions::new()).unwrap();
                let outcomes = client.produce("t", Durability::Synced, &[Record::new(b"one"), Record::new(b"two")]);
                outcomes.unwrap().into_iter().map(|outcome| outcome.unwrap().offset.unwrap()).collect::<Vec<u64>>()
            })
        })
        .collect();
    let mut offsets: Vec<u64> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, (0..200).collect::<Vec<u64>>());
    assert_eq!(engine.topics().len(), 101);
    assert_eq!(Client::connect(directory.path()).unwrap().topics().unwrap().len(), 101);
    engine.close().unwrap();
}

#[test]
fn a_list_of_topics_longer_than_an_answer_comes_whole() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    for number in 0..2_001 {
        engine.create_topic(&format!("topic-{number:05}"), TopicOptions::new()).unwrap();
    }
    let names: Vec<String> =
        Client::connect(directory.path()).unwrap().topics().unwrap().into_iter().map(|topic| topic.name).collect();
    assert_eq!(names, engine.topics().iter().map(|topic| topic.name().to_owned()).collect::<Vec<_>>());
    engine.close().unwrap();
}

#[test]
fn nothing_that_a_client_sends_harms_the_engine() {
    let _watchdog = watchdog(120, "clients that send nonsense");
    let directory = directory();
    let path = directory.path();
    let engine = Engine::open(path, options()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();

    let mut stream = raw(path);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    assert!(rest(&mut stream).contains("no message of Ringlane"));
    let mut stream = raw(path);
    let mut newer = hello(1);
    newer[4] = 9;
    stream.write_all(&newer).unwrap();
    let text = rest(&mut stream);
    assert!(text.contains("unsupported-version") && text.contains("version 9"), "{text}");
    let mut stream = raw(path);
    let mut liar = hello(1);
    liar[8..12].fill(0xff);
    stream.write_all(&liar).unwrap();
    assert!(rest(&mut stream).contains("malformed"));
    // A kind that is not there, and a body that is none.
    for (kind, length, says) in [(99, 0, "unknown-request"), (2, 4, "malformed")] {
        let mut stream = raw(path);
        let mut message = hello(1);
        (message[5], message[8]) = (kind, length);
        message.resize(message.len() + usize::from(length), 0xee);
        stream.write_all(&message).unwrap();
        let text = rest(&mut stream);
        assert!(text.contains(says), "{text}");
    }
    // Floods: thousands of requests, and nobody reads the answers.
    let mut flood = raw(path);
    flood.set_nonblocking(true).unwrap();
    let hellos = hello(7).repeat(1000);
    while flood.write(&hellos).is_ok() {}
    // Half a message, held open; half a message, and away.
    let mut half = raw(path);
    half.write_all(&hello(1)[..13]).unwrap();
    let mut away = raw(path);
    away.write_all(&hello(1)[..5]).unwrap();
    drop(away);
    // Many that do nothing; those beyond the bound are turned away, or an idle one gives way.
    let idle: Vec<UnixStream> = (0..300).map(|_| raw(path)).collect();

    let producer = engine.producer(ProducerOptions::new()).unwrap();
    producer.send(&topic, Record::new(b"as ever")).unwrap().wait().unwrap();
    let report = engine.stats().admin;
    assert!(report.listening && report.refused >= 5 && report.connections <= 128, "{report:?}");
    drop(idle);
    // As soon as they are gone there is room again.
    let mut client = loop {
        match Client::connect(path) {
            Ok(client) => break client,
            Err(error) => assert!(error.is_retriable(), "{error}"),
        }
    };
    assert_eq!(client.topics().unwrap()[0].records, 1);
    engine.close().unwrap();
    drop((flood, half));
}

/// Takes the ten seconds that a message may take.
#[test]
fn who_dribbles_is_cut_off() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let mut stream = raw(directory.path());
    stream.write_all(&hello(1)[..3]).unwrap();
    let idle = Client::connect(directory.path()).unwrap();
    let text = rest(&mut stream);
    assert!(text.contains("too-slow"), "{text}");
    let mut idle = idle;
    idle.stats().unwrap();
    engine.close().unwrap();
}

#[test]
fn the_socket_is_the_owners_alone_and_others_are_turned_away_even_if_it_were_not() {
    // SAFETY: no memory is passed.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("not tried: only root can act as two other users");
        return;
    }
    let directory = directory();
    let path = directory.path().join("engine");
    std::fs::create_dir(&path).unwrap();
    for path in [directory.path(), &path] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::chown(&path, Some(65_534), Some(65_534)).unwrap();
    let holder = holder("hold-as-nobody", &path);
    let status = std::fs::symlink_metadata(path.join(SOCKET)).unwrap();
    assert!(status.file_type().is_socket());
    assert_eq!((status.permissions().mode() & 0o7777, status.uid()), (0o600, 65_534), "with a umask of 0");

    let ask = || child::start("ask-as-another", path.to_str().unwrap()).hear().unwrap();
    let told = ask();
    assert!(told.starts_with("admin ") && told.contains("another user"), "{told}");
    std::fs::set_permissions(path.join(SOCKET), std::fs::Permissions::from_mode(0o666)).unwrap();
    let told = ask();
    assert!(told.starts_with("forbidden "), "{told}");
    // Root may.
    Client::connect(&path).unwrap().stats().unwrap();
    drop(holder);
}

#[test]
fn a_directory_with_a_path_that_no_socket_address_holds() {
    let directory = directory();
    let path = directory.path().join("d".repeat(150)).join("e".repeat(150));
    let engine = Engine::open(&path, options()).unwrap();
    assert_eq!(engine.stats().admin.reason, None);
    Client::connect(&path).unwrap().create_topic("t", &TopicOptions::new()).unwrap();
    engine.topic("t").unwrap();
    engine.close().unwrap();
    assert!(!path.join(SOCKET).exists());
}

#[test]
fn closing_waits_for_no_client_and_answers_what_is_in_hand() {
    let _watchdog = watchdog(120, "closing with clients");
    let directory = directory();
    let path = directory.path();
    let engine = Engine::open(path, options()).unwrap();
    engine.create_topic("t", TopicOptions::new()).unwrap();
    let mut idle = Client::connect(path).unwrap();
    let mut half = raw(path);
    half.write_all(&hello(1)[..13]).unwrap();
    let mut deaf = raw(path);
    deaf.set_nonblocking(true).unwrap();
    while deaf.write(&hello(7).repeat(1000)).is_ok() {}
    let busy: Vec<_> = (0..4)
        .map(|_| {
            let mut client = Client::connect(path).unwrap();
            std::thread::spawn(move || {
                loop {
                    match client.produce("t", Durability::Synced, &[Record::new(b"x")]) {
                        Ok(outcomes) => match outcomes.into_iter().next().unwrap() {
                            Ok(_) => {}
                            Err(error) => return error,
                        },
                        Err(error) => return error,
                    }
                }
            })
        })
        .collect();
    while idle.topics().unwrap()[0].records < 10 {}
    engine.close().unwrap();
    for busy in busy {
        let error = busy.join().unwrap();
        assert!(error.code() == "closed" || error.is_unknown_outcome(), "{error}");
    }
    assert_says(&idle.stats().unwrap_err(), "admin", &[]);
    assert!(!engine.stats().admin.listening);
    drop((half, deaf));
}

/// A connected client must not keep an engine open that its application has let go of.
#[test]
fn the_last_handle_of_the_application_closes_the_engine() {
    let directory = directory();
    let engine = Engine::open(directory.path(), options()).unwrap();
    let mut client = Client::connect(directory.path()).unwrap();
    client.create_topic("t", &TopicOptions::new()).unwrap();
    drop(engine);
    let engine = Engine::open(directory.path(), options()).unwrap();
    assert_says(&client.stats().unwrap_err(), "admin", &[]);
    engine.close().unwrap();
}

#[test]
fn a_poisoned_engine_says_so() {
    let directory = directory();
    let path = directory.path();
    let breaks = Arc::new(AtomicBool::new(false));
    let shared = breaks.clone();
    let engine = open_with_ring(path, options(), move |_| FailingRing { breaks: shared.clone() }).unwrap();
    engine.serve_admin(path);
    let mut client = Client::connect(path).unwrap();
    client.create_topic("t", &TopicOptions::new()).unwrap();
    breaks.store(true, Ordering::Relaxed);
    let error = client.create_topic("lost", &TopicOptions::new()).unwrap_err();
    assert!(error.is_unknown_outcome(), "{error}");
    for error in [
        client.create_topic("after", &TopicOptions::new()).unwrap_err(),
        client.produce("t", Durability::Synced, &[Record::new(b"")]).unwrap_err(),
        client.sync().unwrap_err(),
    ] {
        assert_says(&error, "poisoned", &["told to fail"]);
        assert!(error.is_fatal());
    }
    let stats = client.stats().unwrap();
    assert!(stats.get("poisoned").and_then(Value::as_str).unwrap().contains("told to fail"));
    engine.close().unwrap_err();
}

/// A ring whose waiting fails when it is told to.
struct FailingRing {
    breaks: Arc<AtomicBool>,
}

impl Around for FailingRing {
    fn turn(&mut self, inner: &mut dyn Ring, wait: Wait, completions: &mut Vec<Completion>) -> IoResult<()> {
        if self.breaks.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("told to fail"));
        }
        inner.turn(wait, completions)
    }
}

#[test]
fn without_a_socket_the_engine_opens_and_says_why_there_is_none() {
    let directory = directory();
    let path = directory.path();
    let engine = Engine::open(path, options().admin_socket(false)).unwrap();
    let report = engine.stats().admin;
    assert_eq!((report.listening, report.reason.as_deref()), (false, Some("admin_socket = false")));
    assert_says(&Client::connect(path).unwrap_err(), "admin", &["no admin socket", "admin_socket = false"]);
    engine.close().unwrap();
    // What it said is not said of the next one.
    let other = Engine::open(path, options()).unwrap();
    Client::connect(path).unwrap();
    other.close().unwrap();
    // What cannot be replaced stands where the socket should be.
    std::fs::create_dir(path.join(SOCKET)).unwrap();
    let engine = Engine::open(path, options()).unwrap();
    let report = engine.stats().admin;
    assert!(!report.listening && report.reason.as_deref().unwrap().contains("admin.socket"), "{report:?}");
    engine.create_topic("t", TopicOptions::new()).unwrap();
    engine.close().unwrap();
    let salvaged = Engine::open(path, options().recovery(Recovery::Salvage)).unwrap();
    assert_eq!(salvaged.stats().admin.reason.as_deref(), Some("opened for salvage"));
}
