//! How far a write has come: short writes, interrupted calls, and the flush at the end.
//!
//! Invariants:
//! - Nothing here talks to the kernel; both rings drive it with what the kernel answered.
//! - A write is over when all its bytes are taken and, if it is durable, a flush that began after
//!   its last byte was taken has succeeded; or with the first error that is final.
//! - An answer that makes no progress is repeated only [`FUTILE_MAX`] times in a row.
//! - A write linked to its flush gets two answers, in any order. Nothing is decided before both are
//!   there, so that no memory is given back while the kernel may still use it.

use super::{PAGE, Write};
use std::io;

/// Answers without progress (EINTR, EAGAIN, less than a page) before the operation fails.
pub(super) const FUTILE_MAX: u32 = 1_000;

/// How a durable write gets onto the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flushing {
    /// Not at all: the completion means that the kernel has the bytes.
    None,
    /// With the write itself (RWF_DSYNC).
    WithWrite,
    /// By a flush linked to the write; the kernel starts it when the write has succeeded whole.
    Linked,
    /// By a flush started when the write has completed.
    After,
}

/// What to hand to the kernel next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The bytes not written yet, flushed as [`Flushing`] says.
    Write,
    /// A flush of the file.
    Sync,
}

/// What follows from an answer.
#[derive(Debug)]
pub(super) enum Step {
    /// Another answer is on its way.
    Wait,
    /// There is more to do.
    Go(Next),
    /// It is over.
    Done(io::Result<()>),
}

/// Which request an answer belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The write.
    Write,
    /// The flush.
    Sync,
}

/// The state of one write, or of one flush (a write of no bytes).
#[derive(Debug)]
pub(super) struct Transfer {
    flushing: Flushing,
    total: usize,
    written: usize,
    /// Whether a short write may only be continued at a page (O_DIRECT).
    whole_pages: bool,
    futile: u32,
    /// Requests whose answer is still to come.
    expected: u32,
    write_answer: Option<i32>,
    sync_answer: Option<i32>,
}

impl Transfer {
    /// A write of `total` bytes.
    pub(super) fn write(total: usize, flushing: Flushing, whole_pages: bool) -> Transfer {
        let whole_pages = whole_pages && total.is_multiple_of(PAGE);
        Transfer {
            flushing,
            total,
            written: 0,
            whole_pages,
            futile: 0,
            expected: 0,
            write_answer: None,
            sync_answer: None,
        }
    }

    /// A flush.
    pub(super) fn flush() -> Transfer {
        Transfer::write(0, Flushing::After, false)
    }

    /// What to do first.
    pub(super) fn start(&self) -> Next {
        if self.total == 0 { Next::Sync } else { Next::Write }
    }

    /// Bytes that need not be written again.
    pub(super) fn written(&self) -> usize {
        self.written
    }

    /// How the bytes get onto the device.
    pub(super) fn flushing(&self) -> Flushing {
        self.flushing
    }

    /// Notes that `next` was handed to the kernel.
    pub(super) fn started(&mut self, next: Next) {
        debug_assert_eq!(self.expected, 0, "one step at a time");
        self.expected = match next {
            Next::Write if self.flushing == Flushing::Linked => 2,
            Next::Write | Next::Sync => 1,
        };
    }

    /// Takes an answer: bytes written or zero, or an error number below zero.
    pub(super) fn answer(&mut self, part: Part, result: i32) -> Step {
        let place = match part {
            Part::Write => &mut self.write_answer,
            Part::Sync => &mut self.sync_answer,
        };
        debug_assert!(place.is_none(), "each request is answered once");
        *place = Some(result);
        self.expected = self.expected.saturating_sub(1);
        if self.expected > 0 {
            return Step::Wait;
        }
        let (write, sync) = (self.write_answer.take(), self.sync_answer.take());
        match self.judge(write, sync) {
            Ok(step) => step,
            Err(error) => Step::Done(Err(error)),
        }
    }

    fn judge(&mut self, write: Option<i32>, sync: Option<i32>) -> io::Result<Step> {
        if let Some(result) = write {
            self.advance(result)?;
        }
        if self.written < self.total {
            return Ok(Step::Go(Next::Write));
        }
        if matches!(self.flushing, Flushing::None | Flushing::WithWrite) {
            return Ok(Step::Done(Ok(())));
        }
        match sync {
            // A separate flush, or a link cut by a short write that has been completed since.
            None => Ok(Step::Go(Next::Sync)),
            Some(result) if result >= 0 => Ok(Step::Done(Ok(()))),
            Some(result) if result == -libc::ECANCELED || is_transient(result) => {
                self.count_futile(result)?;
                Ok(Step::Go(Next::Sync))
            }
            Some(result) => Err(io::Error::from_raw_os_error(-result)),
        }
    }

