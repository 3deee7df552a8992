//! What a run looks like before its first operation: lanes, clients, options, and which faults may come.
//! And with how many lanes each of its openings comes.

use super::random::Random;
use ringlane::{DiskBound, Options};

/// How many topic names there are.
pub const NAMES: usize = 3;

/// See the module.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Threads that call the engine.
    pub clients: usize,
    /// The engine's options.
    pub options: Options,
    /// Bytes of a value, from and to.
    pub value_bytes: (u64, u64),
    /// Records of a large batch.
    pub flood_records: u64,
    /// Machines and processes die.
    pub crashes: bool,
    /// Operations on the disk fail.
    pub io_errors: bool,
    /// The disk becomes full.
    pub full_disk: bool,
    /// The wall clock jumps.
    pub clock_jumps: bool,
    /// Sectors under write may end as garbage: only where pages are never written twice.
    pub garbage: bool,
    /// Segments are filled, freed and used again while the engine stays open: one lane and one client, so that
    /// whole segments are of one topic and go with it.
    pub recycles: bool,
    /// Records are given up: by calls, and by bounds of their topics.
    pub retains: bool,
    /// Somebody looks from outside now and then.
    pub outside: bool,
    /// Each opening may come with another number of lanes.
    pub changes_lanes: bool,
    /// The engine has a cleaner.
    pub cleans: bool,
    /// Named producers send, with an outbox.
    pub names: bool,
    /// Records have message ids, and are sent again.
    pub identifies: bool,
    /// Consumer groups work.
    pub groups: bool,
    /// There are transactions.
    pub transacts: bool,
}

/// The stream that chooses [`Shape::recycles`]: one of its own, so that all other seeds stay what they were, and
/// such that those kept as regression tests are among them.
const RECYCLES_STREAM: u64 = (1 << 41) + 8;
/// One seed in so many recycles.
const RECYCLES_ONE_IN: u64 = 8;
/// The stream that chooses [`Shape::retains`]; those kept as regression tests are not among them.
const RETAINS_STREAM: u64 = (1 << 41) + 15;
/// One seed in so many gives up records.
const RETAINS_ONE_IN: u64 = 4;
/// The stream that chooses [`Shape::changes_lanes`]: one of its own, and such that the seeds kept as regression
/// tests open as they did when they failed.
const CHANGES_LANES_STREAM: u64 = (1 << 42) + 1;
const CHANGES_LANES_ONE_IN: u64 = 4;

/// The stream that chooses [`Shape::cleans`]: as those before.
const CLEANS_STREAM: u64 = (1 << 42) + 100;
const CLEANS_ONE_IN: u64 = 2;

/// The stream that chooses [`Shape::bounds_disk`]; those kept as regression tests are not among them.
const BOUNDS_DISK_STREAM: u64 = (1 << 42) + 200;
const BOUNDS_DISK_ONE_IN: u64 = 8;
/// The least that an engine accepts for a lane of these sizes.
const DISK_BYTES_OF_A_LANE: u64 = 32 << 20;

/// The stream that chooses [`Shape::names`], [`Shape::identifies`] and how many receipts are remembered.
const NAMES_STREAM: u64 = (1 << 42) + 300;
const NAMES_ONE_IN: u64 = 2;
const IDENTIFIES_ONE_IN: u64 = 3;
/// The stream that chooses [`Shape::groups`] and how often their progress is written.
const GROUPS_STREAM: u64 = (1 << 42) + 400;
const GROUPS_ONE_IN: u64 = 2;
/// The stream that chooses [`Shape::transacts`].
const TRANSACTS_STREAM: u64 = (1 << 42) + 500;
const TRANSACTS_ONE_IN: u64 = 2;
/// So many receipts are never forgotten in a run.
pub const ORIGINALS_MANY: u64 = 50_000;

/// The stream that chooses [`Shape::outside`], and one seed in how many it chooses.
const OUTSIDE_STREAM: u64 = 1 << 42;
const OUTSIDE_ONE_IN: u64 = 2;

impl Shape {
    /// The options of one opening. What differs from one to the next is chosen by `opening`, a number that no
    /// other opening of the run has.
    pub fn options_of(&self, seed: u64, opening: u64) -> Options {
        let mut random = Random::new(seed).fork(CHANGES_LANES_STREAM).fork(opening);
        let lanes = match (self.changes_lanes, self.bounds_disk()) {
            (true, true) => *random.pick(&[Some(1), Some(2)]),
            (true, false) => *random.pick(&[None, None, Some(1), Some(1), Some(2), Some(2), Some(3), Some(4)]),
            (false, _) => self.options.lanes,
        };
        self.options.clone().lanes(lanes)
    }

