//! A panic in a call is a bug, and nobody knows what it left half done: the engines of this process stop.

use crate::engine_calls::EngineObject;
use crate::objects::{Kind, Object, TABLE};

/// A call panicked. Takes no lock but the engines' own.
pub(crate) fn stop_all(words: &str) {
    TABLE.each(EngineObject::KIND, |object: &Object| {
        if let Some(engine) = EngineObject::of(object) {
            engine.engine.monitor().stop_after_bug(words);
        }
    });
}
