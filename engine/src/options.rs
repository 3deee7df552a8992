//! What can be set when an engine is opened. Each option has a unit in its name, a default and a bound.

use crate::bounds::*;
use crate::error::{Error, Result};
use crate::io::{Backend, WriteStrategy};
use crate::lane::originals::ORIGINALS_CEILING;
use crate::lane::transactions::OUTCOMES_CEILING;

/// What recovery does when it finds acknowledged data damaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recovery {
    /// Opening fails with [`Error::Damaged`]; nothing is changed.
    #[default]
    Strict,
    /// Opening succeeds for reading; every hole is reported by
    /// [`Engine::holes`](crate::Engine::holes), and nothing can be sent.
    Salvage,
}

impl std::str::FromStr for Recovery {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "strict" => Ok(Recovery::Strict),
            "salvage" => Ok(Recovery::Salvage),
            _ => Err("strict or salvage"),
        }
    }
}

impl std::str::FromStr for Backend {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Backend::Auto),
            "io-uring" => Ok(Backend::IoUring),
            "plain" => Ok(Backend::Plain),
            "plain-buffered" => Ok(Backend::PlainBuffered),
            _ => Err("auto, io-uring, plain or plain-buffered"),
        }
    }
}

/// What happens when the engine's files reach [`Options::disk_bytes_max`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DiskBound {
    /// Producers get [`Error::NoSpace`]; nothing is given up that retention keeps.
    #[default]
    Refuse,
    /// The oldest records are given up, of whatever topic, also where its retention would keep them. Who
    /// wants them gets [`Error::Truncated`]. Records that are withheld stay. A load that comes faster than
    /// old records go waits for them.
    DropOldest,
}

impl std::str::FromStr for DiskBound {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "refuse" => Ok(DiskBound::Refuse),
            "drop-oldest" => Ok(DiskBound::DropOldest),
            _ => Err("refuse or drop-oldest"),
        }
    }
}

