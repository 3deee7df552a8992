//! A clock that a test moves, and engines on it.

use ringlane::io::{Clock, Directory, DirectoryOptions, SystemClock};
use ringlane::{Engine, Options};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// A wall clock that a test moves; time passes on it as on the other one, or jumps.
pub(crate) struct MovedClock {
    system: SystemClock,
    wall_ms: AtomicI64,
    passed_ms: AtomicI64,
}

impl MovedClock {
    pub(crate) fn new() -> Arc<MovedClock> {
        let system = SystemClock::new();
        let wall_ms = AtomicI64::new(system.wall_ms());
        Arc::new(MovedClock { system, wall_ms, passed_ms: AtomicI64::new(0) })
    }

    /// Time passes: both clocks show it.
    pub(crate) fn pass(&self, ms: i64) {
        self.passed_ms.fetch_add(ms, Ordering::SeqCst);
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock.
    pub(crate) fn jump(&self, ms: i64) {
        self.wall_ms.fetch_add(ms, Ordering::SeqCst);
    }
}

impl Clock for MovedClock {
    fn monotonic_ns(&self) -> u64 {
        self.system.monotonic_ns() + self.passed_ms.load(Ordering::SeqCst) as u64 * 1_000_000
    }

    fn wall_ms(&self) -> i64 {
        self.wall_ms.load(Ordering::SeqCst)
    }
}

/// Opens an engine whose time is this clock's.
pub(crate) fn open(path: &Path, options: Options, clock: &Arc<MovedClock>) -> Engine {
    let clock: Arc<dyn Clock> = clock.clone();
    let directory = DirectoryOptions { backend: options.backend, ..DirectoryOptions::default() };
    let storage = Directory::open(path, directory, clock.clone()).unwrap();
    Engine::open_on(path, Arc::new(storage), clock, options).unwrap()
}
