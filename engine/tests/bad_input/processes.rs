//! Other processes: who holds the lock is named, and a forked child can do nothing with its parent's handles.

use crate::common::watchdog::watchdog;
use crate::common::{assert_says, child, directory, small, values};
use ringlane::*;
use std::path::Path;
use std::time::Duration;

/// A child: opens the engine and holds it until it is told to go.
pub(crate) fn hold(path: &Path) {
    let engine = Engine::open(path, small()).unwrap();
    child::say("open");
    child::listen();
    engine.close().unwrap();
    child::say("closed");
}

#[test]
fn the_holder_of_the_lock_is_named() {
    let _watchdog = watchdog(60, "a held lock");
    let directory = directory();
    let path = directory.path();
    let mut holder = child::start("hold", path.to_str().unwrap());
    assert_eq!(holder.hear().as_deref(), Some("open"));
    let pid = holder.id();
    let program = std::env::current_exe().unwrap();
    let program = program.file_name().unwrap().to_str().unwrap();
    let error = Engine::open(path, small()).unwrap_err();
    assert_says(&error, "locked", &[&format!("process {pid}"), program, "stop it", "open_read_only"]);
    assert!(matches!(&error, Error::Locked { pid: named, .. } if *named == pid), "{error:?}");
    assert!(error.is_retriable());
    // Who only looks needs no lock.
    inspect(path).unwrap();
    assert!(!verify(path, &mut |_| {}).unwrap().is_damaged());
    Engine::open_read_only(path, small()).unwrap().close().unwrap();
    // Waiting for it helps, if it goes.
    let waiting = {
        let path = path.to_owned();
        std::thread::spawn(move || Engine::open(path, small().lock_wait_ms(50_000)).map(|engine| engine.close()))
    };
    holder.tell("go");
    waiting.join().unwrap().unwrap().unwrap();
    assert_eq!(holder.hear().as_deref(), Some("closed"));
    // A lock ends with its process, however that ends.
    let mut holder = child::start("hold", path.to_str().unwrap());
    assert_eq!(holder.hear().as_deref(), Some("open"));
    assert_eq!(Engine::open(path, small()).unwrap_err().code(), "locked");
    holder.kill();
    Engine::open(path, small()).unwrap().close().unwrap();
}

#[test]
fn opening_twice_in_one_process_is_refused() {
    let directory = directory();
    let engine = Engine::open(directory.path(), small()).unwrap();
    let error = Engine::open(directory.path(), small()).unwrap_err();
    assert!(matches!(error, Error::Locked { pid, .. } if pid == std::process::id()), "{error}");
    engine.close().unwrap();
    Engine::open(directory.path(), small()).unwrap().close().unwrap();
}

#[test]
fn a_forked_child_is_told_so_by_every_call() {
    let _watchdog = watchdog(100, "a forked child");
    let directory = directory();
    let mut parent = child::start("fork", directory.path().to_str().unwrap());
    assert_eq!(parent.hear().as_deref(), Some("forked"), "see the output of the child");
    assert_eq!(parent.hear().as_deref(), Some("reopened"));
    assert!(parent.end().success());
}

