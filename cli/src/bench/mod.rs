//! `ringlane bench`: the device and the engine, measured alternately in one run.
//!
//! Invariants:
//! - Each workload runs in slices: limit, engine, limit, engine, ... on the same file system, with the
//!   same number of bytes or for the same time. A figure is the median over the slices.
//! - Before a slice the engine's background work has come to rest, so that the one is not measured
//!   beside the other.
//! - Both sides count the same things: records, and the bytes that these records take in the log.

pub mod limit;
pub mod measure;
pub mod noise;
mod other_process;
mod report;
mod scratch;
mod setup;
mod workloads;

pub use other_process::{OpenerArguments, SeekerArguments, WriterArguments, run_opener, run_seeker, run_writer};
pub use scratch::Scratch;

use crate::arguments::OptionArguments;
use crate::failure::Result;
use crate::interrupt;
use crate::output::Output;
use clap::{Args, ValueEnum};
use report::Report;
use setup::Setup;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `bench`.
#[derive(Args)]
#[command(after_long_help = EXPLANATION)]
pub struct BenchArguments {
    /// What to measure
    #[arg(value_enum, default_value_t = Workload::All)]
    workload: Workload,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    /// Bytes of each value
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=1 << 20))]
    record_bytes: u32,
    /// Lanes of the engine [default: the engine's own]
    #[arg(long)]
    lanes: Option<u32>,
    /// Blocking senders of `group`, records in flight of `inflight`
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    depth: u32,
    /// Time for the engine's slices of each workload, together; the limit's slices take as long again
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = crate::text::parse_duration)]
    duration: Duration,
    /// Slices of each workload
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=101))]
    slices: u32,
    /// Log bytes of each slice of `bulk` and `grow`, and of the log that `cold` reads or `open` opens, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..=1 << 20))]
    log_mib: u32,
    /// Records that `bulk` and `grow` send with one call
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    batch: u32,
    /// Records that `index` writes, each a run of its own
    #[arg(long, value_name = "RECORDS", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    records: u64,
    /// Most time for `index` to write them; it measures what is there by then
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = crate::text::parse_duration)]
    fill_max: Duration,
    /// A directory on the device to be measured [default: a fresh one in the current directory, removed afterwards]
    #[arg(long = "dir", value_name = "DIR", env = "RINGLANE_DIR")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    options: OptionArguments,
}

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// One synchronous sender
    Lone,
    /// The same beside as many spinning threads as cores; the limit is measured idle
    Busy,
    /// Blocking senders; the limit is a raw loop fed by as many blocking threads
    Group,
    /// Records in flight from one asynchronous sender
    Inflight,
    /// One producer as fast as it goes, into recycled segments
    Bulk,
    /// The same into a growing log
    Grow,
    /// 1,000 partitions, one record each per round
    Many,
    /// Consume from memory
    Tail,
    /// A member of a shared group: consume from memory and acknowledge each record
    Ack,
    /// The same with 64 members
    Shared,
    /// Consume from the device: sequentially, and one and all of 1,000 interleaved partitions
    Cold,
    /// Transactions in one lane and over two, and what 10,000 that are prepared cost others
    Txn,
    /// A lone sender and a bulk load while the cleaner is at work
    Clean,
    /// Open: an empty engine, and a log of 10,000 partitions whose writer was killed; with memory and disk
    Open,
    /// All of these
    All,
    /// The sealed index: --records one-record runs in 10,000 partitions whose writer was killed
    Index,
    /// Only the device, at several block sizes and depths
    Device,
}

