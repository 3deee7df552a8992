//! What a poll gives: records in the log's own memory, borrowed.
//!
//! Invariant: the memory lives as long as the [`Records`]; nothing is copied, nothing is checked twice.

use crate::log::frame::{Kind, RECORDS_HEADER_BYTES, u32_at, u64_at};
use crate::log::origin::Origin;
use crate::partition::reader::Chunk;
use crate::partition::shared::Partition;
use crate::record::{Header, Headers, RecordRef, TAG_HEADER};
use std::sync::Arc;

/// Records of a poll. Holding them keeps their memory; drop them when they are worked off.
#[derive(Default)]
pub struct Records {
    chunks: Vec<(Arc<Partition>, Chunk)>,
    count: usize,
}

impl Records {
    pub(in crate::consumer) fn push(&mut self, partition: Arc<Partition>, chunk: Chunk) {
        self.count += chunk.count as usize;
        self.chunks.push((partition, chunk));
    }

    /// Shows the records frame by frame.
    pub(crate) fn each_frame(&self, mut show: impl FnMut(FrameRun)) {
        self.chunks.iter().for_each(|(_, chunk)| chunk.each_frame(&mut show));
    }

    pub(crate) fn chunks(&self) -> impl Iterator<Item = &(Arc<Partition>, Chunk)> {
        self.chunks.iter()
    }

    /// Keeps only what is of the partitions that are wanted, by topic and number: for the C library, which may have polled
    /// more than is asked for by the time it gives it.
    #[doc(hidden)]
    pub fn retain(&mut self, is_wanted: impl Fn(&str, u32) -> bool) {
        self.chunks.retain(|(partition, _)| is_wanted(&partition.topic, partition.partition));
        self.count = self.chunks.iter().map(|(_, chunk)| chunk.count as usize).sum();
    }

    /// The memory that it keeps, by address and bytes; a piece may come several times. For who bounds it.
    #[doc(hidden)]
    pub fn memory(&self) -> impl Iterator<Item = (usize, usize)> {
        self.chunks.iter().map(|(_, chunk)| chunk.memory())
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records: partition by partition, in the order of their offsets.
    pub fn iter(&self) -> RecordsIter<'_> {
        RecordsIter { records: self, next_chunk: 0, current: None, left: self.count }
    }
}

impl std::fmt::Debug for Records {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Records({})", self.count)
    }
}

impl<'a> IntoIterator for &'a Records {
    type Item = RecordView<'a>;
    type IntoIter = RecordsIter<'a>;

    fn into_iter(self) -> RecordsIter<'a> {
        self.iter()
    }
}

/// Consecutive records of one frame.
pub(crate) struct FrameRun {
    pub(crate) base_offset: u64,
    pub(crate) count: u32,
    pub(crate) origin: Origin,
    pub(crate) is_late: bool,
}

impl Chunk {
    /// Shows the records frame by frame.
    pub(super) fn each_frame(&self, mut show: impl FnMut(FrameRun)) {
        let (mut frames, mut offset) = (self.bytes(), self.base_offset);
        let (mut skip, mut left) = (self.skip, self.count);
        while left > 0
            && let Some((in_frame, bytes)) = peek_frame(frames)
        {
            let (skipped, header_end) = (skip.min(in_frame), header_bytes(frames));
            let count = (in_frame - skipped).min(left);
            if count > 0 {
                let origin = Origin::take(&frames[header_end - Origin::BYTES..]).plus(skipped);
                let base_offset = offset + u64::from(skipped);
                show(FrameRun { base_offset, count, origin, is_late: self.is_late });
            }
            offset += u64::from(in_frame);
            (skip, left) = (skip - skipped, left - count);
            frames = frames.get(bytes..).unwrap_or_default();
        }
    }
}

/// One record of a poll.
#[derive(Clone, Copy)]
pub struct RecordView<'a> {
    partition: &'a Partition,
    chunk: &'a Chunk,
    offset: u64,
    origin: Origin,
    record: RecordRef<'a>,
}

impl<'a> RecordView<'a> {
    /// The topic.
    pub fn topic(&self) -> &'a str {
        &self.partition.topic
    }

    /// The partition.
    #[inline]
    pub fn partition(&self) -> u32 {
        self.partition.partition
    }

    /// The offset.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Who wrote it, and as which one of its records in this partition.
    #[inline]
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// What its sender knows it by, if it says so.
    #[inline]
    pub fn message_id(&self) -> Option<&'a [u8]> {
        self.record.message_id()
    }

    /// The sender's timestamp, ms since 1970-01-01 UTC.
    #[inline]
    pub fn timestamp_ms(&self) -> i64 {
        self.record.timestamp_ms()
    }

    /// Whether it was withheld (delayed) and became visible later than it was sent: then it may stand behind records
    /// that were sent after it.
    #[inline]
    pub fn is_late(&self) -> bool {
        self.chunk.is_late
    }

    /// The key, if there is one.
    #[inline]
    pub fn key(&self) -> Option<&'a [u8]> {
        self.record.key()
    }

    /// The value; `None` is null, which differs from empty.
    #[inline]
    pub fn value(&self) -> Option<&'a [u8]> {
        self.record.value()
    }

    /// The record in its layout (`docs/FORMAT.md`), without the headers that were added when it was published by reference.
    #[inline]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.record.as_bytes()
    }

    /// How many headers [`RecordView::headers`] gives.
    #[inline]
    pub fn header_count(&self) -> u32 {
        match self.chunk.extra_headers {
            None => u32::from(self.record.header_count()),
            Some(_) => self.headers().count() as u32,
        }
    }

    /// Its tag: the first header of the name [`TAG_HEADER`], if it is text.
    pub fn tag(&self) -> Option<&'a str> {
        let tag = self.headers().find(|header| header.name == TAG_HEADER)?;
        std::str::from_utf8(tag.value).ok()
    }

    /// The record's headers, then those that were added when it was published by reference.
    pub fn headers(&self) -> ViewHeaders<'a> {
        let extra = self.chunk.extra_headers.as_deref().map_or(&[][..], Vec::as_slice);
        ViewHeaders { own: self.record.headers(), extra: Headers::parse(extra).unwrap_or_default() }
    }
}

