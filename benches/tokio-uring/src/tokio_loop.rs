//! The same pattern on tokio-uring: a task for each block in flight.

use crate::buffer::AlignedBuffer;
use crate::{Pattern, Slice};
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

/// Runs it for `duration`. The file was opened with O_DSYNC.
pub(crate) fn run(file: File, pattern: Pattern, duration: Duration) -> io::Result<Slice> {
    tokio_uring::start(async move {
        let file = Rc::new(tokio_uring::fs::File::from_std(file));
        let number = Rc::new(Cell::new(0));
        let latencies_ns = Rc::new(RefCell::new(Vec::with_capacity(1 << 16)));
        let begin = Instant::now();
        let tasks: Vec<_> = (0..pattern.depth)
            .map(|_| {
                let (file, number, latencies_ns) = (file.clone(), number.clone(), latencies_ns.clone());
                tokio_uring::spawn(async move {
                    let mut buffer = AlignedBuffer::new(pattern.block_bytes);
                    while begin.elapsed() < duration {
                        let block = number.replace(number.get() + 1);
                        let started = Instant::now();
                        let (written, back) = file.write_at(buffer, pattern.offset(block)).submit().await;
                        buffer = back;
                        assert_eq!(written?, pattern.block_bytes, "every write is whole");
                        latencies_ns.borrow_mut().push(started.elapsed().as_nanos() as u64);
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.await.map_err(io::Error::other)??;
        }
        let elapsed = begin.elapsed();
        Ok(Slice { latencies_ns: latencies_ns.take(), elapsed })
    })
}