const EXPLANATION: &str = "\
How to read it:
  Each line compares the engine with the bare device, measured in turns in one run. `ratio` is engine
  over limit: records/s over records/s, or for `lone` and `busy` p50 over p50. MB/s are bytes of the
  log, records with their headers and frames, on both sides.

  lone, busy   limit: a raw durable 4 KiB overwrite, O_DIRECT and RWF_DSYNC on io_uring, one deep, idle
  group        limit: one raw writer to which as many blocking threads hand over
  inflight     limit: --depth records in each raw durable write of the size they need, one deep
  bulk         limit: raw durable overwrites, the better of 256 KiB and 1 MiB blocks, four deep
  grow         limit: raw writes into an allocated file, 1 MiB, eight deep, flushed every 16 MiB
  many         limit_*: a raw durable write of a round's bytes, one deep. `ratio` is over the engine's
               own run with the same records in one partition, which the line `many-one` shows
  tail         limit: the same bytes walked record by record in plain memory
  ack          limit: the same records consumed without a group
  shared       limit: one member alone, as in `ack`; `ratio` is 64 members over one
  cold         limit: raw sequential reads, the best of 256 KiB to 1 MiB blocks, one to eight deep;
               the line `cold-interleaved` reads one of 1,000 interleaved partitions, the line
               `cold-interleaved-all` all of them with one consumer; `cold-regrouped` and
               `cold-regrouped-all` the same when the cleaner has put each partition together
  txn          limit: a lone record, as in `lone`; p50 over p50. A transaction has 10 records in 3 partitions of one
               lane; in the line `txn-lanes`, of two. `txn-bulk` produces and `txn-tail` consumes beside 10,000
               prepared ones; their limit is the same without. The line `txn` has the other ratios as well
  clean        limit: the same engine without a cleaner. `lone-cleaning`: p50 over p50; `bulk-cleaning`: records/s
  open         limit: raw sequential reads of one segment, and 50 ms; p50 over p50. `open-empty` opens an
               engine that is not there yet; its limit is the goal of 20 ms. Both in fresh processes
  index        as for `open`, the line `index-open`; `index-seek` is about 1,000 random places, `index-pass`
               about one partition from its beginning to its end; they have no limit. Not part of `all`";

impl Workload {
    const ALL: [Workload; 14] = [
        Workload::Lone,
        Workload::Busy,
        Workload::Group,
        Workload::Inflight,
        Workload::Bulk,
        Workload::Grow,
        Workload::Many,
        Workload::Tail,
        Workload::Ack,
        Workload::Shared,
        Workload::Cold,
        Workload::Txn,
        Workload::Clean,
        Workload::Open,
    ];

    fn run(self, setup: &Setup, report: &mut Report) -> Result {
        match self {
            Workload::Lone => workloads::lone::run(setup, report, false),
            Workload::Busy => workloads::lone::run(setup, report, true),
            Workload::Group => workloads::group::run(setup, report),
            Workload::Inflight => workloads::inflight::run(setup, report),
            Workload::Bulk => workloads::bulk::run(setup, report),
            Workload::Grow => workloads::grow::run(setup, report),
            Workload::Many => workloads::many::run(setup, report),
            Workload::Tail => workloads::tail::run(setup, report),
            Workload::Ack => workloads::ack::run(setup, report, false),
            Workload::Shared => workloads::ack::run(setup, report, true),
            Workload::Cold => workloads::cold::run(setup, report),
            Workload::Txn => workloads::txn::run(setup, report),
            Workload::Clean => workloads::clean::run(setup, report),
            Workload::Open => workloads::open::run(setup, report),
            Workload::Index => workloads::index::run(setup, report),
            Workload::Device => workloads::device::run(setup, report),
            Workload::All => Workload::ALL.into_iter().try_for_each(|workload| workload.run(setup, report)),
        }
    }
}

/// Runs `ringlane bench`.
pub fn run(arguments: &BenchArguments) -> Result {
    // So that Ctrl-C between two slices still removes what was written.
    interrupt::catch();
    let scratch = Scratch::new(arguments.directory.as_deref(), "bench")?;
    scratch.warn_if_not_a_disk();
    let setup = Setup {
        directory: scratch.path().to_owned(),
        record_bytes: arguments.record_bytes as usize,
        lanes: arguments.lanes,
        depth: arguments.depth as usize,
        slices: arguments.slices as usize,
        slice: arguments.duration / arguments.slices,
        log_bytes: u64::from(arguments.log_mib) << 20,
        index_records: arguments.records,
        fill_max: arguments.fill_max,
        batch: arguments.batch as usize,
        options: arguments.options.clone(),
    };
    // A wrong option should be known before anything is measured.
    setup.engine_options(ringlane::Options::new())?;
    let mut report = Report::new(Output::new(), arguments.json);
    arguments.workload.run(&setup, &mut report)?;
    report.finish()
}