impl std::fmt::Debug for RecordView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RecordView({}-{} @{})", self.topic(), self.partition(), self.offset)
    }
}

/// Iterates over the headers of a record.
#[derive(Clone, Copy, Debug)]
pub struct ViewHeaders<'a> {
    own: Headers<'a>,
    extra: Headers<'a>,
}

impl<'a> Iterator for ViewHeaders<'a> {
    type Item = Header<'a>;

    fn next(&mut self) -> Option<Header<'a>> {
        self.own.next().or_else(|| self.extra.next())
    }
}

/// A place in a chunk.
struct Cursor<'a> {
    partition: &'a Partition,
    chunk: &'a Chunk,
    /// What follows the current frame.
    frames: &'a [u8],
    /// What follows the current record in its frame.
    records: &'a [u8],
    offset: u64,
    /// Of the next record.
    origin: Origin,
    left: u32,
}

/// Iterates over [`Records`].
pub struct RecordsIter<'a> {
    records: &'a Records,
    next_chunk: usize,
    current: Option<Cursor<'a>>,
    left: usize,
}

impl RecordsIter<'_> {
    /// The number of the chunk that the last record stands in.
    pub(in crate::consumer) fn chunk(&self) -> usize {
        self.next_chunk - 1
    }
}

impl<'a> Iterator for RecordsIter<'a> {
    type Item = RecordView<'a>;

    #[inline]
    fn next(&mut self) -> Option<RecordView<'a>> {
        loop {
            if let Some(cursor) = &mut self.current
                && cursor.left > 0
            {
                let view = cursor.take();
                cursor.left -= 1;
                self.left -= 1;
                return Some(view);
            }
            let (partition, chunk) = self.records.chunks.get(self.next_chunk)?;
            self.next_chunk += 1;
            self.current = Some(match self.current.take() {
                Some(cursor) if cursor.leads_to(chunk) => cursor.go_on(chunk),
                _ => Cursor::new(partition, chunk),
            });
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for RecordsIter<'_> {}

impl<'a> Cursor<'a> {
    fn new(partition: &'a Partition, chunk: &'a Chunk) -> Cursor<'a> {
        let mut cursor = Cursor {
            partition,
            chunk,
            frames: chunk.bytes(),
            records: &[],
            offset: chunk.first_offset(),
            origin: Origin::default(),
            left: chunk.count,
        };
        let mut skip = chunk.skip;
        // Whole frames before the first wanted record are passed over by their headers.
        while let Some((count, bytes)) = peek_frame(cursor.frames)
            && skip >= count
        {
            skip -= count;
            cursor.frames = &cursor.frames[bytes..];
        }
        if skip > 0 || cursor.left > 0 {
            cursor.next_frame();
        }
        for _ in 0..skip {
            let (_, next) = RecordRef::parse(cursor.records).expect("frames were checked before they were given out");
            cursor.records = cursor.records.get(next..).unwrap_or_default();
        }
        cursor.origin = cursor.origin.plus(skip);
        cursor
    }

    /// The next record.
    #[inline]
    fn take(&mut self) -> RecordView<'a> {
        let (record, next) = match RecordRef::parse(self.records) {
            Some(parsed) => parsed,
            None => {
                self.next_frame();
                RecordRef::parse(self.records).expect("frames were checked before they were given out")
            }
        };
        self.records = self.records.get(next..).unwrap_or_default();
        let Cursor { partition, chunk, offset, origin, .. } = *self;
        self.offset += 1;
        self.origin = origin.plus(1);
        RecordView { partition, chunk, offset, origin, record }
    }

    /// Whether a chunk is what follows in the same run, perhaps behind records that were filtered.
    fn leads_to(&self, chunk: &Chunk) -> bool {
        self.chunk.is_part_with(chunk) && self.offset <= chunk.first_offset()
    }

    fn go_on(mut self, chunk: &'a Chunk) -> Cursor<'a> {
        for _ in self.offset..chunk.first_offset() {
            self.take();
        }
        Cursor { chunk, left: chunk.count, ..self }
    }

    fn next_frame(&mut self) {
        let start = header_bytes(self.frames);
        let body = u32_at(self.frames, 4) as usize;
        let end = (start + body).next_multiple_of(8);
        self.records = &self.frames[start..start + body];
        self.origin = Origin::take(&self.frames[start - Origin::BYTES..]);
        self.frames = self.frames.get(end..).unwrap_or_default();
    }
}

/// Records in the frame at the start of `frames`, and its bytes.
fn peek_frame(frames: &[u8]) -> Option<(u32, usize)> {
    let header = frames.get(..RECORDS_HEADER_BYTES)?;
    let bytes = (header_bytes(header) + u32_at(header, 4) as usize).next_multiple_of(8);
    debug_assert!(u64_at(header, 8) != 0);
    Some((u32_at(header, 36), bytes))
}

/// Header bytes of the Records or Withheld frame at the start of `frame`.
#[inline]
fn header_bytes(frame: &[u8]) -> usize {
    if frame[3] == Kind::RECORDS_CODE { RECORDS_HEADER_BYTES } else { Kind::WITHHELD_HEADER_BYTES }
}
