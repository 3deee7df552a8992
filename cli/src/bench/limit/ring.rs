//! The raw loops on io_uring.
//!
//! Invariant: a slot's buffer is in the kernel's hands from its submission to its completion, and
//! every loop ends only when no slot is in flight, error or not.

use super::memory::AlignedBuffer;
use super::{Amount, GROWING_BLOCK_BYTES, GROWING_DEPTH, GROWING_FLUSH_BYTES, Operation, RawFile};
use crate::bench::measure::{Deadline, Latency, Sample};
use io_uring::{IoUring, opcode, squeue, types};
use std::io;
use std::time::Instant;

/// The completion of a flush; blocks use the number of their slot.
const FLUSH: u64 = u64::MAX;

struct Slot {
    buffer: AlignedBuffer,
    started: Instant,
}

struct Loop {
    ring: IoUring,
    slots: Vec<Slot>,
    descriptor: types::Fd,
    in_flight: usize,
}

impl Loop {
    fn new(file: &RawFile, block_bytes: usize, depth: usize) -> io::Result<Loop> {
        let entries = (depth as u32 + 1).next_power_of_two();
        // The flags need Linux 6.1; an older ring works as well, only a little slower.
        let ring = IoUring::builder().setup_single_issuer().setup_defer_taskrun().build(entries).or_else(|error| {
            if error.raw_os_error() == Some(libc::EINVAL) { IoUring::new(entries) } else { Err(error) }
        })?;
        let slot = || Slot { buffer: AlignedBuffer::noise(block_bytes), started: Instant::now() };
        Ok(Loop {
            ring,
            slots: (0..depth).map(|_| slot()).collect(),
            descriptor: types::Fd(file.descriptor()),
            in_flight: 0,
        })
    }

    fn start_block(&mut self, index: usize, what: Operation, durable: bool, offset: u64) {
        let slot = &mut self.slots[index];
        let length = slot.buffer.len() as u32;
        let pointer = slot.buffer.as_mut_pointer();
        slot.started = Instant::now();
        let entry = match what {
            Operation::Read => opcode::Read::new(self.descriptor, pointer, length).offset(offset).build(),
            Operation::DurableWrite => opcode::Write::new(self.descriptor, pointer, length)
                .offset(offset)
                .rw_flags(if durable { libc::RWF_DSYNC } else { 0 })
                .build(),
        };
        self.push(entry.user_data(index as u64));
    }

    fn start_flush(&mut self) {
        let entry = opcode::Fsync::new(self.descriptor).flags(types::FsyncFlags::DATASYNC).build();
        self.push(entry.user_data(FLUSH));
    }

    fn push(&mut self, entry: squeue::Entry) {
        // SAFETY: the buffer belongs to a slot, which lives until nothing is in flight (see `Drop`);
        // the descriptor is the caller's file, which outlives the loop.
        unsafe { self.ring.submission().push(&entry) }.expect("the queue has an entry for every slot and the flush");
        self.in_flight += 1;
    }

