//! The pattern on crate `io-uring`, as a lane does it: a ring, slots, completions by hand.
//!
//! Invariant: a slot's buffer lives until the loop has seen its completion; the loop ends only when
//! nothing is in flight.

use crate::buffer::AlignedBuffer;
use crate::{Pattern, Slice};
use io_uring::{IoUring, opcode, squeue, types};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Runs it for `duration`.
pub(crate) fn run(file: &File, pattern: Pattern, duration: Duration) -> io::Result<Slice> {
    let mut ring: IoUring<squeue::Entry> = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .build(pattern.depth.next_power_of_two() as u32)?;
    let slots: Vec<AlignedBuffer> = (0..pattern.depth).map(|_| AlignedBuffer::new(pattern.block_bytes)).collect();
    let mut started = vec![Instant::now(); pattern.depth];
    let mut latencies_ns = Vec::with_capacity(1 << 16);
    let begin = Instant::now();
    let mut free: Vec<usize> = (0..pattern.depth).collect();
    let mut number = 0;
    loop {
        if begin.elapsed() < duration {
            for slot in free.drain(..) {
                let entry =
                    opcode::Write::new(types::Fd(file.as_raw_fd()), slots[slot].pointer(), slots[slot].len() as u32)
                        .offset(pattern.offset(number))
                        .rw_flags(libc::RWF_DSYNC)
                        .build()
                        .user_data(slot as u64);
                number += 1;
                started[slot] = Instant::now();
                // SAFETY: see the invariant; a failing wait below aborts before anything is freed.
                unsafe { ring.submission().push(&entry) }.expect("an entry for each slot");
            }
        }
        if free.len() == pattern.depth {
            return Ok(Slice { latencies_ns, elapsed: begin.elapsed() });
        }
        ring.submit_and_wait(1).expect("without its ring the kernel would keep the buffers");
        for completion in ring.completion() {
            assert_eq!(completion.result(), pattern.block_bytes as i32, "every write is whole");
            let slot = completion.user_data() as usize;
            latencies_ns.push(started[slot].elapsed().as_nanos() as u64);
            free.push(slot);
        }
    }
}
