//! `ringlane-proof` as users call it.

#![allow(clippy::unwrap_used)]

use ringlane_proof::history::*;
use std::path::Path;
use std::process::{Command, Output};

fn proof(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringlane-proof")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn send(value: Value, delay: Option<i64>, transaction: Option<u64>) -> Call {
    let durability = Durability::Synced;
    Call::Send { topic: 3, partition: Some(1), value, durability, visible_at_ms: delay, transaction, by: None }
}

fn receipt(offset: Option<u64>) -> Outcome {
    Outcome::Ok(Answer::Receipt { partition: 1, offset, durability: Durability::Synced, numbered: None })
}

/// Two overlapping sends, a delayed one that is cancelled, a transaction, a poll, a crash, what is left.
fn history(last: &[(u64, Value)]) -> History {
    let mut history = History::new();
    let first = history.invoke(1, 0, send(1, None, None));
    let second = history.invoke(2, 0, send(2, None, None));
    history.complete(3, first, receipt(Some(0)));
    history.complete(4, second, receipt(Some(1)));
    let delayed = history.invoke(5, 0, send(3, Some(1_000), None));
    history.complete(6, delayed, receipt(None));
    let cancel = history.invoke(7, 0, Call::Cancel { value: 3 });
    history.complete(8, cancel, Outcome::done());
    let begin = history.invoke(9, 1, Call::Begin { transaction: 5 });
    history.complete(10, begin, Outcome::done());
    let inside = history.invoke(11, 1, send(4, None, Some(5)));
    history.complete(12, inside, receipt(None));
    let commit = history.invoke(13, 1, Call::Commit { transaction: 5 });
    let placed = vec![Placed { topic: 3, partition: 1, offset: 2, value: 4 }];
    history.complete(14, commit, Outcome::Ok(Answer::Committed { placed }));
    let assign = history.invoke(15, 2, Call::Assign { topic: 3, partition: 1, from: From::Beginning });
    history.complete(16, assign, Outcome::done());
    let poll = history.invoke(17, 2, Call::Poll { transaction: None });
    let reads = vec![Read { topic: 3, partition: 1, records: vec![(0, 1), (1, 2)] }];
    history.complete(18, poll, Outcome::Ok(Answer::Polled { reads, wall_ms: None }));
    history.invoke(19, 0, send(6, None, None));
    history.happen(20, Happening::Crash { kind: CrashKind::Kill, keeps: Durability::Synced });
    history.happen(21, Happening::Reopened);
    let records = last.to_vec();
    history.happen(22, Happening::Contents { topic: 3, partition: 1, first_offset: 0, records, wall_ms: None });
    history
}

fn write(path: &Path, history: &History) -> String {
    history.write(std::fs::File::create(path).unwrap()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn good_histories_pass_and_bad_ones_fail_with_a_line_of_figures() {
    let directory = tempfile::tempdir().unwrap();
    let good = write(&directory.path().join("good"), &history(&[(0, 1), (1, 2), (2, 4)]));
    let bad = write(&directory.path().join("bad"), &history(&[(0, 1), (1, 2)]));
    let output = proof(&["check", &good]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(text(&output.stdout), "check: 1 histories, 22 events, 0 anomalies\n");
    let output = proof(&["check", "--json", &good, &bad]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stdout = text(&output.stdout);
    let lines: Vec<_> = stdout.lines().collect();
    let finding: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    assert_eq!((&finding["anomaly"], &finding["value"]), (&"lost-write".into(), &4.into()));
    assert_eq!(lines[1..], ["check: 2 histories, 44 events, 1 anomalies"]);
    let output = proof(&["check", "absent"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).starts_with("error: absent: "), "{output:?}");
}

#[test]
fn a_history_is_exported_for_other_checkers() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(&directory.path().join("history"), &history(&[(0, 1), (1, 2), (2, 4)]));
    let edn = directory.path().join("edn");
    let output = proof(&["check", "--export-edn", edn.to_str().unwrap(), &file]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let expected = "\
{:index 0, :time 1, :type :invoke, :process 0, :f :send, :value [[:send 0 1]]}
{:index 1, :time 2, :type :invoke, :process 1, :f :send, :value [[:send 0 2]]}
{:index 2, :time 3, :type :ok, :process 0, :f :send, :value [[:send 0 [0 1]]]}
{:index 3, :time 4, :type :ok, :process 1, :f :send, :value [[:send 0 [1 2]]]}
{:index 4, :time 5, :type :invoke, :process 2, :f :send, :value [[:send 0 3]]}
{:index 5, :time 6, :type :fail, :process 2, :f :send, :value [[:send 0 3]]}
{:index 6, :time 9, :type :invoke, :process 3, :f :txn, :value [[:send 0 4]]}
{:index 7, :time 14, :type :ok, :process 3, :f :txn, :value [[:send 0 [2 4]]]}
{:index 8, :time 15, :type :invoke, :process 4, :f :assign, :value [0]}
{:index 9, :time 15, :type :ok, :process 4, :f :assign, :value [0]}
{:index 10, :time 17, :type :invoke, :process 4, :f :poll, :value [[:poll]]}
{:index 11, :time 18, :type :ok, :process 4, :f :poll, :value [[:poll {0 [[0 1] [1 2]]}]]}
{:index 12, :time 19, :type :invoke, :process 1, :f :send, :value [[:send 0 6]]}
{:index 13, :time 20, :type :info, :process 1, :f :send, :value [[:send 0 6]]}
{:index 14, :time 22, :type :invoke, :process 5, :f :assign, :value [0], :seek-to-beginning? true}
{:index 15, :time 22, :type :ok, :process 5, :f :assign, :value [0], :seek-to-beginning? true}
{:index 16, :time 22, :type :invoke, :process 5, :f :poll, :value [[:poll]]}
{:index 17, :time 22, :type :ok, :process 5, :f :poll, :value [[:poll {0 [[0 1] [1 2] [2 4]]}]]}
";
    assert_eq!(std::fs::read_to_string(edn).unwrap(), expected);
}
