//! Redrive: the record behind a dead letter is available to its group again, and to no other.
//!
//! The dead letter stays where it is. Which of them were redriven, the group remembers as its progress in the partition
//! where they stand: a redriven one is finished there. So neither is redriven twice.
//!
//! Invariants:
//! - First the record is reopened, durably; then its dead letter is marked, durably. After a crash between the two the
//!   dead letter can be redriven once more: a record that is unfinished then is not reopened again.
//! - What is handed out is the record that the dead letter is a copy of. Where the offset is given up, or holds another
//!   record, nothing is reopened: the copy is all there is.
//! - One redrive of a group at a time.

use super::desk::reopening::NotReopened;
use super::groups::Groups;
use super::reading::read_one;
use super::shared::GroupShared;
use crate::consumer::records::{RecordView, Records};
use crate::engine::EngineInner;
use crate::error::{Error, Result};
use crate::lane::progress::{Progress, ProgressChange, ProgressEntry};
use crate::lane::shared::Message;
use crate::partition::read_ahead::ReadAhead;
use crate::partition::reader::PartitionReader;
use crate::partition::shared::{Partition, TopicShared};
use crate::sync::lock;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

/// Dead letters that are redriven with one wait for the device.
const BATCH_MAX: u64 = 4096;
/// Bytes of them, if one is not larger.
const BATCH_BYTES: usize = 4 << 20;

/// Which dead letters [`Engine::redrive`](crate::Engine::redrive) redrives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Redrive {
    /// All of the group that were not redriven before.
    All,
    /// The one that stands here in the topic of the group's dead letters.
    Letter {
        /// The partition of that topic.
        partition: u32,
        /// Its offset there.
        offset: u64,
    },
    /// That of the record that stands here.
    Record {
        /// The record's topic, which the group reads.
        topic: String,
        /// Its partition.
        partition: u32,
        /// Its offset.
        offset: u64,
    },
}

/// What [`Engine::redrive`](crate::Engine::redrive) came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Redriven {
    /// Records that are available to the group again.
    pub redriven: u64,
    /// Dead letters whose records the group had not finished anyway: nothing was done.
    pub unfinished: u64,
    /// Dead letters whose records are no longer kept, or whose topic the group does not read any more. They stay; what
    /// they hold can be read, and sent again.
    pub gone: u64,
    /// There may be more: as many records of a partition are unfinished as the group may have (`unfinished_max`).
    /// Redrive again when its members have finished some.
    pub is_full: bool,
}

/// How far dead letters were redriven, by the slot of the partition where they stand.
pub(super) type Marks = BTreeMap<u32, Progress>;

/// A record that a dead letter is the copy of.
struct Original {
    /// The place of its partition in the group.
    place: usize,
    offset: u64,
}

/// A dead letter that is wanted.
struct Letter {
    at: u64,
    original: Original,
}

/// Dead letters of one partition, read together.
struct Batch {
    letters: Vec<Letter>,
    end: u64,
}