    /// What the engine's files may take is bounded, and much more is written.
    pub fn bounds_disk(&self) -> bool {
        self.options.disk_bytes_max.is_some()
    }

    /// Records are given up that nobody named, whatever their topic keeps.
    pub fn drops_oldest(&self) -> bool {
        self.options.at_disk_bound == DiskBound::DropOldest
    }

    /// The shape that a seed chooses.
    pub fn new(random: &mut Random) -> Shape {
        let garbage = random.one_in(4);
        let recycles = random.fork(RECYCLES_STREAM).one_in(RECYCLES_ONE_IN);
        let retains = random.fork(RETAINS_STREAM).one_in(RETAINS_ONE_IN);
        let changes_lanes = !recycles && random.fork(CHANGES_LANES_STREAM).one_in(CHANGES_LANES_ONE_IN);
        let cleans = random.fork(CLEANS_STREAM).one_in(CLEANS_ONE_IN);
        let bounds_disk = !recycles && random.fork(BOUNDS_DISK_STREAM).one_in(BOUNDS_DISK_ONE_IN);
        let mut names_random = random.fork(NAMES_STREAM);
        let (names, identifies) = (names_random.one_in(NAMES_ONE_IN), names_random.one_in(IDENTIFIES_ONE_IN));
        let originals_max = *names_random.pick(&[0, 3, 20, ORIGINALS_MANY, ORIGINALS_MANY, ORIGINALS_MANY]);
        let mut groups_random = random.fork(GROUPS_STREAM);
        // Dead letters have ids: where few are remembered, nobody here knows which.
        let is_known = [0, ORIGINALS_MANY].contains(&originals_max);
        let groups = groups_random.one_in(GROUPS_ONE_IN) && is_known;
        let ack_flush_interval_ms = *groups_random.pick(&[1, 20, 1_000]);
        let large = random.one_in(3) || recycles || retains || bounds_disk;
        let quiet = random.one_in(10);
        let record_bytes_max = if large { 48 << 10 } else { 8 << 10 };
        let segment_bytes_first = 1 << 20;
        let options = Options::new()
            .lanes(Some(*random.pick(&[1, 1, 2, 2, 3, 4])))
            .pin_lanes(false)
            .lane_nice(0)
            .record_bytes_max(record_bytes_max)
            .batch_bytes(*random.pick(&[1 << 10, 4 << 10, 64 << 10]))
            .buffer_bytes_max(*random.pick(&[64 << 10, 64 << 10, 1 << 20]))
            .max_block_ms(*random.pick(&[1, 20, 5_000]))
            .linger_us(*random.pick(&[0, 0, 0, 50, 2_000]))
            .flush_interval_ms(*random.pick(&[1, 5, 50, 500]))
            .tail_cache_bytes(4 << 20)
            .index_cache_bytes(1 << 20)
            .segment_bytes_first(segment_bytes_first)
            .segment_bytes_max(segment_bytes_first << random.below(2))
            .segments_prepared(random.between(1, 2) as u32)
            .segments_recycled_max(random.below(4) as u32)
            .withheld_records_max(*random.pick(&[3, 1_000, 1_000]))
            .cleaner_bytes_per_second_max(if cleans { 1 << 30 } else { 0 })
            .cleaner_bytes_max(1 << 20)
            .originals_max(originals_max)
            .ack_flush_interval_ms(if groups { ack_flush_interval_ms } else { 10 })
            .power_safe_overwrite(!garbage);
        let clients = random.between(1, 4) as usize;
        let options = match (recycles, bounds_disk) {
            (true, _) => options.lanes(Some(1)).segments_recycled_max(4),
            (_, true) => {
                let lanes = if changes_lanes { 2 } else { 1 };
                let at_bound = match random.fork(BOUNDS_DISK_STREAM + 1).one_in(3) {
                    true => DiskBound::Refuse,
                    false => DiskBound::DropOldest,
                };
                let bounded = options.disk_bytes_max(Some(lanes * DISK_BYTES_OF_A_LANE)).at_disk_bound(at_bound);
                bounded.lanes(Some(lanes as u32))
            }
            _ => options,
        };
        Shape {
            clients: if recycles { 1 } else { clients },
            options,
            value_bytes: if large { (16, 40 << 10) } else { (16, 600) },
            flood_records: random.between(10, 120),
            crashes: !quiet,
            io_errors: !quiet && random.one_in(3),
            full_disk: !quiet && random.one_in(4),
            clock_jumps: random.one_in(3),
            garbage,
            recycles,
            retains,
            outside: random.fork(OUTSIDE_STREAM).one_in(OUTSIDE_ONE_IN),
            changes_lanes,
            cleans,
            names,
            identifies,
            groups,
            transacts: random.fork(TRANSACTS_STREAM).one_in(TRANSACTS_ONE_IN),
        }
    }
}
