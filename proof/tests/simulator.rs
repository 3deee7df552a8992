//! The simulator tells the same story twice, finds nothing wrong with the engine, and finds what is wrong.

use ringlane_proof::sim::disk::Disk;
use ringlane_proof::sim::exhaustive::{Deed, Tally, try_workload, workloads};
use ringlane_proof::sim::plan::Plan;
use ringlane_proof::sim::random::Digest;
use ringlane_proof::sim::run::run;
use ringlane_proof::sim::scheduler::hush_panics;

const OPERATIONS: usize = 120;

/// A bounded part of what `ringlane-proof sim` does.
#[test]
fn seeds_find_nothing_and_agree_with_themselves() {
    hush_panics();
    for seed in 1..=30 {
        let plan = Plan::new(seed, OPERATIONS);
        let ran = run(&plan, true);
        assert_eq!(ran.failure(), None, "seed {seed} of {OPERATIONS} operations");
        assert_eq!(run(&plan, false).digest, ran.digest, "two runs of seed {seed} differ");
    }
}

/// A plan with parts left out is what shrinking tries; what is left does the same.
#[test]
fn steps_are_the_same_when_others_are_left_out() {
    let plan = Plan::new(5, OPERATIONS);
    let numbers: Vec<usize> = (0..OPERATIONS).filter(|number| number % 3 == 0).collect();
    let kept = plan.keep(&numbers);
    assert_eq!(kept.numbers(), numbers);
    for step in &kept.steps {
        let same = plan.steps.iter().find(|other| other.number == step.number).expect("it was kept");
        assert_eq!(step.operation.to_string(), same.operation.to_string());
    }
    assert_eq!(run(&kept, true).failure(), None);
}

/// The plan of a seed that failed once, with the steps that mattered. A seed says nothing any more when the
/// workload changes and gives it another plan; `fingerprint` is that of the plan that failed.
fn kept(seed: u64, steps: &[usize], fingerprint: u64) -> Plan {
    let mut plan = Plan::new(seed, 200).keep(steps);
    // There was no cleaner then.
    plan.shape.cleans = false;
    plan.shape.options.cleaner_bytes_per_second_max = 0;
    let mut digest = Digest::default();
    for step in &plan.steps {
        digest.add_bytes(step.operation.to_string().as_bytes());
    }
    assert!(!plan.shape.changes_lanes, "seed {seed} opened with the same number of lanes every time");
    assert_eq!(digest.0, fingerprint, "seed {seed} is not the plan that failed: {:#x}", digest.0);
    plan
}

/// The first segment of a new engine was made before its manifest. Whoever killed the process, or cut the
/// power, between the two had a directory that no opening accepted: "both copies are missing or damaged,
/// but segment-00000000 is there". (Simulator, seed 40 of its first day.)
#[test]
fn creation_can_be_cut_short_anywhere() {
    let (tally, failed) = try_workload(&[], 2, 0, 1);
    assert!(failed.is_none(), "{}", failed.expect("it is there"));
    assert!(tally.points > 20 && tally.disks > tally.points, "{tally:?}");
}

/// A process wrote into the manifest that a segment's file is free, and its flush failed. The next one read
/// that from the page cache, believed it, and gave the file to another segment; power failed before it had
/// written a manifest of its own. Now the manifest on the disk was the older one, in which the file was live
/// with another header, and opening refused: "files of different engines or times are mixed". What was
/// read is written and flushed once more before anything follows from it. (Simulator, seed 1815.)
#[test]
fn a_file_is_free_only_when_the_manifest_that_says_so_is_flushed() {
    let steps = [
        1, 2, 6, 7, 8, 9, 10, 11, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 39, 41, 42, 43, 44, 45, 46,
        47, 48, 49, 150, 151, 152, 153, 160, 162, 187, 188, 189,
    ];
    let plan = kept(1815, &steps, 0x58ec_e35d_a80f_600f);
    assert_eq!(run(&plan, true).failure(), None);
}

/// The flush of the manifest's second copy failed. The next opening wrote the first copy while the second was
/// still nowhere but in the cache, and power failed: both were lost at once. "both copies are missing or
/// damaged". Opening now writes the copy that came last once more, alone, before it touches the other.
/// (Simulator, seed 944.)
#[test]
fn one_copy_of_the_manifest_is_durable_at_every_moment() {
    let plan = kept(944, &(0..=23).chain([48, 49]).collect::<Vec<_>>(), 0x6b04_3569_948c_bc87);
    assert_eq!(run(&plan, true).failure(), None);
}

/// The write of the mark with which the engine closed failed, so it stood nowhere but in the cache. The next opening
/// read it there, believed that the log had been closed cleanly, wrote nothing once more, and said in the manifest
/// that the segment's frames reach to the mark's end. Power failed, the mark was gone, and whoever read the segment
/// was told "no frame begins there". What lies behind the last durable position is now written once more after a
/// clean end as well. (Simulator, seed 2279.)
#[test]
fn a_mark_is_durable_before_the_manifest_says_where_it_ends() {
    let steps = [
        1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 18, 19, 20, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 36, 37, 38,
        39, 40, 41, 42, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 63, 64, 65, 66, 68, 69, 71,
        81, 91, 92,
    ];
    let plan = kept(2279, &steps, 0x5bb8_2e7c_6f85_42d7);
    assert_eq!(run(&plan, true).failure(), None);
}