impl GroupShared {
    /// Redrives dead letters; durable on return.
    pub(super) fn redrive(&self, engine: &EngineInner, what: &Redrive) -> Result<Redriven> {
        self.check()?;
        let mut marks = lock(&self.redriven);
        let mut done = Redriven::default();
        let name = self.options.dead_letters_of(&self.name);
        let Some(topic) = engine.find_topic(&name) else {
            return match what {
                // The first dead letter makes it.
                Redrive::All => Ok(done),
                _ => Err(self.no_letter(what, "the group has no dead letters")),
            };
        };
        match what {
            Redrive::All => {
                for partition in &topic.partitions {
                    self.redrive_all(engine, &mut marks, partition, &mut done)?;
                    if done.is_full {
                        break;
                    }
                }
                match done.is_full && done.redriven == 0 {
                    true => Err(self.full()),
                    false => Ok(done),
                }
            }
            Redrive::Letter { partition, offset } => {
                let partition = partition_of(&topic, *partition)?;
                self.redrive_letter(engine, &mut marks, partition, *offset, what)
            }
            Redrive::Record { topic: of, partition, offset } => {
                self.place_of(of, *partition)?;
                let at = *partition % topic.partitions.len() as u32;
                let dead = partition_of(&topic, at)?;
                let is_wanted = |letter: &RecordView<'_>| {
                    self.copy_of(letter).is_some_and(|copy| copy == (&**of, *partition, *offset))
                };
                match self.find(&marks, dead, is_wanted)? {
                    Some(at) => self.redrive_letter(engine, &mut marks, dead, at, what),
                    None => Err(self.no_letter(what, "it has no dead letter that was not redriven")),
                }
            }
        }
    }

    fn redrive_all(
        &self,
        engine: &EngineInner,
        marks: &mut Marks,
        dead: &Arc<Partition>,
        done: &mut Redriven,
    ) -> Result<()> {
        let end = dead.index().next_offset;
        let mut at = unmarked_from(marks, dead);
        while at < end && !done.is_full {
            let batch = self.read_batch(marks, dead, at..end, done)?;
            at = batch.end;
            self.redrive_batch(engine, marks, dead, batch, done)?;
        }
        Ok(())
    }

    /// One alone: whatever stands in the way is an error.
    fn redrive_letter(
        &self,
        engine: &EngineInner,
        marks: &mut Marks,
        dead: &Arc<Partition>,
        at: u64,
        what: &Redrive,
    ) -> Result<Redriven> {
        let records = match read_one(dead, at) {
            Err(Error::Truncated { .. }) => return Err(self.no_letter(what, "that is no longer kept")),
            records => records?,
        };
        let letter = records.iter().next().ok_or_else(|| self.no_letter(what, "nothing stands there"))?;
        let Some((topic, partition, offset)) = self.copy_of(&letter) else {
            return Err(self.no_letter(what, "it is no dead letter of this group"));
        };
        if is_marked(marks, dead, at) {
            let (group, topic, partition) = (self.name.to_string(), dead.topic.to_string(), dead.partition);
            return Err(Error::AlreadyRedriven { group, topic, partition, offset: at });
        }
        let Some(original) = self.original(&letter)? else {
            let (topic, letter_topic) = (topic.to_owned(), dead.topic.to_string());
            let letter_partition = dead.partition;
            return Err(Error::OriginalGone {
                topic,
                partition,
                offset,
                letter_topic,
                letter_partition,
                letter_offset: at,
            });
        };
        let mut done = Redriven::default();
        let batch = Batch { letters: vec![Letter { at, original }], end: at + 1 };
        let dying = self.redrive_batch(engine, marks, dead, batch, &mut done)?;
        match done {
            Redriven { is_full: true, .. } => Err(self.full()),
            Redriven { gone: 1.., .. } => {
                let (topic, letter_topic) = (topic.to_owned(), dead.topic.to_string());
                let letter_partition = dead.partition;
                Err(Error::OriginalGone { topic, partition, offset, letter_topic, letter_partition, letter_offset: at })
            }
            _ if dying > 0 => Err(self.no_letter(what, "the group has not finished it yet; try again in a moment")),
            done => Ok(done),
        }
    }

    /// Reopens the originals of dead letters, and then marks these. Returns how many are only just becoming dead letters.
    fn redrive_batch(
        &self,
        engine: &EngineInner,
        marks: &mut Marks,
        dead: &Arc<Partition>,
        batch: Batch,
        done: &mut Redriven,
    ) -> Result<u64> {
        let mut by_place: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
        for Letter { at, original } in batch.letters {
            by_place.entry(original.place).or_default().push((original.offset, at));
        }
        let (mut marked, mut reopened, mut dying) = (Vec::new(), Vec::new(), 0);
        for (place, letters) in by_place {
            let partition = &self.partitions[place];
            let outcome = partition.reopen(letters.iter().map(|(offset, _)| *offset))?;
            for ((offset, at), result) in letters.into_iter().zip(&outcome.results) {
                match result {
                    Ok(()) => reopened.push((place, offset, at)),
                    Err(NotReopened::Unfinished) => {
                        done.unfinished += 1;
                        marked.push(at);
                    }
                    Err(NotReopened::Dying) => {
                        done.unfinished += 1;
                        dying += 1;
                    }
                    Err(NotReopened::Gone) => done.gone += 1,
                    Err(NotReopened::Full) => done.is_full = true,
                }
            }
            if let Some(reply) = outcome.reply {
                reply.wait_shared()?;
            }
        }
        if !reopened.is_empty() {
            self.arrivals.notify();
        }
        for (place, offset, at) in reopened {
            // What retention took before the log had it is not available.
            if self.partitions[place].partition.index().first_offset > offset {
                done.gone += 1;
                continue;
            }
            done.redriven += 1;
            marked.push(at);
        }
        self.mark(engine, marks, dead, marked)?;
        Ok(dying)
    }

    /// Notes durably that dead letters were redriven.
    fn mark(&self, engine: &EngineInner, marks: &mut Marks, dead: &Partition, mut letters: Vec<u64>) -> Result<()> {
        letters.sort_unstable();
        let Some(last) = letters.last() else { return Ok(()) };
        let mut changes = vec![ProgressChange::HandOutTo { offset: last + 1 }];
        for letter in letters.chunk_by(|one, other| one + 1 == *other) {
            changes.push(ProgressChange::Finish { from: letter[0], to: letter[letter.len() - 1] + 1 });
        }
        let before = match marks.entry(dead.slot) {
            Entry::Occupied(marks) => marks.into_mut(),
            Entry::Vacant(none) => {
                let (begun, progress) = Groups::begin_marks(engine, self, dead)?;
                // Also where it could not be written yet: then it will be.
                let progress = none.insert(progress);
                begun?;
                progress
            }
        };
        let mut progress = before.clone();
        progress.truncate(dead.index().first_offset);
        for change in &changes {
            progress.apply(change).map_err(|_| Error::TooMany {
                what: "dead letters of one partition that were redriven between others",
                count: letters.len() as u64,
                count_max: crate::lane::progress::ENTRIES_MAX as u64,
                advice: "redrive the others, or delete the oldest dead letters with `delete_records`",
            })?;
        }
        *before = progress;
        let (group, slot) = (self.id, dead.slot);
        let entries = changes.into_iter().map(|change| ProgressEntry { group, slot, change }).collect();
        engine.lanes[dead.lane as usize].ask(|reply| Message::Progress { entries, reply: Some(reply) })
    }

    /// Reads a piece of the dead letters; what is wanted of it, and can be redriven, is in the batch.
    fn read_batch(
        &self,
        marks: &Marks,
        dead: &Arc<Partition>,
        offsets: Range<u64>,
        done: &mut Redriven,
    ) -> Result<Batch> {
        let mut letters = Vec::new();
        let end = each_record(dead, offsets, |letter| {
            if !is_marked(marks, dead, letter.offset()) && self.copy_of(letter).is_some() {
                match self.original(letter)? {
                    Some(original) => letters.push(Letter { at: letter.offset(), original }),
                    None => done.gone += 1,
                }
            }
            Ok(())
        })?;
        Ok(Batch { letters, end })
    }

    /// The last dead letter that is wanted and was not redriven.
    fn find(
        &self,
        marks: &Marks,
        dead: &Arc<Partition>,
        is_wanted: impl Fn(&RecordView<'_>) -> bool,
    ) -> Result<Option<u64>> {
        let end = dead.index().next_offset;
        let mut at = unmarked_from(marks, dead);
        let mut found = None;
        while at < end {
            at = each_record(dead, at..end, |letter| {
                if !is_marked(marks, dead, letter.offset()) && is_wanted(letter) {
                    found = Some(letter.offset());
                }
                Ok(())
            })?;
        }
        Ok(found)
    }

    /// Topic, partition and offset that a dead letter of this group is the copy of. `None`: it is none.
    fn copy_of<'a>(&self, letter: &RecordView<'a>) -> Option<(&'a str, u32, u64)> {
        // The last one of its name is the group's: it may have been a dead letter before.
        let header = |name: &str| {
            let value = letter.headers().filter(|header| header.name == name).last()?.value;
            std::str::from_utf8(value).ok()
        };
        let (partition, offset) =
            (header("ringlane.partition")?.parse().ok()?, header("ringlane.offset")?.parse().ok()?);
        let topic = header("ringlane.topic")?;
        (header("ringlane.group")? == &*self.name).then_some((topic, partition, offset))
    }

    /// The record that a dead letter is the copy of, if it is there and the group reads it.
    fn original(&self, letter: &RecordView<'_>) -> Result<Option<Original>> {
        let Some((topic, partition, offset)) = self.copy_of(letter) else { return Ok(None) };
        let Ok(place) = self.place_of(topic, partition) else { return Ok(None) };
        let partition = &self.partitions[place];
        if partition.topic.check().is_err() {
            return Ok(None);
        }
        let records = match read_one(&partition.partition, offset) {
            Err(Error::Truncated { .. }) => return Ok(None),
            records => records?,
        };
        let is_it = |record: RecordView<'_>| {
            (record.key(), record.value(), record.timestamp_ms())
                == (letter.key(), letter.value(), letter.timestamp_ms())
        };
        // The topic may have been created again since.
        Ok(records.iter().next().is_some_and(is_it).then_some(Original { place, offset }))
    }

    fn no_letter(&self, what: &Redrive, reason: &'static str) -> Error {
        let (topic, partition, offset) = match what {
            Redrive::Record { topic, partition, offset } => (topic.clone(), *partition, *offset),
            Redrive::Letter { partition, offset } => (self.options.dead_letters_of(&self.name), *partition, *offset),
            Redrive::All => (self.options.dead_letters_of(&self.name), 0, 0),
        };
        Error::NoDeadLetter { group: self.name.to_string(), topic, partition, offset, reason }
    }

    fn full(&self) -> Error {
        let count_max = self.options.unfinished_max;
        Error::TooMany {
            what: "unfinished records of the group in one partition",
            count: count_max,
            count_max,
            advice: "have members finish some, and redrive again",
        }
    }
}

