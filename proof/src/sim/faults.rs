//! What goes wrong, by kind, and how often it did.

use std::collections::BTreeMap;
use std::fmt;

/// What an operation on a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read.
    Read,
    /// A write, by a call or in a ring.
    Write,
    /// A flush of a file, by a call or in a ring.
    Flush,
    /// A creation, a removal or a flush of the directory.
    Directory,
    /// Reserving room.
    Allocate,
}

/// Which files a fault concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// Any.
    All,
    /// The log's.
    Segments,
    /// The copies of the manifest.
    Manifest,
    /// Sidecars.
    Indexes,
}

impl Files {
    /// Whether a file of this name is one of them.
    pub fn concern(self, name: &str) -> bool {
        match self {
            Files::All => true,
            Files::Manifest => name.starts_with("manifest"),
            Files::Indexes => name.ends_with(".index"),
            Files::Segments => !name.ends_with(".index") && !name.starts_with("manifest") && name != "lock",
        }
    }
}

/// What happens to an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails with an I/O error. Of a write a part may have landed; after a flush nobody knows.
    Fail,
    /// It takes so much longer.
    Slow(u64),
}

/// A fault that waits for its operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which operations.
    pub access: Access,
    /// On which files.
    pub files: Files,
    /// What happens to them.
    pub effect: Effect,
    /// So many pass before.
    pub passes: u64,
    /// So many are hit.
    pub hits: u64,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { access, files, effect, passes, hits } = self;
        write!(f, "{access:?} of {files:?} {effect:?}: {hits} after {passes}")
    }
}

/// How often what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts(BTreeMap<&'static str, u64>);

impl Counts {
    /// One more.
    pub fn add(&mut self, kind: &'static str) {
        self.add_many(kind, 1);
    }

    /// So many more.
    pub fn add_many(&mut self, kind: &'static str, count: u64) {
        *self.0.entry(kind).or_default() += count;
    }

    /// All of another.
    pub fn merge(&mut self, other: &Counts) {
        for (kind, count) in &other.0 {
            self.add_many(kind, *count);
        }
    }

    /// How often.
    pub fn of(&self, kind: &str) -> u64 {
        self.0.get(kind).copied().unwrap_or(0)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (kind, count)) in self.0.iter().enumerate() {
            write!(f, "{}{count} {kind}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
