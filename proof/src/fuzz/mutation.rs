//! What a fuzzer's bytes do to the files of a log. Bytes are read front to back; where they end, so do the changes.
//!
//! A change is: what (one byte), which file (one byte), where, and what the change needs. Where is a frame of a
//! segment and a place in it, or any place of the file, so that headers are hit as often as bodies.

use super::packed::Files;
use ringlane::fuzz_support::{frame_starts, mend_manifest, mend_segment, mend_sidecar};

/// Changes made of one input; more make a run slow and no richer.
const CHANGES_MAX: usize = 24;
/// Files may not grow beyond what a log of this size has.
const FILE_BYTES_MAX: usize = 2 << 20;
/// Lengths, counts and positions that go wrong most.
const EDGES: [u64; 8] = [0, 1, 7, 0x7fff_ffff, 0xffff_ffff, 0x7fff_ffff_ffff_ffff, 0xffff_ffff_ffff_fff8, u64::MAX];

/// The fuzzer's bytes.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    pub(super) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(super) fn number(&mut self, bytes: usize) -> usize {
        self.bytes(bytes).iter().fold(0, |number, byte| number << 8 | usize::from(*byte))
    }
}

/// Applies all changes; gives the names of the files that were changed and are there.
pub(super) fn mutate(files: &mut Files, input: &mut Input<'_>) -> Vec<String> {
    let names: Vec<String> = files.keys().cloned().collect();
    let mut changed = Vec::new();
    for _ in 0..CHANGES_MAX {
        if input.0.is_empty() {
            break;
        }
        let (what, name) = (input.byte(), &names[usize::from(input.byte()) % names.len()]);
        if what % 16 == 15 {
            files.remove(name);
            continue;
        }
        let Some(bytes) = files.get_mut(name) else { continue };
        change(bytes, what, input);
        bytes.truncate(FILE_BYTES_MAX);
        if !changed.contains(name) {
            changed.push(name.clone());
        }
    }
    changed.retain(|name| files.contains_key(name));
    changed
}

fn change(bytes: &mut Vec<u8>, what: u8, input: &mut Input<'_>) {
    let at = place(bytes, what, input);
    match what % 16 {
        0..4 => {
            let count = input.byte() as usize % 16 + 1;
            overwrite(bytes, at, input.bytes(count));
        }
        4..6 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << (input.byte() % 8);
            }
        }
        6..9 => {
            let edge = input.byte();
            let width = if edge & 8 == 0 { 4 } else { 8 };
            let number = EDGES[usize::from(edge % 8)].to_le_bytes();
            overwrite(bytes, at, &number[..width]);
        }
        9 => {
            let count = input.number(2);
            let value = input.byte();
            overwrite(bytes, at, &vec![value; count]);
        }
        10 | 11 => {
            let from = place(bytes, what, input);
            let count = input.number(2) * 8;
            let copy = bytes[from.min(bytes.len())..(from + count).min(bytes.len())].to_vec();
            overwrite(bytes, at, &copy);
        }
        12 => bytes.truncate(at),
        13 => {
            let count = input.number(2);
            bytes.resize(bytes.len() + count, input.byte());
        }
        // Any bytes at all as a file, or as what comes behind a segment's header page.
        _ => {
            let count = input.number(1) * 16;
            let start = if what & 16 == 0 { 0 } else { 4096 };
            bytes.truncate(start);
            let arbitrary = input.bytes(count);
            bytes.extend_from_slice(arbitrary);
        }
    }
}

/// A place in a file: within a frame's header or near it, or anywhere.
fn place(bytes: &[u8], what: u8, input: &mut Input<'_>) -> usize {
    if what & 0x80 == 0 {
        let starts = frame_starts(bytes);
        if let Some(frame) = input.number(1).checked_rem(starts.len()) {
            return starts[frame] + input.number(1);
        }
    }
    let number = input.number(if bytes.len() > 1 << 16 { 3 } else { 2 });
    number.checked_rem(bytes.len()).unwrap_or(0)
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8]) {
    if let Some(target) = bytes.get_mut(at..) {
        let count = with.len().min(target.len());
        target[..count].copy_from_slice(&with[..count]);
    }
}

/// Makes the checksums of a file right.
pub(super) fn mend(name: &str, bytes: &mut [u8]) {
    if name.starts_with("manifest") {
        mend_manifest(bytes);
    } else if name.ends_with(".index") {
        mend_sidecar(bytes);
    } else if name.starts_with("segment") {
        mend_segment(bytes);
    }
}
