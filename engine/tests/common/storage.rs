//! Engines on a real directory behind a storage that fails when told to.

use ringlane::io::faulty::Faults;
use ringlane::io::{Clock, Directory, DirectoryOptions, SystemClock};
use ringlane::{Engine, Options, Result};
use std::path::Path;
use std::sync::Arc;

/// Opens an engine as [`Engine::open`] does, with `faults` between it and the directory.
pub(crate) fn open_faulty(path: &Path, options: Options, faults: &Faults) -> Result<Engine> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let directory = DirectoryOptions {
        backend: options.backend,
        write_strategy: options.write_strategy,
        create: options.create,
        ..DirectoryOptions::default()
    };
    let storage = Arc::new(Directory::open(path, directory, clock.clone()).unwrap());
    Engine::open_on(path, faults.wrap(storage, clock.clone()), clock, options)
}

/// Whether a name is that of a segment's file, and not of its index.
pub(crate) fn is_segment(name: &str) -> bool {
    name.starts_with("segment-") && !name.ends_with(".index")
}