macro_rules! options {
    ($( $(#[$doc:meta])* $name:ident : $type:ty = $default:expr, $parse:expr; )*) => {
        /// The options of [`Engine::open`](crate::Engine::open).
        ///
        /// ```
        /// let options = ringlane::Options::new().lanes(Some(1)).tail_cache_bytes(16 << 20);
        /// assert_eq!(options.max_block_ms, 60_000);
        /// ```
        #[derive(Clone, Debug, PartialEq)]
        #[non_exhaustive]
        pub struct Options {
            $( $(#[$doc])* pub $name: $type, )*
        }

        impl Default for Options {
            fn default() -> Self {
                Options { $( $name: $default, )* }
            }
        }

        impl Options {
            $( $(#[$doc])*
            #[must_use]
            pub fn $name(mut self, value: $type) -> Self {
                self.$name = value;
                self
            } )*

            /// Sets an option by its name, as the command line and other languages do. An unknown
            /// name or a value that does not parse is [`Error::InvalidArgument`].
            pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
                match name {
                    $( stringify!($name) => {
                        let parse: fn(&str) -> std::result::Result<$type, String> = $parse;
                        self.$name = parse(value).map_err(|reason| Error::InvalidArgument {
                            name: stringify!($name), value: value.to_owned(), reason,
                        })?;
                        Ok(())
                    } )*
                    _ => Err(Error::InvalidArgument {
                        name: "option",
                        value: name.to_owned(),
                        reason: format!("known options are {}", Self::NAMES.join(", ")),
                    }),
                }
            }

            /// The names of all options.
            pub const NAMES: &'static [&'static str] = &[ $( stringify!($name), )* ];
        }
    };
}

options! {
    /// Create the directory's engine if it is empty. Default true.
    create: bool = true, |text| parse(text, "true or false");
    /// How many lanes: 1 to 64. A directory that has another number of them is changed by opening it: its logs
    /// are sealed and stay readable, and each lane begins a log of its own. Default: as the directory has, and
    /// for a new one [`Options::default_lanes`]. With `recovery` = salvage nothing is changed.
    lanes: Option<u32> = None, |text| parse(text, "a number from 1 to 64").map(Some);
    /// Pin lanes to cores when there are fewer lanes than usable cores. Default true.
    pin_lanes: bool = true, |text| parse(text, "true or false");
    /// Niceness of lanes, where the process may set it (root, CAP_SYS_NICE, or RLIMIT_NICE); elsewhere
    /// lanes run like all threads. A lane needs little of a core and needs it at once: beside threads
    /// that keep all cores busy, -5 lets its p99 fall from 3 ms to 0.4 ms. Default -5; 0 asks for nothing.
    lane_nice: i32 = -5, |text| parse(text, "a number from -20 to 19");
    /// Which way to the device: `auto`, `io-uring`, `plain`, `plain-buffered`. Default auto: the best
    /// that works here.
    backend: Backend = Backend::Auto, |text| parse(text, "auto, io-uring, plain or plain-buffered");
    /// How a small group is written and flushed; unset means chosen by measurement. Default unset.
    write_strategy: Option<WriteStrategy> = None, |text| parse(text, "a write strategy").map(Some);
    /// What to do about damage. Default strict.
    recovery: Recovery = Recovery::Strict, |text| parse(text, "strict or salvage");
    /// Largest record in bytes, its header included. Default 1 MiB.
    record_bytes_max: usize = 1 << 20, |text| parse(text, "a number of bytes");
    /// Producers collect records of a lane up to this size before they hand them over on their own.
    /// Default 64 KiB.
    batch_bytes: usize = 64 << 10, |text| parse(text, "a number of bytes");
    /// Bytes that a producer may have waiting for one lane before its senders block. Default 16 MiB.
    buffer_bytes_max: u64 = 16 << 20, |text| parse(text, "a number of bytes");
    /// How long a sender waits for room before it gets `QueueFull`. Default 60,000 ms.
    max_block_ms: u64 = 60_000, |text| parse(text, "a number of ms");
    /// Wait this long for company before a small group is written. Default 0 us: never.
    linger_us: u64 = 0, |text| parse(text, "a number of us");
    /// How long a record sent with durability `buffered` may wait for its flush. Default 50 ms.
    flush_interval_ms: u64 = 50, |text| parse(text, "a number of ms");
    /// Most memory for recent records, all lanes together. Default 64 MiB.
    tail_cache_bytes: u64 = 64 << 20, |text| parse(text, "a number of bytes");
    /// Most memory for the index of sealed segments. Default 32 MiB.
    index_cache_bytes: u64 = 32 << 20, |text| parse(text, "a number of bytes");
    /// Largest segment; the first ones are smaller and double. Default 64 MiB.
    segment_bytes_max: u64 = 64 << 20, |text| parse(text, "a number of bytes");
    /// Size of the first segment of a log. Default 2 MiB.
    segment_bytes_first: u64 = 2 << 20, |text| parse(text, "a number of bytes");
    /// Segments that are ready (zero-filled or recycled) before they are needed, per lane. Default 2.
    segments_prepared: u32 = 2, |text| parse(text, "a number from 1 to 16");
    /// Retired segments kept for reuse, per lane. Default 4.
    segments_recycled_max: u32 = 4, |text| parse(text, "a number");
    /// Most bytes of the engine's files (segments of every kind, reserve and prepared ones too). Default
    /// none: what the file system has. For each lane at least 32 MiB, and eight times its first
    /// segment; segments are then at most a sixteenth of it.
    disk_bytes_max: Option<u64> = None, |text| parse(text, "a number of bytes").map(Some);
    /// What happens there. Default refuse.
    at_disk_bound: DiskBound = DiskBound::Refuse, |text| parse(text, "refuse or drop-oldest");
    /// Most records withheld (delayed) at once, per lane. Default 250,000.
    withheld_records_max: u64 = 250_000, |text| parse(text, "a number");
    /// What members of groups have acknowledged goes into the log at least so often; it is durable `flush_interval_ms` later
    /// at most. Also how often leases are looked at. Default 10 ms.
    ack_flush_interval_ms: u64 = 10, |text| parse(text, "a number of ms");
    /// Receipts that each lane remembers of records that have a number or a message id of their sender's own: one that is
    /// sent again is answered with them. They are part of each checkpoint, with 57 bytes and the id each. Default
    /// 50,000; at most 1,000,000.
    originals_max: u64 = 50_000, |text| parse(text, "a number");
    /// Outcomes of transactions that each lane remembers: a decision that is made again is answered by them, and an id that
    /// was committed is not taken for new. They are part of each checkpoint, with 33 bytes and the id each. Default
    /// 50,000; at most 100,000.
    outcomes_max: u64 = 50_000, |text| parse(text, "a number");
    /// Most bytes a second that the cleaner reads and writes. It copies what is kept of segments whose other
    /// records were given up, and puts the records of each partition together where many partitions lie
    /// scattered. While senders come in bulk it takes an eighth of this, and all that it can get while a full disk
    /// keeps them waiting. Default 64 MiB; 0: there is no cleaner, and a segment goes only when nothing in it is kept.
    cleaner_bytes_per_second_max: u64 = 64 << 20, |text| parse(text, "a number of bytes");
    /// Most memory that the cleaner takes while it copies. Default 32 MiB.
    cleaner_bytes_max: u64 = 32 << 20, |text| parse(text, "a number of bytes");
    /// The device writes a 512-byte sector wholly or not at all, and harms no neighbour. Where that
    /// is not so, set false: each group then fills whole pages. Default true (as SQLite assumes).
    power_safe_overwrite: bool = true, |text| parse(text, "true or false");
    /// Let other processes of the same user ask this one for what changes state, through the socket
    /// `admin.socket` in the directory, while the engine is open; see [`admin`](crate::admin). Where the file
    /// system has no sockets the engine opens all the same, and the statistics say why there is none.
    /// Default true.
    admin_socket: bool = true, |text| parse(text, "true or false");
    /// How long opening waits for a process that is just ending. Default 0 ms.
    lock_wait_ms: u64 = 0, |text| parse(text, "a number of ms");
}

fn parse<T: std::str::FromStr>(text: &str, expected: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|_| format!("expected {expected}"))
}

impl Options {
    /// The defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lanes of a new engine: one. On one device more lanes make more and smaller flushes: two lanes flush two
    /// to four times as often, four lanes three to eight times, and on a quiet machine each of the measured
    /// workloads was slower with them. Beside a busy process some were faster: see docs/PERFORMANCE.md.
    pub fn default_lanes() -> u32 {
        1
    }

    /// The first segment's size: it must hold the largest record and a batch beside its checkpoint.
    pub(crate) fn first_segment_bytes(&self) -> u64 {
        let needed = (self.record_bytes_max + self.batch_bytes + (128 << 10)) as u64;
        self.segment_bytes_first.max(needed.next_power_of_two())
    }

    /// The largest segment: one that is not large beside the bound on the disk.
    pub(crate) fn segment_bytes_limit(&self) -> u64 {
        let share = self.disk_bytes_max.map_or(u64::MAX, |bytes| bytes / 16);
        let share = 1 << (63 - share.max(1).leading_zeros());
        self.segment_bytes_max.min(share).max(self.first_segment_bytes())
    }

    /// Checks every bound.
    pub(crate) fn validate(&self) -> Result<()> {
        let check = |ok: bool, name: &'static str, value: String, reason: &str| {
            if ok { Ok(()) } else { Err(Error::InvalidArgument { name, value, reason: reason.to_owned() }) }
        };
        let lanes = self.lanes.unwrap_or(1);
        check((1..=LANES_MAX).contains(&lanes), "lanes", lanes.to_string(), "1 to 64")?;
        let nice = self.lane_nice;
        check((-20..=19).contains(&nice), "lane_nice", nice.to_string(), "-20 to 19")?;
        let record = self.record_bytes_max;
        check(
            (64..=RECORD_BYTES_CEILING).contains(&record),
            "record_bytes_max",
            record.to_string(),
            "64 bytes to 16 MiB",
        )?;
        let batch = self.batch_bytes;
        check((1024..=BATCH_BYTES_CEILING).contains(&batch), "batch_bytes", batch.to_string(), "1 KiB to 4 MiB")?;
        let buffer = self.buffer_bytes_max;
        check(buffer >= 64 << 10, "buffer_bytes_max", buffer.to_string(), "at least 64 KiB")?;
        for (name, value) in
            [("segment_bytes_max", self.segment_bytes_max), ("segment_bytes_first", self.segment_bytes_first)]
        {
            let range = SEGMENT_BYTES_FLOOR..=SEGMENT_BYTES_CEILING;
            check(
                range.contains(&value) && value.is_power_of_two(),
                name,
                value.to_string(),
                "a power of two from 1 MiB to 4 GiB",
            )?;
        }
        check(
            self.segment_bytes_first <= self.segment_bytes_max,
            "segment_bytes_first",
            self.segment_bytes_first.to_string(),
            "at most segment_bytes_max",
        )?;
        check(
            (1..=16).contains(&self.segments_prepared),
            "segments_prepared",
            self.segments_prepared.to_string(),
            "1 to 16",
        )?;
        check(
            self.segments_recycled_max <= 64,
            "segments_recycled_max",
            self.segments_recycled_max.to_string(),
            "at most 64",
        )?;
        check(
            self.tail_cache_bytes >= 4 << 20,
            "tail_cache_bytes",
            self.tail_cache_bytes.to_string(),
            "at least 4 MiB",
        )?;
        check(
            self.index_cache_bytes >= 1 << 20,
            "index_cache_bytes",
            self.index_cache_bytes.to_string(),
            "at least 1 MiB",
        )?;
        check(
            self.cleaner_bytes_max >= 1 << 20,
            "cleaner_bytes_max",
            self.cleaner_bytes_max.to_string(),
            "at least 1 MiB",
        )?;
        let disk = self.disk_bytes_max.unwrap_or(u64::MAX);
        check(
            disk / DISK_BYTES_FLOOR.max(self.first_segment_bytes() * 8) >= u64::from(lanes),
            "disk_bytes_max",
            disk.to_string(),
            "for each lane at least 32 MiB, and eight times its first segment",
        )?;
        let withheld = self.withheld_records_max;
        check(withheld <= WITHHELD_RECORDS_CEILING, "withheld_records_max", withheld.to_string(), "at most 500,000")?;
        let interval = self.ack_flush_interval_ms;
        check((1..=60_000).contains(&interval), "ack_flush_interval_ms", interval.to_string(), "1 ms to 60 s")?;
        let originals = self.originals_max;
        check(originals <= ORIGINALS_CEILING, "originals_max", originals.to_string(), "at most 1,000,000")?;
        let outcomes = self.outcomes_max;
        check(outcomes <= OUTCOMES_CEILING, "outcomes_max", outcomes.to_string(), "at most 100,000")?;
        check(self.linger_us <= 1_000_000, "linger_us", self.linger_us.to_string(), "at most 1 s")?;
        check(
            (1..=60_000).contains(&self.flush_interval_ms),
            "flush_interval_ms",
            self.flush_interval_ms.to_string(),
            "1 ms to 60 s",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_options_can_be_set_by_name() {
        let mut options = Options::new();
        options.validate().unwrap();
        options.set("lanes", "3").unwrap();
        options.set("backend", "plain").unwrap();
        assert_eq!((options.lanes, options.backend), (Some(3), Backend::Plain));
        let error = options.set("lines", "3").unwrap_err();
        assert!(error.to_string().contains("known options are create, lanes"), "{error}");
        let error = options.set("batch_bytes", "many").unwrap_err();
        assert!(error.to_string().contains("expected a number of bytes"), "{error}");
    }

    #[test]
    fn each_bound_is_checked() {
        for (name, value) in [
            ("lanes", "0"),
            ("lanes", "65"),
            ("record_bytes_max", "1"),
            ("batch_bytes", "1"),
            ("buffer_bytes_max", "1"),
            ("segment_bytes_max", "3000000"),
            ("segment_bytes_first", "1"),
            ("segments_prepared", "0"),
            ("tail_cache_bytes", "0"),
            ("lane_nice", "20"),
            ("disk_bytes_max", "1000000"),
            ("cleaner_bytes_max", "1"),
            ("flush_interval_ms", "0"),
            ("originals_max", "1000001"),
            ("outcomes_max", "100001"),
            ("ack_flush_interval_ms", "0"),
        ] {
            let mut options = Options::new();
            options.set(name, value).unwrap();
            let error = options.validate().expect_err(name);
            assert!(error.to_string().contains(name), "{error}");
        }
    }
}
