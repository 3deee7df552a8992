//! The records that a call is given: an array of structs, or a buffer of them. They are checked here, all of them, and made
//! into the engine's where that looks at them: written down in between, they cost a batch a third of its time.
//!
//! Invariants:
//! - What was not checked is not made into a record.
//! - A record has the same headers each time.

use crate::call::{check_array, checked_struct, struct_at};
use crate::producer::{RINGLANE_ANY_PARTITION, RINGLANE_TIMESTAMP_NOW, ringlane_record};
use crate::status::{Failure, Result};
use engine::{Header, Record, RecordRef, RecordSource};

/// The headers of some records, one behind the other.
#[derive(Default)]
struct Headers<'a> {
    all: Vec<Header<'a>>,
    /// Of each record, up to the last one that has some, where its own end.
    ends: Vec<u32>,
}

impl<'a> Headers<'a> {
    /// Those of record `at`, which come in order.
    fn put(&mut self, at: usize, own: impl IntoIterator<Item = Header<'a>>) {
        self.ends.resize(at, self.all.len() as u32);
        self.all.extend(own);
        self.ends.push(self.all.len() as u32);
    }

    #[inline]
    fn of(&self, at: usize) -> &[Header<'a>] {
        match self.ends.get(at) {
            None => &[],
            Some(end) => &self.all[at.checked_sub(1).map_or(0, |before| self.ends[before] as usize)..*end as usize],
        }
    }
}

/// An array of the application's.
pub(crate) struct GivenRecords<'a> {
    first: *const ringlane_record,
    stride: usize,
    count: usize,
    headers: Headers<'a>,
}

impl<'a> GivenRecords<'a> {
    /// Checks all records.
    ///
    /// # Safety
    /// `first` is NULL, or there are `count` records, `stride` apart; they and what they lead to live as long as the result.
    pub(crate) unsafe fn check(first: *const ringlane_record, stride: usize, count: usize) -> Result<GivenRecords<'a>> {
        check_array("records", first, stride, count)?;
        let mut headers = Headers::default();
        for at in 0..count {
            // SAFETY: as the caller says.
            unsafe {
                let mut copy = None;
                let record = struct_at("record", first.byte_add(stride * at), stride, &mut copy)?;
                record.check()?;
                if record.header_count > 0 {
                    headers.put(at, record.headers()?);
                }
            }
        }
        Ok(GivenRecords { first, stride, count, headers })
    }

    /// The struct of one that there is.
    #[inline(always)]
    fn read(&self, at: usize) -> ringlane_record {
        debug_assert!(at < self.count);
        // SAFETY: it is there, and was checked.
        unsafe { checked_struct(self.first.byte_add(self.stride * at), self.stride) }
    }

    /// What its event is to have.
    pub(crate) fn user_data(&self, at: usize) -> u64 {
        self.read(at).user_data
    }
}

impl RecordSource for GivenRecords<'_> {
    fn count(&self) -> usize {
        self.count
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Record<'_> {
        // SAFETY: it was checked.
        unsafe { self.read(at).get(self.headers.of(at)) }
    }
}

/// A buffer of records in their layout, one behind the other.
pub(crate) struct PackedRecords<'a> {
    records: Vec<RecordRef<'a>>,
    headers: Headers<'a>,
    /// Where they go, or [`RINGLANE_ANY_PARTITION`].
    partition: u32,
}

impl<'a> PackedRecords<'a> {
    pub(crate) fn parse(packed: &'a [u8], partition: u32) -> Result<PackedRecords<'a>> {
        let mut parsed = PackedRecords { records: Vec::new(), headers: Headers::default(), partition };
        let mut at = 0;
        while at < packed.len() {
            let (record, bytes) = RecordRef::parse(&packed[at..])
                .ok_or_else(|| Failure::argument("records", format_args!("there is no record at byte {at}")))?;
            let mut own = record.headers().peekable();
            if own.peek().is_some() {
                parsed.headers.put(parsed.records.len(), own);
            }
            parsed.records.push(record);
            at += bytes;
        }
        Ok(parsed)
    }
}

impl RecordSource for PackedRecords<'_> {
    fn count(&self) -> usize {
        self.records.len()
    }

    #[inline(always)]
    fn get(&self, at: usize) -> Record<'_> {
        let record = &self.records[at];
        Record {
            key: record.key(),
            value: record.value(),
            headers: self.headers.of(at),
            timestamp_ms: (record.timestamp_ms() != RINGLANE_TIMESTAMP_NOW).then(|| record.timestamp_ms()),
            partition: (self.partition != RINGLANE_ANY_PARTITION).then_some(self.partition),
            sequence: record.sequence(),
            message_id: record.message_id(),
            ..Record::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_has_its_own_headers() {
        let header = |name| Header { name, value: b"" };
        let mut headers = Headers::default();
        assert!(headers.of(0).is_empty());
        headers.put(2, [header("a"), header("b")]);
        headers.put(3, [header("c")]);
        headers.put(5, []);
        headers.put(6, [header("d")]);
        let names = |at| headers.of(at).iter().map(|header| header.name).collect::<Vec<_>>();
        let all: Vec<_> = (0..9).map(names).collect();
        let [none, two, one, last] = [vec![], vec!["a", "b"], vec!["c"], vec!["d"]];
        assert_eq!(all, [&none, &none, &two, &one, &none, &none, &last, &none, &none].map(Vec::clone));
    }
}
