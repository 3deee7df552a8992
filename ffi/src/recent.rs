//! What a thread sent with last. Most threads send with the same producer, topic and queue again and again: these stay in use
//! by the thread from one call to the next, so that a call writes nothing to tell others that it goes on.
//!
//! Invariants:
//! - A handle that was freed is an error at once, whoever keeps its object.
//! - A thread keeps one producer, one topic and one queue at most. If another thread frees one of them, the object is dropped
//!   when this thread sends with another one, or ends: it is memory, and the descriptor of a closed queue, and no engine.

use crate::call::{Held, held};
use crate::objects::{Kind, ringlane_producer, ringlane_queue, ringlane_topic};
use crate::queue::QueueObject;
use crate::status::Result;
use engine::{Producer, Topic};
use std::cell::RefCell;

#[derive(Default)]
struct Recent {
    producer: Option<Held<Producer>>,
    topic: Option<Held<Topic>>,
    queue: Option<Held<QueueObject>>,
}

thread_local! {
    static RECENT: RefCell<Recent> = const { RefCell::new(Recent { producer: None, topic: None, queue: None }) };
}

/// The object of a handle, if it is the one that is kept.
#[inline]
fn kept<K: Kind>(kept: &Option<Held<K>>, handle: *const K::Handle) -> Option<&K> {
    kept.as_ref().filter(|held| held.is_live(handle)).map(|held| &**held)
}

/// Runs a send with what its handles stand for.
#[inline]
pub(crate) fn sending<T>(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    queue: *const ringlane_queue,
    run: impl FnOnce(&Producer, &Topic, &QueueObject) -> Result<T>,
) -> Result<T> {
    let mut run = Some(run);
    let again = RECENT.try_with(|recent| {
        let recent = recent.try_borrow().ok()?;
        let producer = kept(&recent.producer, producer)?;
        let topic = kept(&recent.topic, topic)?;
        let queue = kept(&recent.queue, queue)?;
        run.take().map(|run| run(producer, topic, queue))
    });
    match (again, run) {
        (Ok(Some(result)), _) => result,
        (_, Some(run)) => sending_anew(producer, topic, queue, run),
        (_, None) => unreachable!("what ran has a result"),
    }
}

#[cold]
fn sending_anew<T>(
    producer: *const ringlane_producer,
    topic: *const ringlane_topic,
    queue: *const ringlane_queue,
    run: impl FnOnce(&Producer, &Topic, &QueueObject) -> Result<T>,
) -> Result<T> {
    let (producer, topic, queue) = (held::<Producer>(producer)?, held::<Topic>(topic)?, held::<QueueObject>(queue)?);
    let result = run(&producer, &topic, &queue);
    // A thread that ends keeps nothing any more.
    let before = RECENT.try_with(|recent| {
        let now = Recent { producer: Some(producer), topic: Some(topic), queue: Some(queue) };
        recent.try_borrow_mut().ok().map(|mut recent| std::mem::replace(&mut *recent, now))
    });
    drop(before);
    result
}

/// A handle is freed by this thread: it keeps nothing of it.
pub(crate) fn forget(handle: u64) {
    let before = RECENT.try_with(|recent| {
        let mut recent = recent.try_borrow_mut().ok()?;
        let Recent { producer, topic, queue } = &*recent;
        let is_kept = producer.as_ref().is_some_and(|held| held.is_of(handle))
            || topic.as_ref().is_some_and(|held| held.is_of(handle))
            || queue.as_ref().is_some_and(|held| held.is_of(handle));
        is_kept.then(|| std::mem::take(&mut *recent))
    });
    drop(before);
}