    /// Adds what a write request achieved.
    fn advance(&mut self, result: i32) -> io::Result<()> {
        if is_transient(result) {
            return self.count_futile(result);
        }
        if result < 0 {
            return Err(io::Error::from_raw_os_error(-result));
        }
        let mut now = (self.written + result as usize).min(self.total);
        if self.whole_pages {
            now -= now % PAGE;
        }
        if now == self.written {
            return self.count_futile(0);
        }
        self.written = now;
        self.futile = 0;
        Ok(())
    }

    fn count_futile(&mut self, result: i32) -> io::Result<()> {
        self.futile += 1;
        if self.futile < FUTILE_MAX {
            return Ok(());
        }
        Err(match result {
            0 => io::Error::new(io::ErrorKind::WriteZero, "the file takes no more bytes"),
            error => io::Error::from_raw_os_error(-error),
        })
    }
}

fn is_transient(result: i32) -> bool {
    result == -libc::EINTR || result == -libc::EAGAIN
}

/// The bytes of `write` from `written` on: the rest of the pages and of the tail.
pub(super) fn rest(write: &Write, written: usize) -> ([&[u8]; 2], usize) {
    let mut parts: [&[u8]; 2] = [&[], &[]];
    let mut count = 0;
    if written < write.length {
        parts[count] = write.block.slice(write.start + written, write.start + write.length);
        count += 1;
    }
    if let Some(tail) = &write.tail {
        parts[count] = tail.slice(written.saturating_sub(write.length), PAGE);
        count += 1;
    }
    #[cfg(test)]
    short::cut(&mut parts, &mut count);
    (parts, count)
}

/// Short writes on real rings, for tests: the kernel is asked for less than it should write, and so
/// answers with less. Concerns rings on the calling thread.
#[cfg(test)]
pub(super) mod short {
    use std::cell::Cell;

    thread_local! {
        static BYTES_MAX: Cell<Option<usize>> = const { Cell::new(None) };
        static CUTS: Cell<u64> = const { Cell::new(0) };
    }

    /// From now on no request writes more than this; returns how many were cut since the last call.
    pub(in crate::io) fn set(bytes_max: Option<usize>) -> u64 {
        BYTES_MAX.set(bytes_max);
        CUTS.replace(0)
    }