/// While a lane waited for a cohort of senders, something else was written, and its completion ended the wait. What
/// the lane had last been told, to look again at a time, stayed; the time passed, and from then on the lane went
/// round and round without sleeping, with nothing to do, until the next cohort. "Somebody goes in circles."
/// (Simulator, seed 7949.)
#[test]
fn a_lane_with_nothing_to_do_sleeps() {
    let steps: Vec<usize> = (0..=40).chain([48]).filter(|step| ![7, 9, 35].contains(step)).collect();
    let plan = kept(7949, &steps, 0x4656_e465_4261_a5e5);
    assert_eq!(run(&plan, true).failure(), None);
}

/// The power went right when the log had left a segment; nothing stood in the next one. Opening gave that one away
/// in a commit of the manifest, was to seal the one before it in another, and the power went again in between: a
/// live segment's End frame named what "the manifest does not have". Both now stand in one commit. (Simulator,
/// seed 2316 of the first day that segments were used again.)
#[test]
fn a_segment_is_given_away_and_the_one_before_it_sealed_at_once() {
    let steps: Vec<usize> = (0..=35).chain([48, 49]).collect();
    let plan = kept(2316, &steps, 0x0ac7_ba7f_c110_7f7f);
    assert_eq!(run(&plan, true).failure(), None);
}

/// `flush` waited for the last batch that a producer had sent to a lane. On a full disk that one was refused at once,
/// while those before it were still being written: "a producer's flush came back before what it had sent has its
/// outcome". (Simulator, seed 303935.)
#[test]
fn a_flush_waits_for_what_was_sent_before_what_is_refused() {
    let steps: Vec<usize> = [22].into_iter().chain(27..=29).chain(63..=95).chain(114..=133).collect();
    let plan = kept(303_935, &steps, 0x2877_67cd_355d_24e7);
    assert_eq!(run(&plan, true).failure(), None);
}

/// Somebody outside read a partition whose front was given up meanwhile; its segment was gone. The look at the manifest
/// that followed brought the news, that the partition begins elsewhere now, and the error from before it was returned all
/// the same: "no segment holds offset 22, though it was acknowledged". (Simulator, seed 514 of the first day that
/// somebody looked from outside while records were given up.)
#[test]
fn news_that_explain_an_error_count_outside() {
    let steps: Vec<usize> = (0..=11).chain(18..=24).chain(38..=56).chain([59, 60, 201, 210, 240, 254, 260]).collect();
    let plan = kept(514, &steps, 0xe38a_1f3b_05fb_7248);
    assert_eq!(run(&plan, true).failure(), None);
}

/// A process was killed between giving up the oldest records and retiring their segments. The next one looked for such
/// segments while its own checkpoints were on their way to the device, when opening might have needed all of them, and
/// not again. At the bound on the disk it took them for room that would come, gave up nothing else, and producers
/// waited for ever. (Simulator, seed 72 of the first day with bounds on the disk.)
#[test]
fn what_was_given_up_before_a_crash_makes_room_after_it() {
    let steps = [748, 758, 160, 763, 165, 767, 772, 180, 784];
    let plan = kept(72, &steps, 0x8114_df9c_c92e_964a);
    assert_eq!(run(&plan, true).failure(), None);
}

/// All workloads of one operation, and every sixth one of two at every seventh point. The rest is for optimized code:
/// `ringlane-proof exhaustive`.
#[test]
fn short_workloads_survive_a_crash_at_any_point() {
    hush_panics();
    let mut total = Tally::default();
    for (at, deeds) in workloads(2).iter().enumerate() {
        let stride = match deeds.len() {
            0 | 1 => 1,
            _ if at % 6 == 0 => 7,
            _ => continue,
        };
        let (tally, failed) = try_workload(deeds, 1 + at as u32 % 2, at as u64 % stride, stride);
        assert!(failed.is_none(), "{}", failed.expect("it is there"));
        total.add(tally);
    }
    assert!(total.disks > 1_000, "{total:?}");
}

/// What the exhaustive mode counts is what it says: eleven deeds, rows of up to two.
#[test]
fn workloads_are_all_there() {
    let deeds = Deed::ALL.len();
    assert_eq!(workloads(2).len(), 1 + deeds + deeds * deeds);
}

/// A loss of power takes what was not flushed, the name included.
#[test]
fn a_disk_forgets_only_what_was_not_flushed() {
    let mut disk = Disk::default();
    let inode = disk.create("file");
    disk.write(inode, &[7; 4096], 0);
    assert_eq!(disk.after_exact_loss(|_, _, _| false, |_| false, false).names(), Vec::<String>::new());
    assert_eq!(disk.clone().names(), ["file"]);
}
