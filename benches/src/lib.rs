//! What the benches share: records to measure with, and an engine to measure on.

use ringlane::{Engine, Options, Topic, TopicOptions};
use tempfile::TempDir;

/// The size of a value that every figure of docs/PERFORMANCE.md is about.
pub const VALUE_BYTES: usize = 100;

/// Bytes without a pattern, the same in every run.
pub fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut step = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 56) as u8
    };
    (0..length).map(|_| step()).collect()
}

/// An engine in a directory that goes with it. The directory is made in the current one: the system's
/// place for temporary files is often memory.
pub struct Scratch {
    /// The topic to send to, of one partition.
    pub topic: Topic,
    /// The engine.
    pub engine: Engine,
    _directory: TempDir,
}

impl Scratch {
    /// Opens it.
    ///
    /// # Panics
    /// If it cannot be opened; a bench has nobody to report to.
    pub fn new() -> Scratch {
        let directory = tempfile::tempdir_in(".").expect("the current directory can be written");
        let engine = Engine::open(directory.path(), Options::new()).expect("an empty directory opens");
        let topic = engine.create_topic("bench", TopicOptions::new()).expect("the name is free");
        Scratch { topic, engine, _directory: directory }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.engine.close() {
            eprintln!("closing the engine: {error}");
        }
    }
}
