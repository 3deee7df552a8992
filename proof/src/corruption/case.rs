//! One case: one kind of damage to one file (or two), and what may come of it.

use super::image::Files;

/// What may come of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Refused, reported by reads, or everything is there.
    Noticed,
    /// Refused.
    Refused,
    /// Everything is there, and `verify` finds no damage.
    Harmless,
    /// The stated window: no frame is left that could speak for the last ones. So many records may go.
    Window(usize),
}

/// What changes the files of a copy.
type Damage = Box<dyn Fn(&mut Files) + Send + Sync>;

/// See the module.
pub struct Case {
    /// The class of bytes, a row of the table.
    pub class: &'static str,
    /// The damaged files; errors must name one of them, or what all their names begin with.
    pub files: Vec<String>,
    /// What is done to them.
    pub what: String,
    /// What may come of it.
    pub allowed: Allowed,
    pub(super) damage: Damage,
}

impl Case {
    /// Any damage.
    pub(super) fn new(
        class: &'static str,
        file: &str,
        what: impl Into<String>,
        allowed: Allowed,
        damage: impl Fn(&mut Files) + Send + Sync + 'static,
    ) -> Case {
        Case { class, files: vec![file.to_owned()], what: what.into(), allowed, damage: Box::new(damage) }
    }

    /// Damage within one file's bytes.
    pub(super) fn within(
        class: &'static str,
        file: &str,
        what: impl Into<String>,
        allowed: Allowed,
        damage: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
    ) -> Case {
        let name = file.to_owned();
        Case::new(class, file, what, allowed, move |files| damage(bytes_of(files, &name)))
    }

    /// One bit.
    pub(super) fn flip(class: &'static str, file: &str, allowed: Allowed, at: usize, what: &str) -> Case {
        Case::within(class, file, format!("{what}, byte {at}"), allowed, move |bytes| bytes[at] ^= 0x10)
    }

    /// No file at all.
    pub(super) fn remove(class: &'static str, file: &str, allowed: Allowed) -> Case {
        let name = file.to_owned();
        Case::new(class, file, "deleted", allowed, move |files| drop(files.remove(&name)))
    }
}

/// The bytes of a file that every image has.
pub(super) fn bytes_of<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    files.get_mut(name).expect("cases are made from the image they change")
}

/// Overwrites bytes, and makes the file longer if it must be.
pub(super) fn fill(bytes: &mut Vec<u8>, from: usize, with: &[u8]) {
    bytes.resize(bytes.len().max(from + with.len()), 0);
    bytes[from..from + with.len()].copy_from_slice(with);
}