fn is_marked(marks: &Marks, dead: &Partition, at: u64) -> bool {
    marks.get(&dead.slot).is_some_and(|marks| marks.is_finished(at))
}

/// The first dead letter that may not be redriven yet.
fn unmarked_from(marks: &Marks, dead: &Partition) -> u64 {
    marks.get(&dead.slot).map_or(0, Progress::position).max(dead.index().first_offset)
}

fn partition_of(topic: &TopicShared, partition: u32) -> Result<&Arc<Partition>> {
    topic.partitions.get(partition as usize).ok_or_else(|| Error::InvalidPartition {
        topic: topic.name.to_string(),
        partition,
        partitions: topic.partitions.len() as u32,
    })
}

/// Shows records, as many as a batch has. Returns behind the last one shown.
fn each_record(
    partition: &Arc<Partition>,
    offsets: Range<u64>,
    mut show: impl FnMut(&RecordView<'_>) -> Result<()>,
) -> Result<u64> {
    let mut reader = PartitionReader::new(partition.clone(), offsets.start);
    let mut ahead = ReadAhead::new(0);
    let end = offsets.end.min(offsets.start.saturating_add(BATCH_MAX));
    let (mut at, mut bytes) = (offsets.start, 0);
    while at < end && bytes < BATCH_BYTES {
        let wanted = (end - at) as u32;
        let chunk = match reader.next_chunk(wanted, &mut ahead) {
            Ok(Some(chunk)) => chunk,
            Ok(None) => return Ok(offsets.end),
            // Given up meanwhile: nothing can be redriven of it.
            Err(Error::Truncated { to, .. }) => return Ok(to),
            Err(error) => return Err(error),
        };
        bytes += chunk.bytes().len();
        let mut records = Records::default();
        records.push(partition.clone(), chunk);
        for record in &records {
            at = record.offset() + 1;
            show(&record)?;
        }
    }
    Ok(at)
}
