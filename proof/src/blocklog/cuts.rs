//! Which moments are tried, and what the device has at each.

use super::image::{Image, SECTOR};
use super::recording::{Entry, Recording};
use crate::kill::Random;
use std::collections::HashMap;
use std::ops::Range;

/// Cuts after each flush that leave some of the unflushed sectors.
const TORN_OF_A_FLUSH: u64 = 3;

/// ext4 writes its superblock, two sectors with one checksum, in its place, and relies on the device not to tear
/// it. A cut that tears it says nothing of the engine: the file system cannot be mounted.
const SUPERBLOCK_SECTORS: u64 = 8;

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// What is on the device for certain: all entries before this one.
    pub(super) flushed: usize,
    /// Written, and perhaps not on the device.
    pub(super) loose: Range<usize>,
    /// What became of it.
    pub(super) survival: Survival,
}

/// What a loss of power leaves of what was not flushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Survival {
    /// Nothing: the flush boundary itself.
    Nothing,
    /// All.
    All,
    /// All, and of the last write only its first sectors.
    LastTorn,
    /// Each sector with a chance of so many in 8: torn and out of order.
    Some(u64, u64),
}

/// All moments, or so many of them, in the order of the recording.
pub(super) fn choose(recording: &Recording, cuts_max: Option<usize>, random: &mut Random) -> Vec<Cut> {
    let mut cuts = Vec::new();
    for loose in between_flushes(&recording.entries) {
        let flushed = loose.start;
        cuts.push(Cut { flushed, loose: loose.clone(), survival: Survival::Nothing });
        if loose.is_empty() {
            continue;
        }
        for _ in 0..TORN_OF_A_FLUSH {
            let loose = loose.start..loose.start + 1 + random.below(loose.len() as u64) as usize;
            let survival = match random.below(6) {
                0 => Survival::All,
                1 => Survival::LastTorn,
                _ => Survival::Some(1 + random.below(7), random.next()),
            };
            cuts.push(Cut { flushed, loose, survival });
        }
    }
    let Some(cuts_max) = cuts_max else { return cuts };
    while cuts.len() > cuts_max {
        cuts.swap_remove(random.below(cuts.len() as u64) as usize);
    }
    cuts.sort_by_key(|cut| (cut.flushed, cut.loose.end));
    cuts
}

/// The stretches of entries from one flush to the next; a flush begins none but ends one.
fn between_flushes(entries: &[Entry]) -> Vec<Range<usize>> {
    let mut ranges = Vec::new();
    let mut begin = 0;
    for (place, entry) in entries.iter().enumerate() {
        if entry.is_flush() {
            ranges.push(begin..place);
            begin = place + 1;
        }
    }
    ranges.push(begin..entries.len());
    ranges
}

impl Cut {
    /// The pages that differ from `base`, which has everything before the flush.
    pub(super) fn image_above(&self, recording: &Recording, base: &Image) -> std::io::Result<Image> {
        let mut sectors: HashMap<u64, Vec<u8>> = HashMap::new();
        let mut random = Random(if let Survival::Some(_, seed) = self.survival { seed } else { 0 });
        for place in self.loose.clone() {
            let entry = &recording.entries[place];
            let is_last = place + 1 == self.loose.end;
            let data = recording.data(entry)?;
            let whole = entry.is_durable() || entry.sector < SUPERBLOCK_SECTORS;
            let of_whole = random.below(8);
            for (number, bytes) in data.chunks_exact(SECTOR).enumerate() {
                let survives = match self.survival {
                    Survival::Nothing => entry.is_durable(),
                    Survival::All => true,
                    Survival::LastTorn => !is_last || whole || (number as u64) < entry.sectors / 2,
                    Survival::Some(..) if entry.is_durable() => true,
                    Survival::Some(chance, _) => (if whole { of_whole } else { random.below(8) }) < chance,
                };
                if survives {
                    sectors.insert(entry.sector + number as u64, bytes.to_vec());
                }
            }
        }
        let mut above = base.above(sectors.keys().copied());
        for (sector, bytes) in &sectors {
            above.write(*sector, bytes);
        }
        Ok(above)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::recording::tests::recording_of;
    use super::*;

    const FLUSH: u64 = 1;

    /// Two sectors of ones, a flush, two of twos in the same place, one of threes behind them, a flush.
    fn recording(begin: u64) -> Recording {
        recording_of(&[
            (begin, 0, vec![1; 1024]),
            (0, FLUSH, vec![]),
            (begin, 0, vec![2; 1024]),
            (begin + 2, 0, vec![3; 512]),
            (0, FLUSH, vec![]),
        ])
    }

    fn contents(recording: &Recording, cut: &Cut) -> Vec<u8> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("image");
        std::fs::write(&path, [0; 8192]).unwrap();
        let mut base = Image::of_file(&path).unwrap();
        for entry in &recording.entries[..cut.flushed] {
            base.write(entry.sector, &recording.data(entry).unwrap());
        }
        base.write_file(&cut.image_above(recording, &base).unwrap(), &path).unwrap();
        let begin = recording.entries[0].sector as usize;
        std::fs::read(&path).unwrap().chunks(SECTOR).skip(begin).take(3).map(|sector| sector[0]).collect()
    }

    #[test]
    fn each_survival_leaves_what_it_says() {
        let recording = recording(SUPERBLOCK_SECTORS);
        let of = |survival| contents(&recording, &Cut { flushed: 2, loose: 2..4, survival });
        assert_eq!(of(Survival::Nothing), [1, 1, 0]);
        assert_eq!(of(Survival::All), [2, 2, 3]);
        assert_eq!(of(Survival::LastTorn), [2, 2, 0]);
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let left = of(Survival::Some(4, seed * 7_919));
            assert!(left[..2].iter().all(|byte| [1, 2].contains(byte)) && [0, 3].contains(&left[2]), "{left:?}");
            seen.insert(left);
        }
        assert_eq!(seen.len(), 8, "each sector is old or new on its own");
    }

    #[test]
    fn a_superblock_is_not_torn() {
        let recording = recording(0);
        for seed in 0..100 {
            let cut = Cut { flushed: 2, loose: 2..4, survival: Survival::Some(4, seed * 7_919) };
            let left = contents(&recording, &cut);
            assert_eq!(left[0], left[1], "{left:?}");
        }
    }

    #[test]
    fn every_flush_boundary_is_among_the_cuts_unless_fewer_are_wanted() {
        let recording = recording(8);
        let cuts = choose(&recording, None, &mut Random(1));
        let boundaries: Vec<_> =
            cuts.iter().filter(|cut| cut.survival == Survival::Nothing).map(|cut| cut.flushed).collect();
        assert_eq!(boundaries, [0, 2, 5]);
        assert_eq!(cuts.len(), 3 + 2 * TORN_OF_A_FLUSH as usize);
        assert_eq!(choose(&recording, Some(4), &mut Random(1)).len(), 4);
    }
}
