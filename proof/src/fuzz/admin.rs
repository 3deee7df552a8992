//! Messages of the admin socket: to a process that has an engine open, and back.
//!
//! The first byte says what the others are: a stream as it comes (and the second into how long pieces it is cut);
//! or bodies of messages, each with its kind and length, around which right headers are made; or an answer.
//!
//! Promises: nothing panics or takes memory without bound; a message has one encoding; every request has an answer,
//! which can be read; the engine behind it goes on.

use super::mutation::Input;
use super::options;
use ringlane::fuzz_support::{admin_answer, admin_frame, admin_requests};
use ringlane::{Engine, ProducerOptions, Record, TopicOptions, TransactionOptions};

/// See the module.
pub fn admin(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (what, step) = (input.byte(), usize::from(input.byte()));
    match what % 3 {
        0 => ask(input.0, step),
        1 => {
            let mut stream = Vec::new();
            while !input.0.is_empty() {
                let (kind, length) = (input.byte(), input.number(2));
                stream.extend_from_slice(&admin_frame(kind, input.bytes(length)));
            }
            ask(&stream, step);
        }
        _ => admin_answer(input.byte(), input.0),
    }
}

fn ask(stream: &[u8], step: usize) {
    let mut opened = None;
    admin_requests(stream, step, &mut || {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let engine = Engine::open(directory.path(), options().create(true).admin_socket(false)).expect("a new engine");
        let topic = engine.create_topic("t", TopicOptions::new().partitions(2)).expect("a topic");
        let producer = engine.producer(ProducerOptions::new()).expect("a producer");
        // One to be listed, shown and decided.
        let mut transaction = producer.begin(TransactionOptions::new().id("x")).expect("it begins");
        transaction.send(&topic, Record::new(b"half")).expect("it is sent");
        transaction.prepare().expect("it is prepared");
        opened = Some((directory, engine.clone()));
        engine
    });
    if let Some((_directory, engine)) = opened {
        engine.sync().expect("it goes on");
        engine.close().expect("it ends well");
    }
}
