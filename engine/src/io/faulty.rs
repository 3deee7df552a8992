//! A storage that fails when told to, for tests. It wraps any other and is no part of the public
//! interface.
//!
//! Invariants:
//! - Without armed faults and without a limit on space it behaves as what it wraps.
//! - Faults are looked at in the order in which they were armed; the first that is due takes effect.
//! - A failed operation does not reach what is wrapped, except for the bytes a torn write is told to
//!   leave behind.
//! - Every operation is counted, failed or not.

use super::{
    Access, Clock, Completion, File, IoReport, PAGE, Read, ReadDone, ReadRing, Ring, RingCounters, Storage, Wait, Wake,
    Write,
};
use std::collections::HashMap;
use std::io;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::Duration;

/// What can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// [`Storage::open`].
    Open,
    /// [`Storage::remove`].
    Remove,
    /// [`Storage::sync_directory`]; its file name is empty.
    SyncDirectory,
    /// [`File::allocate`].
    Allocate,
    /// [`File::read_at`] and [`ReadRing::start`].
    Read,
    /// [`File::write_at`] and [`Ring::write`].
    Write,
    /// [`File::sync`] and [`Ring::flush`].
    Flush,
    /// [`File::lock`].
    Lock,
}

/// What happens to an operation that a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It fails with this error number.
    Fail(i32),
    /// A write leaves its first bytes (rounded down to pages) in the file and fails with EIO.
    Torn(usize),
    /// It is reported as done and is not done: a device that lies.
    Lose,
    /// It takes this much longer. On a ring the completion is held back; the lane goes on.
    Delay(Duration),
}

type Predicate = Box<dyn Fn(&str) -> bool + Send>;

/// One fault, to be given to [`Faults::arm`].
pub struct Fault {
    operation: Operation,
    effect: Effect,
    file: Predicate,
    passes_left: u64,
    hits_left: u64,
}

impl Fault {
    /// The next `operation` on any file meets `effect`.
    pub fn new(operation: Operation, effect: Effect) -> Fault {
        Fault { operation, effect, file: Box::new(|_| true), passes_left: 0, hits_left: 1 }
    }

    /// Only files whose name satisfies `file` count.
    #[must_use]
    pub fn on(mut self, file: impl Fn(&str) -> bool + Send + 'static) -> Fault {
        self.file = Box::new(file);
        self
    }

    /// Only the `number`-th such operation from now on is hit; the next one is number 1.
    #[must_use]
    pub fn nth(mut self, number: u64) -> Fault {
        assert!(number > 0, "the next operation is number 1");
        self.passes_left = number - 1;
        self
    }

    /// This many operations in a row are hit, not one.
    #[must_use]
    pub fn times(mut self, count: u64) -> Fault {
        self.hits_left = count;
        self
    }

    /// All operations from the first that is hit on are hit.
    #[must_use]
    pub fn forever(self) -> Fault {
        self.times(u64::MAX)
    }
}

/// The handle by which a test steers the faults; clones share them.
#[derive(Clone, Default)]
pub struct Faults {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    armed: Vec<Fault>,
    counts: HashMap<Operation, u64>,
    hits: u64,
    space: Space,
    files: Vec<Weak<FaultyFile>>,
}

/// The disk of limited size.
#[derive(Default)]
struct Space {
    left: Option<u64>,
    lengths: HashMap<String, u64>,
}

impl Space {
    /// Gives back what `file` has beyond `length` bytes.
    fn shrink(&mut self, file: &dyn File, length: u64) -> io::Result<()> {
        let Some(left) = &mut self.left else { return Ok(()) };
        let known = match self.lengths.get_mut(file.name()) {
            Some(known) => known,
            None => self.lengths.entry(file.name().to_owned()).or_insert(file.length()?),
        };
        *left += known.saturating_sub(length);
        *known = length.min(*known);
        Ok(())
    }

    /// Takes what `file` needs to be `length` bytes long.
    fn grow(&mut self, file: &dyn File, length: u64) -> io::Result<()> {
        let Some(left) = &mut self.left else { return Ok(()) };
        let known = match self.lengths.get_mut(file.name()) {
            Some(known) => known,
            None => self.lengths.entry(file.name().to_owned()).or_insert(file.length()?),
        };
        let more = length.saturating_sub(*known);
        *left = left.checked_sub(more).ok_or_else(|| io::Error::from_raw_os_error(libc::ENOSPC))?;
        *known += more;
        Ok(())
    }
}