    /// Submits what was started, waits for one completion and gives all there are to `each`.
    fn wait(&mut self, done: &mut Vec<u64>) -> io::Result<()> {
        done.clear();
        loop {
            match self.ring.submit_and_wait(1) {
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => return Err(error),
                Ok(_) => break,
            }
        }
        let mut failure = None;
        for completion in self.ring.completion() {
            self.in_flight -= 1;
            let expected = self.slots.first().map_or(0, |slot| slot.buffer.len());
            match (completion.user_data(), completion.result()) {
                (_, result) if result < 0 => failure = Some(io::Error::from_raw_os_error(-result)),
                (FLUSH, _) => done.push(FLUSH),
                (slot, result) if result as usize == expected => done.push(slot),
                _ => failure = Some(io::Error::new(io::ErrorKind::UnexpectedEof, "short read or write")),
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        // Only after an error can anything be in flight here; the kernel must let go of the buffers first.
        let mut done = Vec::new();
        while self.in_flight > 0 {
            let before = self.in_flight;
            let result = self.wait(&mut done);
            assert!(result.is_ok() || self.in_flight < before, "the ring does not give its buffers back: {result:?}");
        }
    }
}

/// See [`super::blocks`].
pub(super) fn blocks(
    file: &RawFile,
    what: Operation,
    block_bytes: usize,
    depth: usize,
    amount: Amount,
) -> io::Result<Sample> {
    let mut state = Loop::new(file, block_bytes, depth)?;
    let mut latency = Latency::new();
    let mut done = Vec::with_capacity(depth);
    let (limit, deadline) = match amount {
        Amount::Bytes(bytes) => (bytes.div_ceil(block_bytes as u64), None),
        Amount::Time(duration) => (u64::MAX, Some(Deadline::after(duration))),
    };
    let (mut started, mut operations) = (0u64, 0u64);
    let begin = Instant::now();
    for slot in 0..depth.min(usize::try_from(limit).unwrap_or(depth)) {
        state.start_block(slot, what, true, file.next_offset(block_bytes));
        started += 1;
    }
    while state.in_flight > 0 {
        state.wait(&mut done)?;
        let stop = deadline.as_ref().is_some_and(Deadline::is_over);
        for &slot in &done {
            let slot = slot as usize;
            latency.record(state.slots[slot].started.elapsed());
            operations += 1;
            if !stop && started < limit {
                state.start_block(slot, what, true, file.next_offset(block_bytes));
                started += 1;
            }
        }
    }
    Ok(Sample { operations, bytes: operations * block_bytes as u64, elapsed: begin.elapsed(), latency })
}

/// See [`super::growing`].
///
/// Writing pauses for each flush. On ext4 a fdatasync beside writes into fresh extents does not end
/// before they do: each write dirties the extent tree that the flush is waiting for (measured without
/// a journal: flushes of 150 to 400 ms, against 0.3 ms with the pause, for 3 % less bandwidth).
pub(super) fn growing(file: &RawFile) -> io::Result<Sample> {
    let mut state = Loop::new(file, GROWING_BLOCK_BYTES, GROWING_DEPTH)?;
    let block = GROWING_BLOCK_BYTES as u64;
    let total = file.bytes() / block;
    let mut latency = Latency::new();
    let mut done = Vec::with_capacity(GROWING_DEPTH);
    // When the blocks that wait for the next flush were started.
    let mut written: Vec<Instant> = Vec::new();
    let begin = Instant::now();
    let mut next = 0;
    while next < total {
        let end = total.min(next + GROWING_FLUSH_BYTES / block);
        for slot in 0..GROWING_DEPTH.min((end - next) as usize) {
            state.start_block(slot, Operation::DurableWrite, false, next * block);
            next += 1;
        }
        while state.in_flight > 0 {
            state.wait(&mut done)?;
            for &slot in &done {
                written.push(state.slots[slot as usize].started);
                if next < end {
                    state.start_block(slot as usize, Operation::DurableWrite, false, next * block);
                    next += 1;
                }
            }
        }
        state.start_flush();
        state.wait(&mut done)?;
        written.drain(..).for_each(|start| latency.record(start.elapsed()));
    }
    Ok(Sample { operations: total, bytes: total * block, elapsed: begin.elapsed(), latency })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_moved_once_and_timed() {
        let directory = tempfile::tempdir().unwrap();
        let file = RawFile::prepared(directory.path(), 1 << 20).unwrap();
        for (what, depth) in [(Operation::DurableWrite, 4), (Operation::Read, 1), (Operation::Read, 8)] {
            let sample = super::super::blocks(&file, what, 64 << 10, depth, Amount::Bytes(20 * (64 << 10))).unwrap();
            assert_eq!((sample.operations, sample.bytes, sample.latency.count()), (20, 20 * (64 << 10), 20));
        }
    }

    #[test]
    fn growing_covers_every_block_with_a_flush() {
        let directory = tempfile::tempdir().unwrap();
        let file = RawFile::allocated(directory.path(), 37 << 20).unwrap();
        let sample = super::super::growing(&file).unwrap();
        assert_eq!((sample.operations, sample.latency.count()), (37, 37));
    }

    #[test]
    fn reading_beyond_the_end_is_an_error_and_not_a_hang() {
        let directory = tempfile::tempdir().unwrap();
        let file = RawFile::allocated(directory.path(), 1 << 20).unwrap();
        file.cut(4096);
        let error = super::super::blocks(&file, Operation::Read, 64 << 10, 4, Amount::Bytes(1 << 20)).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