    pub(super) fn cut(parts: &mut [&[u8]; 2], count: &mut usize) {
        let Some(bytes_max) = BYTES_MAX.get() else { return };
        if parts[0].len() + parts[1].len() <= bytes_max {
            return;
        }
        CUTS.set(CUTS.get() + 1);
        parts[0] = &parts[0][..parts[0].len().min(bytes_max)];
        parts[1] = &parts[1][..parts[1].len().min(bytes_max - parts[0].len())];
        *count = if parts[1].is_empty() { 1 } else { 2 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn go(step: Step) -> Next {
        match step {
            Step::Go(next) => next,
            other => panic!("expected more to do, got {other:?}"),
        }
    }

    fn done(step: Step) -> io::Result<()> {
        match step {
            Step::Done(result) => result,
            other => panic!("expected the end, got {other:?}"),
        }
    }

    fn started(total: usize, flushing: Flushing) -> Transfer {
        let mut transfer = Transfer::write(total, flushing, true);
        let next = transfer.start();
        transfer.started(next);
        transfer
    }

    #[test]
    fn a_whole_write_is_done_at_once() {
        for flushing in [Flushing::None, Flushing::WithWrite] {
            assert!(done(started(8192, flushing).answer(Part::Write, 8192)).is_ok());
        }
    }

    #[test]
    fn a_short_write_goes_on_at_a_page() {
        let mut transfer = started(4 * PAGE, Flushing::WithWrite);
        assert_eq!(go(transfer.answer(Part::Write, PAGE as i32 + 512)), Next::Write);
        assert_eq!(transfer.written(), PAGE, "the half page is written again");
        transfer.started(Next::Write);
        assert!(done(transfer.answer(Part::Write, 3 * PAGE as i32)).is_ok());
    }

    #[test]
    fn a_separate_flush_follows_the_last_byte() {
        let mut transfer = started(2 * PAGE, Flushing::After);
        assert_eq!(go(transfer.answer(Part::Write, PAGE as i32)), Next::Write);
        transfer.started(Next::Write);
        assert_eq!(go(transfer.answer(Part::Write, PAGE as i32)), Next::Sync);
        transfer.started(Next::Sync);
        assert!(done(transfer.answer(Part::Sync, 0)).is_ok());
    }

    #[test]
    fn a_link_waits_for_both_answers_in_either_order() {
        let mut transfer = started(PAGE, Flushing::Linked);
        assert!(matches!(transfer.answer(Part::Write, PAGE as i32), Step::Wait));
        assert!(done(transfer.answer(Part::Sync, 0)).is_ok());
        let mut transfer = started(PAGE, Flushing::Linked);
        assert!(matches!(transfer.answer(Part::Sync, 0), Step::Wait));
        assert!(done(transfer.answer(Part::Write, PAGE as i32)).is_ok());
    }

    /// A short write cancels the flush linked to it. The rest must be written and then flushed; a
    /// ring that took ECANCELED for an error, or the short write for the end, would be wrong.
    #[test]
    fn a_short_linked_write_is_continued_and_flushed() {
        for cancelled_first in [false, true] {
            let mut transfer = started(2 * PAGE, Flushing::Linked);
            let mut answers = [(Part::Write, PAGE as i32), (Part::Sync, -libc::ECANCELED)];
            if cancelled_first {
                answers.reverse();
            }
            assert!(matches!(transfer.answer(answers[0].0, answers[0].1), Step::Wait));
            assert_eq!(go(transfer.answer(answers[1].0, answers[1].1)), Next::Write);
            assert_eq!(transfer.written(), PAGE);
            transfer.started(Next::Write);
            assert!(matches!(transfer.answer(Part::Write, PAGE as i32), Step::Wait));
            assert!(done(transfer.answer(Part::Sync, 0)).is_ok());
        }
    }

    #[test]
    fn a_flush_that_was_cancelled_after_a_whole_write_is_made_up_for() {
        let mut transfer = started(PAGE, Flushing::Linked);
        assert!(matches!(transfer.answer(Part::Write, PAGE as i32), Step::Wait));
        assert_eq!(go(transfer.answer(Part::Sync, -libc::ECANCELED)), Next::Sync);
        transfer.started(Next::Sync);
        assert!(done(transfer.answer(Part::Sync, 0)).is_ok());
    }

    /// The flush that ran before the rest was written does not count.
    #[test]
    fn a_flush_from_before_the_last_byte_does_not_count() {
        let mut transfer = started(2 * PAGE, Flushing::Linked);
        assert!(matches!(transfer.answer(Part::Write, PAGE as i32), Step::Wait));
        assert_eq!(go(transfer.answer(Part::Sync, 0)), Next::Write);
    }

    #[test]
    fn errors_are_final_and_the_write_speaks_for_the_link() {
        let error = done(started(PAGE, Flushing::WithWrite).answer(Part::Write, -libc::EIO)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));

        let mut transfer = started(PAGE, Flushing::Linked);
        assert!(matches!(transfer.answer(Part::Sync, -libc::ECANCELED), Step::Wait));
        let error = done(transfer.answer(Part::Write, -libc::ENOSPC)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOSPC));

        let mut transfer = Transfer::flush();
        assert_eq!(transfer.start(), Next::Sync);
        transfer.started(Next::Sync);
        let error = done(transfer.answer(Part::Sync, -libc::EIO)).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn interrupted_requests_are_repeated_but_not_for_ever() {
        let mut transfer = started(PAGE, Flushing::WithWrite);
        let mut repeats = 0;
        let error = loop {
            match transfer.answer(Part::Write, -libc::EAGAIN) {
                Step::Go(next) => transfer.started(next),
                Step::Done(result) => break result.unwrap_err(),
                Step::Wait => panic!("one answer was expected"),
            }
            repeats += 1;
        };
        assert_eq!(repeats, FUTILE_MAX - 1);
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));

        let mut transfer = started(PAGE, Flushing::None);
        let error = loop {
            match transfer.answer(Part::Write, 0) {
                Step::Go(next) => transfer.started(next),
                Step::Done(result) => break result.unwrap_err(),
                Step::Wait => panic!("one answer was expected"),
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