impl Faults {
    /// No faults and no limit.
    pub fn new() -> Faults {
        Faults::default()
    }

    /// `inner` with these faults. `clock` is the one `inner` uses.
    pub fn wrap(&self, inner: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Arc<dyn Storage> {
        Arc::new(FaultyStorage { inner, clock, faults: self.clone() })
    }

    /// Adds a fault.
    pub fn arm(&self, fault: Fault) {
        self.lock().armed.push(fault);
    }

    /// Removes all faults; the limit on space stays.
    pub fn disarm(&self) {
        self.lock().armed.clear();
    }

    /// From now on files may grow by this many bytes in total, by writes or reservation; then it is
    /// ENOSPC. Removing a file gives back what it is long, and so does allocating less. `None` ends the limit.
    pub fn limit_space(&self, bytes: Option<u64>) {
        self.lock().space = Space { left: bytes, lengths: HashMap::new() };
    }

    /// How often `operation` was asked for.
    pub fn count(&self, operation: Operation) -> u64 {
        self.lock().counts.get(&operation).copied().unwrap_or(0)
    }

    /// How many operations were hit by a fault.
    pub fn hits(&self) -> u64 {
        self.lock().hits
    }

    /// Counts an operation and finds the fault that hits it.
    fn meet(&self, operation: Operation, file: &str) -> Option<Effect> {
        let mut state = self.lock();
        *state.counts.entry(operation).or_insert(0) += 1;
        let mut met = None;
        for fault in &mut state.armed {
            if fault.operation != operation || !(fault.file)(file) {
                continue;
            }
            if fault.passes_left > 0 {
                fault.passes_left -= 1;
            } else if fault.hits_left > 0 && met.is_none() {
                fault.hits_left -= 1;
                met = Some(fault.effect);
            }
        }
        state.hits += u64::from(met.is_some());
        met
    }

    /// [`Faults::meet`] for calls that block. `Ok(false)`: pretend that it was done.
    fn meet_blocking(&self, operation: Operation, file: &str) -> io::Result<bool> {
        match self.meet(operation, file) {
            None => Ok(true),
            Some(Effect::Lose) => Ok(false),
            Some(Effect::Fail(error)) => Err(io::Error::from_raw_os_error(error)),
            Some(Effect::Torn(_)) => Err(io::Error::from_raw_os_error(libc::EIO)),
            Some(Effect::Delay(delay)) => {
                std::thread::sleep(delay);
                Ok(true)
            }
        }
    }

    /// The file inside, for a ring that only knows files of its own storage.
    fn unwrapped(&self, file: &Arc<dyn File>) -> Arc<dyn File> {
        let address = Arc::as_ptr(file).cast::<()>();
        let state = self.lock();
        let ours = state.files.iter().find(|ours| ours.as_ptr().cast::<()>() == address);
        ours.and_then(Weak::upgrade).map_or_else(|| file.clone(), |ours| ours.inner.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

struct FaultyStorage {
    inner: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    faults: Faults,
}

impl Storage for FaultyStorage {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        self.faults.meet_blocking(Operation::Open, name)?;
        let inner = self.inner.open(name, access)?;
        let file = Arc::new(FaultyFile { inner, faults: self.faults.clone() });
        let mut state = self.faults.lock();
        state.files.retain(|file| file.strong_count() > 0);
        state.files.push(Arc::downgrade(&file));
        Ok(file)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.inner.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        if !self.faults.meet_blocking(Operation::Remove, name)? {
            return Ok(());
        }
        let length = self.inner.open(name, Access::Read).and_then(|file| file.length()).unwrap_or(0);
        self.inner.remove(name)?;
        let space = &mut self.faults.lock().space;
        space.lengths.remove(name);
        space.left = space.left.map(|left| left.saturating_add(length));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        match self.faults.meet_blocking(Operation::SyncDirectory, "")? {
            true => self.inner.sync_directory(),
            false => Ok(()),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let free = self.inner.free_bytes()?;
        Ok(self.faults.lock().space.left.map_or(free, |left| left.min(free)))
    }

    fn ring(&self) -> io::Result<Box<dyn Ring>> {
        let inner = self.inner.ring()?;
        let waker = Arc::new(FaultyWake { inner: inner.waker(), rung: AtomicBool::new(false) });
        Ok(Box::new(FaultyRing {
            inner,
            clock: self.clock.clone(),
            faults: self.faults.clone(),
            waker,
            marked: HashMap::new(),
            held: Vec::new(),
        }))
    }

    fn read_ring(&self) -> Box<dyn ReadRing> {
        Box::new(FaultyReads { inner: self.inner.read_ring(), faults: self.faults.clone(), met: Vec::new() })
    }

    fn random(&self) -> u64 {
        self.inner.random()
    }

    fn report(&self) -> IoReport {
        self.inner.report()
    }
}

struct FaultyFile {
    inner: Arc<dyn File>,
    faults: Faults,
}

impl File for FaultyFile {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn length(&self) -> io::Result<u64> {
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.faults.meet_blocking(Operation::Read, self.name())? {
            true => self.inner.read_at(buffer, offset),
            false => {
                buffer.fill(0);
                Ok(buffer.len())
            }
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.faults.meet(Operation::Write, self.name()) {
            None => {}
            Some(Effect::Lose) => return Ok(()),
            Some(Effect::Fail(error)) => return Err(io::Error::from_raw_os_error(error)),
            Some(Effect::Torn(left)) => {
                let left = left.min(bytes.len());
                self.inner.write_at(&bytes[..left - left % PAGE], offset)?;
                return Err(io::Error::from_raw_os_error(libc::EIO));
            }
            Some(Effect::Delay(delay)) => std::thread::sleep(delay),
        }
        self.faults.lock().space.grow(&*self.inner, offset + bytes.len() as u64)?;
        self.inner.write_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        match self.faults.meet_blocking(Operation::Flush, self.name())? {
            true => self.inner.sync(),
            false => Ok(()),
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        if !self.faults.meet_blocking(Operation::Allocate, self.name())? {
            return Ok(());
        }
        self.faults.lock().space.grow(&*self.inner, length)?;
        self.faults.lock().space.shrink(&*self.inner, length)?;
        self.inner.allocate(length)
    }

    fn lock(&self, wait_ms: u64) -> io::Result<bool> {
        match self.faults.meet_blocking(Operation::Lock, self.name())? {
            true => self.inner.lock(wait_ms),
            false => Ok(true),
        }
    }

    fn descriptor(&self) -> Option<RawFd> {
        self.inner.descriptor()
    }
}

struct FaultyReads {
    inner: Box<dyn ReadRing>,
    faults: Faults,
    /// Reads that met a fault and were not handed on.
    met: Vec<ReadDone>,
}

impl ReadRing for FaultyReads {
    fn depth(&self) -> usize {
        self.inner.depth()
    }

    fn start(&mut self, mut read: Read) {
        let met = self.faults.meet_blocking(Operation::Read, read.file.name());
        if let Ok(true) = met {
            read.file = self.faults.unwrapped(&read.file);
            return self.inner.start(read);
        }
        read.block.as_mut_slice().fill(0);
        self.met.push(ReadDone { token: read.token, block: read.block, result: met.map(|_| read.length) });
    }

    fn collect(&mut self, wait: bool, done: &mut Vec<ReadDone>) -> io::Result<()> {
        let wait = wait && self.met.is_empty();
        done.append(&mut self.met);
        self.inner.collect(wait, done)
    }
}

/// How often a lane looks whether a completion that is held back is due.
const LOOK_EVERY: Duration = Duration::from_micros(50);

struct FaultyRing {
    inner: Box<dyn Ring>,
    clock: Arc<dyn Clock>,
    faults: Faults,
    waker: Arc<FaultyWake>,
    /// What happens to completions of the inner ring, by token.
    marked: HashMap<u64, Effect>,
    /// Completions and the monotonic time at which they come out.
    held: Vec<(u64, Completion)>,
}

impl FaultyRing {
    fn hold(&mut self, token: u64, result: io::Result<()>, delay: Duration) {
        let due_ns = self.clock.monotonic_ns().saturating_add(delay.as_nanos() as u64);
        self.held.push((due_ns, Completion { token, result }));
    }

    /// Turns the inner ring and applies what was marked.
    fn turn_inner(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let before = completions.len();
        self.inner.turn(wait, completions)?;
        let mut place = before;
        while place < completions.len() {
            match self.marked.remove(&completions[place].token) {
                None => place += 1,
                Some(Effect::Delay(delay)) => {
                    let completion = completions.remove(place);
                    self.hold(completion.token, completion.result, delay);
                }
                Some(effect) => {
                    let error = if let Effect::Fail(error) = effect { error } else { libc::EIO };
                    completions[place].result = Err(io::Error::from_raw_os_error(error));
                    place += 1;
                }
            }
        }
        self.release(completions);
        Ok(())
    }

    /// Lets out what is due.
    fn release(&mut self, completions: &mut Vec<Completion>) {
        let now_ns = self.clock.monotonic_ns();
        let mut place = 0;
        while place < self.held.len() {
            match self.held[place].0 <= now_ns {
                true => completions.push(self.held.remove(place).1),
                false => place += 1,
            }
        }
    }
}

impl Ring for FaultyRing {
    fn write(&mut self, mut write: Write) {
        let effect = self.faults.meet(Operation::Write, write.file.name());
        write.file = self.faults.unwrapped(&write.file);
        match effect {
            Some(Effect::Fail(error)) => {
                return self.hold(write.token, Err(io::Error::from_raw_os_error(error)), Duration::ZERO);
            }
            Some(Effect::Lose) => return self.hold(write.token, Ok(()), Duration::ZERO),
            Some(Effect::Torn(left)) => match torn(&mut write, left) {
                true => drop(self.marked.insert(write.token, Effect::Fail(libc::EIO))),
                false => {
                    let error = io::Error::from_raw_os_error(libc::EIO);
                    return self.hold(write.token, Err(error), Duration::ZERO);
                }
            },
            Some(delay @ Effect::Delay(_)) => drop(self.marked.insert(write.token, delay)),
            None => {}
        }
        let end = write.offset + write.total_length() as u64;
        let room = self.faults.lock().space.grow(&*write.file, end);
        match room {
            Ok(()) => self.inner.write(write),
            Err(error) => {
                self.marked.remove(&write.token);
                self.hold(write.token, Err(error), Duration::ZERO);
            }
        }
    }

    fn flush(&mut self, token: u64, file: &Arc<dyn File>) {
        match self.faults.meet(Operation::Flush, file.name()) {
            Some(Effect::Fail(error)) => {
                return self.hold(token, Err(io::Error::from_raw_os_error(error)), Duration::ZERO);
            }
            Some(Effect::Torn(_)) => {
                return self.hold(token, Err(io::Error::from_raw_os_error(libc::EIO)), Duration::ZERO);
            }
            Some(Effect::Lose) => return self.hold(token, Ok(()), Duration::ZERO),
            Some(delay @ Effect::Delay(_)) => drop(self.marked.insert(token, delay)),
            None => {}
        }
        let file = self.faults.unwrapped(file);
        self.inner.flush(token, &file);
    }

    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> io::Result<()> {
        let before = completions.len();
        loop {
            self.release(completions);
            let rung = wait != Wait::No && self.waker.rung.swap(false, Ordering::SeqCst);
            let over = match wait {
                Wait::No => true,
                Wait::Until(deadline_ns) => deadline_ns <= self.clock.monotonic_ns(),
                Wait::Forever => false,
            };
            if rung || over || completions.len() > before {
                return self.turn_inner(Wait::No, completions);
            }
            // While nothing is held back the inner ring may sleep; otherwise it is looked after often.
            if self.held.is_empty() {
                self.turn_inner(wait, completions)?;
                if self.held.is_empty() {
                    self.waker.rung.swap(false, Ordering::SeqCst);
                    return Ok(());
                }
            } else {
                self.turn_inner(Wait::No, completions)?;
                if completions.len() == before {
                    std::thread::sleep(LOOK_EVERY);
                }
            }
        }
    }

    fn waker(&self) -> Arc<dyn Wake> {
        self.waker.clone()
    }

    fn counters(&self) -> RingCounters {
        self.inner.counters()
    }
}

/// Shortens a write to the pages within its first `left` bytes; `false` if none is left.
fn torn(write: &mut Write, left: usize) -> bool {
    let left = left.min(write.total_length());
    let left = left - left % PAGE;
    if left <= write.length {
        write.tail = None;
        write.length = left;
    }
    left > 0
}

/// Tells the lane that looks after held completions, and the inner ring.
struct FaultyWake {
    inner: Arc<dyn Wake>,
    rung: AtomicBool,
}

impl Wake for FaultyWake {
    fn wake(&self) {
        self.rung.store(true, Ordering::SeqCst);
        self.inner.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Scratch, finish, open, pattern, read_back, write};
    use super::super::{Backend, Block, SystemClock};
    use super::*;
    use std::time::Instant;

    fn wrapped(scratch: &Scratch, faults: &Faults) -> Arc<dyn Storage> {
        let directory = open(scratch, Backend::Auto, None).expect("the directory opens");
        let clock = directory.clock().clone();
        faults.wrap(Arc::new(directory), clock)
    }

    fn turn_one(ring: &mut dyn Ring) -> Completion {
        let mut completions = Vec::new();
        while completions.is_empty() {
            ring.turn(Wait::Forever, &mut completions).expect("the ring itself works");
        }
        assert_eq!(completions.len(), 1);
        completions.remove(0)
    }

    fn error_number(completion: Completion) -> Option<i32> {
        completion.result.expect_err("the fault").raw_os_error()
    }

    #[test]
    fn the_nth_write_to_a_named_file_fails_once() {
        let (scratch, faults) = (Scratch::new(), Faults::new());
        let storage = wrapped(&scratch, &faults);
        let file = storage.open("log-1", Access::Create).expect("opens");
        let other = storage.open("other", Access::Create).expect("opens");
        faults.arm(Fault::new(Operation::Write, Effect::Fail(libc::EIO)).on(|name| name.starts_with("log")).nth(2));
        let mut ring = storage.ring().expect("a ring");
        let bytes = pattern(PAGE, 1);
        for (token, file, fails) in
            [(1, &other, false), (2, &file, false), (3, &other, false), (4, &file, true), (5, &file, false)]
        {
            ring.write(write(token, file, token * PAGE as u64, &bytes, false, true));
            let done = turn_one(&mut *ring);
            assert_eq!((done.token, done.result.is_err()), (token, fails));
        }
        assert_eq!(read_back(&file, 5 * PAGE as u64, PAGE), bytes);
        assert_eq!(read_back(&file, 4 * PAGE as u64, PAGE), vec![0; PAGE], "the failed one did not reach the file");
        assert_eq!((faults.count(Operation::Write), faults.hits()), (5, 1));
    }

    #[test]
    fn flushes_opens_reads_and_reservations_fail() {
        let (scratch, faults) = (Scratch::new(), Faults::new());
        let storage = wrapped(&scratch, &faults);
        let file = storage.open("a", Access::Create).expect("opens");
        for operation in
            [Operation::Flush, Operation::Open, Operation::Read, Operation::Allocate, Operation::SyncDirectory]
        {
            faults.arm(Fault::new(operation, Effect::Fail(libc::EIO)).forever());
        }
        let mut ring = storage.ring().expect("a ring");
        ring.flush(9, &file);
        assert_eq!(error_number(turn_one(&mut *ring)), Some(libc::EIO));
        let mut block = Block::zeroed(PAGE);
        assert!(storage.open("b", Access::Create).is_err());
        assert!(file.read_at(block.as_mut_slice(), 0).is_err());
        assert!(file.allocate(1 << 20).is_err());
        assert!(file.sync().is_err());
        assert!(storage.sync_directory().is_err());
        assert_eq!(faults.count(Operation::Flush), 2);
        faults.disarm();
        file.sync().expect("works again");
    }

    #[test]
    fn a_torn_write_leaves_its_beginning() {
        for left in [0, PAGE + 1, 2 * PAGE, 3 * PAGE] {
            let (scratch, faults) = (Scratch::new(), Faults::new());
            let storage = wrapped(&scratch, &faults);
            let file = storage.open("log", Access::Create).expect("opens");
            file.allocate(1 << 20).expect("fits");
            faults.arm(Fault::new(Operation::Write, Effect::Torn(left)));
            let mut ring = storage.ring().expect("a ring");
            let bytes = pattern(4 * PAGE, 3);
            ring.write(write(1, &file, 0, &bytes, true, true));
            assert_eq!(error_number(turn_one(&mut *ring)), Some(libc::EIO));
            let whole = left - left % PAGE;
            let mut expected = vec![0; 4 * PAGE];
            expected[..whole].copy_from_slice(&bytes[..whole]);
            assert!(read_back(&file, 0, 4 * PAGE) == expected, "{left} bytes");
        }
    }

    #[test]
    fn a_lost_write_claims_success() {
        let (scratch, faults) = (Scratch::new(), Faults::new());
        let storage = wrapped(&scratch, &faults);
        let file = storage.open("log", Access::Create).expect("opens");
        file.allocate(1 << 20).expect("fits");
        faults.arm(Fault::new(Operation::Write, Effect::Lose));
        let mut ring = storage.ring().expect("a ring");
        ring.write(write(1, &file, 0, &pattern(PAGE, 3), false, true));
        assert_eq!(finish(&mut *ring, 1), [1]);
        assert_eq!(read_back(&file, 0, PAGE), vec![0; PAGE]);
    }

    #[test]
    fn space_runs_out_and_comes_back() {
        let (scratch, faults) = (Scratch::new(), Faults::new());
        let storage = wrapped(&scratch, &faults);
        let file = storage.open("a", Access::Create).expect("opens");
        faults.limit_space(Some(3 << 20));
        file.allocate(2 << 20).expect("two of three");
        assert_eq!(storage.free_bytes().expect("known"), 1 << 20);
        let other = storage.open("b", Access::Create).expect("opens");
        assert_eq!(other.allocate(2 << 20).expect_err("too much").raw_os_error(), Some(libc::ENOSPC));
        let mut ring = storage.ring().expect("a ring");
        ring.write(write(1, &file, 0, &pattern(PAGE, 1), false, true));
        assert_eq!(finish(&mut *ring, 1), [1], "what is reserved can be written");
        ring.write(write(2, &other, 1 << 20, &pattern(PAGE, 1), false, true));
        assert_eq!(error_number(turn_one(&mut *ring)), Some(libc::ENOSPC));
        storage.remove("a").expect("removed");
        other.allocate(2 << 20).expect("the space is free again");
        let left = storage.free_bytes().expect("known");
        other.allocate(1 << 20).expect("shorter");
        assert_eq!(storage.free_bytes().expect("known"), left + (1 << 20));
        assert_eq!(other.length().expect("known"), 1 << 20);
        faults.limit_space(None);
        other.allocate(8 << 20).expect("no limit");
    }

    #[test]
    fn a_delayed_completion_comes_late_and_a_wake_still_ends_the_wait() {
        let (scratch, faults) = (Scratch::new(), Faults::new());
        let storage = wrapped(&scratch, &faults);
        let file = storage.open("log", Access::Create).expect("opens");
        faults.arm(Fault::new(Operation::Write, Effect::Delay(Duration::from_millis(300))));
        let mut ring = storage.ring().expect("a ring");
        let start = Instant::now();
        ring.write(write(1, &file, 0, &pattern(PAGE, 1), false, true));
        ring.write(write(2, &file, PAGE as u64, &pattern(PAGE, 1), false, true));
        assert_eq!(finish(&mut *ring, 1), [2], "the other one overtakes it");
        ring.waker().wake();
        let mut completions = Vec::new();
        ring.turn(Wait::Forever, &mut completions).expect("turns");
        assert!(completions.is_empty() && start.elapsed() < Duration::from_millis(300), "woken");
        assert_eq!(finish(&mut *ring, 1), [1]);
        assert!(start.elapsed() >= Duration::from_millis(299));
    }

    #[test]
    fn without_faults_it_is_what_it_wraps() {
        let (scratch, faults) = (Scratch::new(), Faults::new());
        let storage = wrapped(&scratch, &faults);
        let file = storage.open("log", Access::Create).expect("opens");
        assert_eq!(file.name(), "log");
        assert!(file.lock(0).expect("locks"));
        assert!(!storage.open("log", Access::Write).expect("opens").lock(2).expect("asks"), "held by the first");
        let clock = SystemClock::new();
        let mut ring = storage.ring().expect("a ring");
        let start = clock.monotonic_ns();
        ring.turn(Wait::Until(0), &mut Vec::new()).expect("a time that is over");
        let waker = ring.waker();
        waker.wake();
        ring.turn(Wait::Forever, &mut Vec::new()).expect("a wake from before");
        assert!(clock.monotonic_ns() - start < 5_000_000_000);
    }
}
