//! The manifest of a directory that somebody else writes.
//!
//! Invariants:
//! - A copy that is just being written is no damage: the two are read again until one of them is whole.
//! - What tells that it moved was looked at before it was read, so no change of it is missed.

use crate::error::{Error, Result};
use crate::io::{Access, Block, PAGE, Storage};
use crate::log::manifest::{self, LoadedManifest, MANIFEST_FILES, Manifest};
use crate::sync::yield_now;
use std::path::Path;

/// So often the copies are read until they count as damaged. A commit is over long before.
const TRIES_MAX: u32 = 200;
/// Bytes of a copy that change with each commit: sequence and checksums.
const HEADER_BYTES: usize = 32;

/// What the beginnings of both copies were.
#[derive(Default)]
pub(super) struct ManifestWatch {
    headers: [Option<[u8; HEADER_BYTES]>; 2],
}

impl ManifestWatch {
    /// Whether a copy was written since it was loaded.
    pub(super) fn has_moved(&self, storage: &dyn Storage) -> bool {
        headers(storage) != self.headers
    }

    /// Reads it. `None`: no engine was ever made here, or one is just being made.
    pub(super) fn load(&mut self, storage: &dyn Storage, path: &Path) -> Result<Option<Manifest>> {
        let seen = headers(storage);
        let loaded = load_settled(storage, path, false)?;
        self.headers = seen;
        Ok(loaded.map(|loaded| loaded.manifest).filter(|manifest| !manifest.is_fresh()))
    }
}

/// Reads both copies, again and again while none is whole because it is just being written. `wants_both`: until both
/// are whole.
pub(crate) fn load_settled(storage: &dyn Storage, path: &Path, wants_both: bool) -> Result<Option<LoadedManifest>> {
    let mut tries = 0;
    loop {
        let loaded = manifest::load(storage, path);
        tries += 1;
        if tries == TRIES_MAX || !is_perhaps_in_between(&loaded, wants_both) {
            return loaded;
        }
        yield_now();
    }
}

/// Whether it may look so only because it is being written, or made.
fn is_perhaps_in_between(loaded: &Result<Option<LoadedManifest>>, wants_both: bool) -> bool {
    match loaded {
        Ok(Some(loaded)) => wants_both && loaded.bad_copy.is_some(),
        Err(Error::Damaged { .. }) => true,
        // Listed, and removed or not yet there when it was opened.
        Err(Error::Io(failure)) => failure.errno == Some(libc::ENOENT),
        _ => false,
    }
}

fn headers(storage: &dyn Storage) -> [Option<[u8; HEADER_BYTES]>; 2] {
    MANIFEST_FILES.map(|name| {
        let file = storage.open(name, Access::Read).ok()?;
        let mut page = Block::zeroed(PAGE);
        let read = file.read_at(page.as_mut_slice(), 0).ok()?;
        page.as_mut_slice()[..read].first_chunk().copied()
    })
}