/// The parent of the fork: a process of its own, so that no other test's threads are in the middle of
/// something when it forks.
pub(crate) fn fork(path: &Path) {
    let _watchdog = watchdog(90, "the parent of a fork");
    let engine = Engine::open(path, small()).unwrap();
    let topic = engine.create_topic("t", TopicOptions::new()).unwrap();
    let producer = engine.producer(ProducerOptions::new()).unwrap();
    let mut consumer = engine.consumer(ConsumerOptions::new()).unwrap();
    consumer.assign(&topic, 0, Start::Beginning).unwrap();
    let later = Record::new(b"later").visible_after(Duration::from_secs(3600));
    let later = producer.send(&topic, later).unwrap().wait().unwrap();
    // In flight when the process forks: buffered and not flushed, or waiting for the lane.
    let in_flight: Vec<_> = (0..100).map(|_| producer.send(&topic, Record::new(b"x")).unwrap()).collect();
    let last = producer.send(&topic, Record::new(b"y")).unwrap();
    let mut pipe = [0; 2];
    // SAFETY: two descriptors are written to the array.
    assert_eq!(unsafe { libc::pipe(pipe.as_mut_ptr()) }, 0);
    // SAFETY: the child uses only what works without the other threads, and ends with _exit.
    let child = unsafe { libc::fork() };
    if child == 0 {
        child::die_with_parent();
        let verdict = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            in_the_child(&engine, &topic, &producer, consumer, later.id, last)
        }));
        // Lives on while the parent closes and opens again, with all the descriptors it got.
        let mut byte = [0u8];
        // SAFETY: one byte into an array of one; then the end without destructors.
        unsafe {
            libc::close(pipe[1]);
            if verdict.is_err() {
                libc::_exit(1);
            }
            child::say("forked");
            libc::read(pipe[0], byte.as_mut_ptr().cast(), 1);
            libc::_exit(reopen_in_the_child(path));
        }
    }
    for (offset, handle) in in_flight.into_iter().enumerate() {
        assert_eq!(handle.wait().unwrap().offset, Some(offset as u64), "the parent is not concerned");
    }
    last.wait().unwrap();
    producer.cancel(later.id).unwrap();
    engine.close().unwrap();
    // The child still has copies of the descriptors that carried the locks. They must not lock out anybody.
    let engine = Engine::open(path, small()).unwrap();
    assert!(engine.recovery().clean, "the child closed nothing and wrote nothing");
    assert_eq!(values(&engine, &engine.topic("t").unwrap(), 0).len(), 101);
    engine.close().unwrap();
    let mut status = 0;
    // SAFETY: closes a descriptor of ours, and waits for our child.
    unsafe {
        libc::close(pipe[1]);
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
    }
    assert_eq!(status, 0, "the child failed");
    child::say("reopened");
}

fn in_the_child(
    engine: &Engine,
    topic: &Topic,
    producer: &Producer,
    mut consumer: Consumer,
    later: RecordId,
    last: SendHandle,
) {
    let refused = [
        ("topic", engine.topic("t").map(drop)),
        ("create_topic", engine.create_topic("u", TopicOptions::new()).map(drop)),
        ("delete_topic", engine.delete_topic("t")),
        ("producer", engine.producer(ProducerOptions::new()).map(drop)),
        ("consumer", engine.consumer(ConsumerOptions::new()).map(drop)),
        ("sync", engine.sync()),
        ("publish_withheld", engine.publish_withheld(later, &[])),
        ("send", producer.send(topic, Record::new(b"x")).map(drop)),
        ("send_batch", producer.send_batch(topic, &[Record::new(b"x")]).map(drop)),
        ("send_many", producer.send_many(&[(topic, Record::new(b"x"))]).map(drop)),
        ("flush", producer.flush()),
        ("cancel", producer.cancel(later)),
        ("assign", consumer.assign(topic, 0, Start::End)),
        ("poll", consumer.poll(Duration::from_secs(600)).map(drop)),
        ("close", engine.close()),
    ];
    for (call, result) in refused {
        let error = result.map_err(|error| (error.code(), error)).expect_err(call);
        assert_eq!(error.0, "forked", "{call}: {}", error.1);
        assert!(error.1.to_string().contains("open it again here"), "{}", error.1);
    }
    // A handle from before the fork: its outcome will never come here, unless it was there already.
    match last.wait() {
        Ok(_) => {}
        Err(error) => assert_eq!(error.code(), "forked", "{error}"),
    }
    drop(consumer);
    assert_eq!(engine.topics().len(), 1);
}

fn reopen_in_the_child(path: &Path) -> i32 {
    let Ok(engine) = Engine::open(path, small()) else { return 2 };
    let Ok(topic) = engine.topic("t") else { return 3 };
    if values(&engine, &topic, 0).len() != 101 {
        return 4;
    }
    i32::from(engine.close().is_err()) * 5
}
