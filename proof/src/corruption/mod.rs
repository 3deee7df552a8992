//! Damage of every kind, in every file: it is refused, reported by the read that it concerns, or mended.
//!
//! A small log is made once and kept in memory; each case changes one thing in a copy, opens it and reads
//! everything. Two lists of cases: those that were thought of (`named`, always all of them) and those
//! that follow from the format (`systematic`, all or an even sample).

mod case;
mod image;
mod judge;
mod named;
mod systematic;

pub use case::{Allowed, Case};
pub use image::{Acknowledged, Built, Files, Image, Layout, noise, options, read_files, values, write_files};
pub use judge::Outcome;

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A result whose error is for people.
pub type Told<T> = Result<T, String>;

/// Says what failed.
fn told<T, E: fmt::Display>(what: &str, result: Result<T, E>) -> Told<T> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// What to do.
#[derive(Clone, Debug)]
pub struct CorruptionOptions {
    /// Where copies are made.
    pub scratch: PathBuf,
    /// At most so many of the systematic cases, evenly chosen. `None`: all.
    pub systematic_max: Option<usize>,
    /// The backend that makes the log and opens the copies.
    pub backend: ringlane::Backend,
    /// Threads.
    pub jobs: usize,
}

/// One class of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Cases.
    pub cases: usize,
    /// Opening refused, and named the file.
    pub refused: usize,
    /// The read that it concerns reported it.
    pub read_error: usize,
    /// Everything was there.
    pub harmless: usize,
    /// Records of the last group were missing, as the stated window allows.
    pub window: usize,
    /// How many records that were, in all.
    pub window_records: usize,
}

/// What came of all cases, by class.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// The classes.
    pub rows: BTreeMap<&'static str, Row>,
}

impl Table {
    /// All rows together.
    pub fn sum(&self) -> Row {
        self.rows.values().fold(Row::default(), |sum, row| Row {
            cases: sum.cases + row.cases,
            refused: sum.refused + row.refused,
            read_error: sum.read_error + row.read_error,
            harmless: sum.harmless + row.harmless,
            window: sum.window + row.window,
            window_records: sum.window_records + row.window_records,
        })
    }

    fn note(&mut self, class: &'static str, outcome: Option<Outcome>) {
        let row = self.rows.entry(class).or_default();
        row.cases += 1;
        match outcome {
            None => {}
            Some(Outcome { refused: true, .. }) => row.refused += 1,
            Some(Outcome { lost: lost @ 1.., .. }) => {
                row.window += 1;
                row.window_records += lost;
            }
            Some(Outcome { damaged: 1.., .. }) => row.read_error += 1,
            Some(_) => row.harmless += 1,
        }
    }
}

/// As docs/TESTING.md shows it.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let titles = ["damaged", "cases", "refused", "read error", "harmless", "window (records)"];
        writeln!(f, "| {} |", titles.join(" | "))?;
        writeln!(f, "|---|---|---|---|---|---|")?;
        for (class, row) in self.rows.iter().map(|(class, row)| (*class, *row)).chain([("all", self.sum())]) {
            let Row { cases, refused, read_error, harmless, window, window_records } = row;
            writeln!(f, "| {class} | {cases} | {refused} | {read_error} | {harmless} | {window} ({window_records}) |")?;
        }
        Ok(())
    }
}

/// Makes the log and goes through the cases, on both of its states. Gives the table and what is wrong.
///
/// # Errors
/// The log cannot be made.
pub fn run(options: &CorruptionOptions, progress: &(dyn Fn(usize, usize) + Sync)) -> Told<(Table, Vec<String>)> {
    let built = Built::new(&options.scratch, options.backend)?;
    let mut cases = Vec::new();
    for image in built.images() {
        cases.extend(named::named(image).into_iter().map(|case| (image, case)));
    }
    let mut more = Vec::new();
    for image in built.images() {
        more.extend(systematic::systematic(image).into_iter().map(|case| (image, case)));
    }
    let all = more.len();
    let wanted = options.systematic_max.unwrap_or(all).min(all);
    cases.extend(more.into_iter().enumerate().filter(|(at, _)| is_chosen(*at, wanted, all)).map(|(_, case)| case));
    Ok(sweep(&built, &cases, options, progress))
}

/// Chooses so many of all, evenly.
fn is_chosen(at: usize, wanted: usize, all: usize) -> bool {
    (at + 1) * wanted / all != at * wanted / all
}

fn sweep(
    built: &Built,
    cases: &[(&Image, Case)],
    options: &CorruptionOptions,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> (Table, Vec<String>) {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some((image, case)) = cases.get(at) else { break };
                    let judged =
                        std::panic::AssertUnwindSafe(|| judge::judge(case, image, &built.acknowledged, options));
                    let result = std::panic::catch_unwind(judged).unwrap_or_else(|_| Err("a panic".to_owned()));
                    let mut results = results.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
                    results.insert(at, result);
                    progress(results.len(), cases.len());
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner());
    let (mut table, mut failures) = (Table::default(), Vec::new());
    for ((image, case), result) in cases.iter().zip(results.values()) {
        table.note(case.class, result.as_ref().ok().copied());
        if let Err(wrong) = result {
            let mut text = String::new();
            let (class, name, allowed) = (case.class, image.name, case.allowed);
            write!(text, "{name} image, {class}, {:?}, {} ({allowed:?}): {wrong}", case.files, case.what)
                .expect("a String takes everything");
            failures.push(text);
        }
    }
    (table, failures)
}

#[cfg(test)]
mod tests {
    use super::is_chosen;

    #[test]
    fn samples_are_even_and_as_large_as_wanted() {
        for (wanted, all) in [(0, 10), (3, 10), (10, 10), (7, 1000)] {
            let chosen: Vec<_> = (0..all).filter(|at| is_chosen(*at, wanted, all)).collect();
            assert_eq!(chosen.len(), wanted);
            assert!(chosen.windows(2).all(|pair| pair[1] - pair[0] <= all / wanted + 1));
        }
    }
}
