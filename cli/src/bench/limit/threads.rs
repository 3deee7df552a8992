//! The raw loops on blocking threads, for places where io_uring is refused.
//!
//! Invariant: the same blocks as in [`super::ring`], each moved once.

use super::memory::AlignedBuffer;
use super::{Amount, GROWING_BLOCK_BYTES, GROWING_DEPTH, GROWING_FLUSH_BYTES, Operation, RawFile};
use crate::bench::measure::{Deadline, Latency, Sample};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// See [`super::blocks`].
pub(super) fn blocks(
    file: &RawFile,
    what: Operation,
    block_bytes: usize,
    depth: usize,
    amount: Amount,
) -> io::Result<Sample> {
    let (limit, deadline) = match amount {
        Amount::Bytes(bytes) => (bytes.div_ceil(block_bytes as u64), None),
        Amount::Time(duration) => (u64::MAX, Some(Deadline::after(duration))),
    };
    let next = AtomicU64::new(0);
    let begin = Instant::now();
    let work = || -> io::Result<Latency> {
        let mut latency = Latency::new();
        let mut buffer = AlignedBuffer::noise(block_bytes);
        while deadline.as_ref().is_none_or(|deadline| !deadline.is_over())
            && next.fetch_add(1, Ordering::Relaxed) < limit
        {
            let offset = file.next_offset(block_bytes);
            let started = Instant::now();
            match what {
                Operation::DurableWrite => file.write_durably(&buffer, offset)?,
                Operation::Read => file.read(&mut buffer, offset)?,
            }
            latency.record(started.elapsed());
        }
        Ok(latency)
    };
    let latency = in_parallel(depth, work)?;
    let operations = latency.count();
    Ok(Sample { operations, bytes: operations * block_bytes as u64, elapsed: begin.elapsed(), latency })
}

/// See [`super::growing`]. Each sixteenth block is followed by a flush in its own thread.
pub(super) fn growing(file: &RawFile) -> io::Result<Sample> {
    let block = GROWING_BLOCK_BYTES as u64;
    let total = file.bytes() / block;
    let next = AtomicU64::new(0);
    let begin = Instant::now();
    let work = || -> io::Result<Latency> {
        let mut latency = Latency::new();
        let buffer = AlignedBuffer::noise(GROWING_BLOCK_BYTES);
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= total {
                return Ok(latency);
            }
            let started = Instant::now();
            file.write(&buffer, index * block)?;
            if (index + 1).is_multiple_of(GROWING_FLUSH_BYTES / block) {
                file.sync()?;
                latency.record(started.elapsed());
            }
        }
    };
    let latency = in_parallel(GROWING_DEPTH, work)?;
    file.sync()?;
    Ok(Sample { operations: total, bytes: total * block, elapsed: begin.elapsed(), latency })
}

fn in_parallel(threads: usize, work: impl Fn() -> io::Result<Latency> + Sync) -> io::Result<Latency> {
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        let mut all = Latency::new();
        for worker in workers {
            all.add(&worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(all)
    })
}
