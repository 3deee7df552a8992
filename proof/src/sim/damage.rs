//! Damage to the medium at rest: a bit, a sector of zeros or noise, a sector that belongs elsewhere.
//!
//! It is done to copies of the disk, one place in each. What it hits must be refused, reported, or harmless.
//! Only where no later frame of the log speaks for the place is it the stated window of docs/GUARANTEES.md
//! ("What remains"), which is counted.
//!
//! Invariant: [`Damage::is_promised`] errs to the side of the window: it says yes only where the engine has
//! surely written about the place since, or never writes to the file again.

use super::disk::{Disk, Inode, PAGE, SECTOR};
use super::random::Random;
use std::collections::BTreeMap;
use std::fmt;

/// Writes of one lane since its engine was opened, oldest first: file, first byte, bytes.
pub type Written = BTreeMap<usize, Vec<(Inode, u64, u64)>>;

/// So many later writes of the same lane surely carry a durable position behind a place: the next one may
/// have been encoded before, and the one after it too.
const LATER_WRITES: usize = 3;
/// The same where so much is written that the lane streams: it flushes once in 16 MiB then, in writes of 512 KiB, eight of
/// them at once.
const LATER_WRITES_IN_BULK: usize = 48;

/// What is done to a sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Bit,
    Zeros,
    Noise,
    /// It holds what belongs elsewhere.
    Misdirected,
}

/// One place that was damaged.
#[derive(Clone, Debug)]
pub struct Damage {
    file: String,
    offset: u64,
    how: How,
    /// What is wrong with the place must come out.
    promised: bool,
}

impl Damage {
    /// Damages one place of a disk. `in_bulk`: much was written at once. `None`: there is nothing to damage.
    pub fn inflict(disk: &mut Disk, written: &Written, in_bulk: bool, random: &mut Random) -> Option<Damage> {
        let files: Vec<(String, Inode)> = disk
            .names()
            .into_iter()
            .filter_map(|name| disk.find(&name).map(|inode| (name, inode)))
            .filter(|(_, inode)| disk.length(*inode) > 0)
            .collect();
        if files.is_empty() {
            return None;
        }
        let (file, inode) = random.pick(&files).clone();
        let page = choose_page(disk, inode, random)?;
        let sector = random.below((PAGE / SECTOR) as u64) as usize;
        let how = *random.pick(&[How::Bit, How::Zeros, How::Noise, How::Misdirected]);
        let other = random.pick(&files).1;
        let strange = sector_at(disk, other, choose_page(disk, other, random)?, random);
        let mut noise = random.fork(9);
        disk.corrupt(inode, page * PAGE as u64, |bytes| {
            let sector = &mut bytes[sector * SECTOR..(sector + 1) * SECTOR];
            match how {
                How::Bit => {
                    let bit = noise.below(SECTOR as u64 * 8) as usize;
                    sector[bit / 8] ^= 1 << (bit % 8);
                }
                How::Zeros => sector.fill(0),
                How::Noise => sector.iter_mut().for_each(|byte| *byte = noise.number() as u8),
                How::Misdirected => sector.copy_from_slice(&strange),
            }
        });
        let later_writes = if in_bulk { LATER_WRITES_IN_BULK } else { LATER_WRITES };
        let promised = is_promised(written, inode, page, later_writes);
        Some(Damage { file, offset: page * PAGE as u64 + (sector * SECTOR) as u64, how, promised })
    }

    /// Whether silence about the place would be a breach of what is promised.
    pub fn is_promised(&self) -> bool {
        self.promised
    }
}

/// A page of a file: one that holds something, if there is one, for there is little in zeros to damage.
fn choose_page(disk: &Disk, inode: Inode, random: &mut Random) -> Option<u64> {
    let pages = disk.length(inode).div_ceil(PAGE as u64);
    let held: Vec<u64> = (0..pages).filter(|page| disk.holds(inode, *page as usize)).collect();
    if !held.is_empty() {
        return Some(*random.pick(&held));
    }
    (pages > 0).then(|| random.below(pages))
}

fn sector_at(disk: &Disk, inode: Inode, page: u64, random: &mut Random) -> [u8; SECTOR] {
    let mut bytes = [0; PAGE];
    disk.read(inode, &mut bytes, page * PAGE as u64);
    let sector = random.below((PAGE / SECTOR) as u64) as usize;
    bytes[sector * SECTOR..(sector + 1) * SECTOR].try_into().expect("a sector")
}

/// Whether frames that were written later, to other pages, speak for a page.
fn is_promised(written: &Written, inode: Inode, page: u64, later_writes: usize) -> bool {
    let covers = |write: &(Inode, u64, u64)| {
        let (file, first, bytes) = *write;
        file == inode && (first / PAGE as u64..(first + bytes).div_ceil(PAGE as u64)).contains(&page)
    };
    // A file goes from one lane to another when it is used again. Each that has written to it must have gone on: which
    // of them wrote this page last is not known.
    let lanes: Vec<_> = written.values().filter(|writes| writes.iter().any(|(file, ..)| *file == inode)).collect();
    if lanes.is_empty() {
        // An earlier opening's, whose end stands in the manifest: unless that opening is not over yet.
        return !written.is_empty();
    }
    lanes.iter().all(|writes| {
        let last = writes.iter().rposition(covers).unwrap_or(0);
        let later = &writes[last + 1..];
        later.len() >= later_writes && later[later_writes - 1..].iter().any(|write| !covers(write))
    })
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, offset, how, .. } = self;
        let how = match how {
            How::Bit => "a bit was turned",
            How::Zeros => "a sector became zeros",
            How::Noise => "a sector became noise",
            How::Misdirected => "a sector of another place was written",
        };
        write!(f, "{how} at byte {offset} of {file}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_writes_to_other_pages_speak_for_a_place() {
        let page = PAGE as u64;
        let mut written = Written::new();
        assert!(!is_promised(&written, 1, 3, LATER_WRITES), "the opening may not be over");
        written.insert(1, vec![(1, 3 * page, page), (1, 3 * page, page), (1, 4 * page, page), (1, 5 * page, page)]);
        assert!(!is_promised(&written, 1, 3, LATER_WRITES), "two are not enough");
        written.get_mut(&1).expect("just inserted").push((2, page, page));
        assert!(is_promised(&written, 1, 3, LATER_WRITES));
        assert!(!is_promised(&written, 1, 3, LATER_WRITES_IN_BULK));
        assert!(!is_promised(&written, 1, 5, LATER_WRITES) && !is_promised(&written, 2, 1, LATER_WRITES));
        assert!(is_promised(&written, 7, 0, LATER_WRITES), "an earlier opening's file");
        // The file was used again, by another lane: what the first one wrote elsewhere since says nothing of it.
        written.insert(2, vec![(1, 3 * page, page)]);
        assert!(!is_promised(&written, 1, 3, LATER_WRITES));
    }
}
