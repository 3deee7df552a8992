//! The bench: that it measures everything and prints what was promised. Never how fast it is.

use crate::home::{Home, Run};

const KEYS: [&str; 16] = [
    "workload",
    "records_per_s",
    "mb_per_s",
    "p50_us",
    "p99_us",
    "p999_us",
    "limit_records_per_s",
    "limit_mb_per_s",
    "limit_p50_us",
    "limit_p99_us",
    "ratio",
    "device_bytes_per_payload_byte",
    "flushes_per_record",
    "cpu_ns_per_record",
    "io_backend",
    "lanes",
];

/// Further ones of the line `txn`.
const OF_TRANSACTIONS: [&str; 3] = ["lanes_ratio", "prepared_bulk_ratio", "prepared_tail_ratio"];

/// As little as can be measured.
const SMALL: [&str; 10] = [
    "--slices",
    "1",
    "--duration",
    "40ms",
    "--log-mib",
    "16",
    "-o",
    "segment_bytes_max=4194304",
    "-o",
    "segments_prepared=1",
];

fn bench(home: &Home, arguments: &[&str]) -> Run {
    let mut command = home.command(&[&["bench"], arguments, &SMALL].concat());
    command.env_remove("RINGLANE_DIR");
    Run::of(command.spawn().expect("the command starts"))
}

#[test]
fn every_workload_has_its_lines_and_every_line_its_keys() {
    let home = Home::new();
    let rows = bench(&home, &["all", "--json"]).ok().json();
    let names: Vec<&str> = rows.iter().map(|row| row["workload"].as_str().unwrap()).collect();
    let expected = [
        "lone",
        "busy",
        "group",
        "inflight",
        "bulk",
        "grow",
        "many",
        "many-one",
        "tail",
        "ack",
        "shared",
        "cold",
        "cold-interleaved",
        "cold-interleaved-all",
        "cold-regrouped",
        "cold-regrouped-all",
        "txn",
        "txn-lanes",
        "txn-bulk",
        "txn-tail",
        "lone-cleaning",
        "bulk-cleaning",
        "open-empty",
        "open",
    ];
    assert_eq!(names, expected);
    let (opening, others): (Vec<_>, Vec<_>) =
        rows.iter().partition(|row| row["workload"].as_str().unwrap().starts_with("open"));
    opening.into_iter().for_each(check_opening);
    for row in others {
        let workload = row["workload"].as_str().unwrap();
        let keys: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        let own: &[&str] = if workload == "txn" { &OF_TRANSACTIONS } else { &[] };
        assert_eq!(keys, [KEYS.as_slice(), own].concat(), "{row}");
        let figures =
            ["records_per_s", "mb_per_s", "limit_records_per_s", "limit_mb_per_s", "ratio", "cpu_ns_per_record"];
        for key in figures.iter().chain(own) {
            assert!(row[key].as_f64().is_some_and(|figure| figure >= 0.0), "{key}: {row}");
        }
        let reads = ["tail", "ack", "shared", "txn-tail"].contains(&workload) || workload.starts_with("cold");
        assert_eq!(row["device_bytes_per_payload_byte"].is_null(), reads, "{row}");
        assert_eq!(row["flushes_per_record"].is_null(), reads, "{row}");
        let lanes = if workload == "txn-lanes" { 2 } else { 1 };
        assert_eq!((row["lanes"].as_u64(), row["io_backend"].is_string()), (Some(lanes), true));
    }
    assert!(home.list().is_empty(), "what was written is gone: {:?}", home.list());
}

/// Opening has the keys of all rows, most of them null, and some of its own.
fn check_opening(row: &serde_json::Value) {
    let keys: Vec<&str> = row.as_object().expect("an object").keys().map(String::as_str).collect();
    let own = ["disk_bytes", "memory_peak_bytes", "memory_peak_writing_bytes", "records_read"];
    assert_eq!(keys, [KEYS.as_slice(), &own].concat());
    for key in KEYS {
        let applies = ["workload", "p50_us", "limit_p50_us", "ratio", "io_backend", "lanes"].contains(&key);
        assert_eq!(row[key].is_null(), !applies, "{key}: {row}");
    }
    let figure = |key: &str| row[key].as_u64().expect("a number");
    let empty = row["workload"] == "open-empty";
    assert!(figure("disk_bytes") > if empty { 1 << 20 } else { 16 << 20 }, "{row}");
    assert!(figure("memory_peak_bytes") > 1 << 20, "{row}");
    assert_eq!(row["memory_peak_writing_bytes"].is_null(), empty, "{row}");
    assert_eq!(figure("records_read") > 0, !empty, "{row}");
}

#[test]
fn a_table_is_for_people() {
    let home = Home::new();
    let run = bench(&home, &["lone", "--record-bytes", "1000", "-o", "backend=plain"]).ok();
    let lines: Vec<&str> = run.text().lines().collect();
    assert!(lines[0].starts_with("workload") && lines[1].starts_with("lone") && lines[2].contains("limit:"), "{run:?}");
}

#[test]
fn wrong_arguments_are_known_before_anything_is_measured() {
    let home = Home::new();
    bench(&home, &["fast"]).fails(2, &["fast", "lone"]);
    bench(&home, &["lone", "--depth", "0"]).fails(2, &["depth"]);
    bench(&home, &["lone", "-o", "nothing=1"]).fails(2, &["nothing"]);
    assert!(home.list().is_empty());
}
