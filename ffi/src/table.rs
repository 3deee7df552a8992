//! Handles: what the application holds of an object is its number in a table, never its address.
//!
//! A number names its slot, its kind, and which of the objects that the slot ever had. So one that was freed, one of
//! another kind, and one that never was are told from a good one without anything being followed, and a call that goes on
//! while another thread frees the handle has its object to the end.
//!
//! ```text
//!  state of a slot:  63 .. 32 generation | 31 live | 30 .. 0 calls that use the object
//!  a handle:         63 .. 32 generation | 31 .. 24 kind | 23 .. 0 slot, from 1 on
//! ```
//!
//! Invariants:
//! - An object is dropped once, by whoever ends its last use: the call that frees it, or a call that outlives that.
//! - No lock is taken: a child of fork can be told that it is one, whatever the threads of its parent were at.
//! - What was made before a fork is never touched by the child: its lanes and locks are not there.

use engine::io::fork::ForkMark;
use std::cell::UnsafeCell;
use std::ops::Deref;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

const LIVE: u64 = 1 << 31;
const USES: u64 = LIVE - 1;
/// Slots of the first chunk; each other one has twice as many as the one before.
const CHUNK_FIRST: u32 = 64;
/// So many chunks have more slots than a handle can name.
const CHUNKS: usize = 19;
/// Handles that may be there at once.
pub(crate) const HANDLES_MAX: u32 = (1 << 24) - 64;

/// Why a handle is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dead {
    /// It was freed, or never was one.
    Unknown,
    /// It names something else.
    OtherKind,
    /// It was made before this process was forked.
    Forked,
}

struct Slot<T> {
    state: AtomicU64,
    /// The slot behind it among the free ones, from 1 on; 0: none.
    next_free: AtomicU32,
    object: UnsafeCell<Option<(u8, ForkMark, T)>>,
}

impl<T> Slot<T> {
    fn new() -> Slot<T> {
        Slot { state: AtomicU64::new(0), next_free: AtomicU32::new(0), object: UnsafeCell::new(None) }
    }
}

/// See the module.
pub(crate) struct Table<T: 'static> {
    chunks: [AtomicPtr<Slot<T>>; CHUNKS],
    /// Slots that were ever used.
    used: AtomicU32,
    /// The first free slot, from 1 on, and above it a count that tells one use of this place from the next.
    free: AtomicU64,
}

// SAFETY: a slot's object is written by its owner alone, while nobody else can reach it: before the state says that it is
// live, or after the last use. Between these it is only shared.
unsafe impl<T: Send + Sync> Sync for Table<T> {}

impl<T: Send + Sync> Table<T> {
    pub(crate) const fn new() -> Table<T> {
        Table {
            chunks: [const { AtomicPtr::new(null_mut()) }; CHUNKS],
            used: AtomicU32::new(0),
            free: AtomicU64::new(0),
        }
    }

    /// Puts an object in; `None`: there are too many.
    pub(crate) fn insert(&'static self, kind: u8, object: T) -> Option<u64> {
        let at = self.take_free().or_else(|| self.take_new())?;
        let slot = self.slot(at).expect("it was just taken");
        let generation = slot.state.load(Ordering::Relaxed) >> 32;
        // SAFETY: a slot that was taken and is not live is reached by nobody else.
        unsafe { *slot.object.get() = Some((kind, ForkMark::default(), object)) };
        slot.state.store(generation << 32 | LIVE, Ordering::Release);
        Some(name(generation, kind, at))
    }

    /// The object of a handle, for as long as the guard is there.
    #[inline]
    pub(crate) fn get(&'static self, kind: u8, handle: u64) -> Result<Use<T>, Dead> {
        let slot = self.slot_of(handle)?;
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if state & LIVE == 0 || state >> 32 != handle >> 32 || state & USES == USES {
                return Err(Dead::Unknown);
            }
            match slot.state.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => state = now,
            }
        }
        let used = Use { table: self, slot, handle };
        // SAFETY: while it is used it is not written.
        let (of, process, _) = unsafe { (*slot.object.get()).as_ref() }.expect("a live slot has an object");
        match *of == kind && (handle >> 24) as u8 == kind {
            _ if process.is_forked() => Err(Dead::Forked),
            true => Ok(used),
            false => Err(Dead::OtherKind),
        }
    }

    /// Takes a handle out: no other call gets its object any more. It is dropped now, or when the last call ends that has
    /// it.
    pub(crate) fn remove(&'static self, kind: u8, handle: u64) -> Result<(), Dead> {
        let used = self.get(kind, handle)?;
        let slot = used.slot;
        let mut state = slot.state.load(Ordering::Relaxed);
        loop {
            if state & LIVE == 0 {
                // Another call has just freed it.
                return Err(Dead::Unknown);
            }
            match slot.state.compare_exchange_weak(state, state & !LIVE, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => state = now,
            }
        }
    }

    /// Shows all objects of a kind that are there.
    pub(crate) fn each(&'static self, kind: u8, mut show: impl FnMut(&T)) {
        for at in 0..self.used.load(Ordering::Acquire).min(HANDLES_MAX) {
            let Some(slot) = self.slot(at) else { continue };
            let generation = slot.state.load(Ordering::Relaxed) >> 32;
            if let Ok(object) = self.get(kind, name(generation, kind, at)) {
                show(&object);
            }
        }
    }

    fn slot_of(&self, handle: u64) -> Result<&Slot<T>, Dead> {
        let at = (handle as u32 & 0xff_ffff).checked_sub(1).ok_or(Dead::Unknown)?;
        if at >= self.used.load(Ordering::Acquire).min(HANDLES_MAX) {
            return Err(Dead::Unknown);
        }
        self.slot(at).ok_or(Dead::Unknown)
    }

    fn slot(&self, at: u32) -> Option<&Slot<T>> {
        let (chunk, index) = place(at);
        let slots = self.chunks[chunk].load(Ordering::Acquire);
        // SAFETY: a chunk is never given back, and has as many slots as its place says.
        (!slots.is_null()).then(|| unsafe { &*slots.add(index) })
    }

    fn take_free(&self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let at = (head as u32).checked_sub(1)?;
            let next = self.slot(at)?.next_free.load(Ordering::Relaxed);
            let behind = ((head >> 32) + 1) << 32 | u64::from(next);
            match self.free.compare_exchange_weak(head, behind, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(at),
                Err(now) => head = now,
            }
        }
    }

    fn give_back(&self, slot: &Slot<T>, at: u32) {
        let mut head = self.free.load(Ordering::Relaxed);
        loop {
            slot.next_free.store(head as u32, Ordering::Relaxed);
            let before = ((head >> 32) + 1) << 32 | u64::from(at + 1);
            match self.free.compare_exchange_weak(head, before, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    fn take_new(&self) -> Option<u32> {
        let next = |used: u32| (used < HANDLES_MAX).then_some(used + 1);
        // The chunk is there before the slot is counted: who finds the number in bounds finds the slot.
        let mut used = self.used.load(Ordering::Acquire);
        loop {
            let after = next(used)?;
            self.have_chunk(place(used).0);
            match self.used.compare_exchange_weak(used, after, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(used),
                Err(now) => used = now,
            }
        }
    }

    fn have_chunk(&self, chunk: usize) {
        if !self.chunks[chunk].load(Ordering::Acquire).is_null() {
            return;
        }
        let count = CHUNK_FIRST << chunk;
        let slots: Box<[Slot<T>]> = (0..count).map(|_| Slot::new()).collect();
        let slots = Box::into_raw(slots);
        let first = slots.cast::<Slot<T>>();
        let put = self.chunks[chunk].compare_exchange(null_mut(), first, Ordering::AcqRel, Ordering::Acquire);
        if put.is_err() {
            // SAFETY: another thread was faster, and nobody has seen these.
            drop(unsafe { Box::from_raw(slots) });
        }
    }
}

/// The handle of what a slot has.
fn name(generation: u64, kind: u8, at: u32) -> u64 {
    generation << 32 | u64::from(kind) << 24 | u64::from(at + 1)
}

/// In which chunk a slot is, and where in it.
fn place(at: u32) -> (usize, usize) {
    let chunk = (at / CHUNK_FIRST + 1).ilog2();
    (chunk as usize, (at - ((1 << chunk) - 1) * CHUNK_FIRST) as usize)
}

/// An object in use by a call.
pub(crate) struct Use<T: Send + Sync + 'static> {
    table: &'static Table<T>,
    slot: &'static Slot<T>,
    handle: u64,
}

impl<T: Send + Sync> Use<T> {
    /// Whether it is of this handle.
    #[inline]
    pub(crate) fn is_of(&self, handle: u64) -> bool {
        self.handle == handle
    }

    /// Whether the handle could be used anew: it was not freed, and this is no child of its process.
    #[inline]
    pub(crate) fn is_live(&self) -> bool {
        // SAFETY: as long as it is used nobody writes it.
        let object = unsafe { &*self.slot.object.get() };
        self.slot.state.load(Ordering::Acquire) & LIVE != 0
            && object.as_ref().is_some_and(|(_, process, _)| !process.is_forked())
    }
}

impl<T: Send + Sync> Deref for Use<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: as long as it is used nobody writes it.
        let object = unsafe { &*self.slot.object.get() };
        &object.as_ref().expect("a slot in use has an object").2
    }
}

impl<T: Send + Sync> Drop for Use<T> {
    #[inline]
    fn drop(&mut self) {
        let before = self.slot.state.fetch_sub(1, Ordering::AcqRel);
        if before & (LIVE | USES) != 1 {
            return;
        }
        // SAFETY: it is not live and this was the last use: nobody reaches it any more.
        let object = unsafe { (*self.slot.object.get()).take() };
        self.slot.state.store(((before >> 32) + 1) << 32, Ordering::Release);
        self.table.give_back(self.slot, (self.handle as u32 & 0xff_ffff) - 1);
        drop(object);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn table() -> &'static Table<Arc<u64>> {
        Box::leak(Box::new(Table::new()))
    }

    #[test]
    fn each_slot_has_its_place() {
        let mut last = (0, 0);
        for at in 1..100_000 {
            let (chunk, index) = place(at);
            assert!((chunk, index) == (last.0, last.1 + 1) || (chunk, index) == (last.0 + 1, 0), "{at}");
            assert!(index < (CHUNK_FIRST << chunk) as usize);
            last = (chunk, index);
        }
        assert!(place(HANDLES_MAX).0 < CHUNKS);
    }

    #[test]
    fn what_is_no_handle_is_told_from_what_is() {
        let table = table();
        let one = table.insert(3, Arc::new(1)).unwrap();
        assert_eq!(**table.get(3, one).unwrap(), 1);
        assert_eq!(table.get(4, one).err(), Some(Dead::OtherKind));
        for nonsense in [0, 1, 7, u64::MAX, one + 1, one ^ 1 << 24, one ^ 1 << 40, one | 0xff_ffff] {
            assert!(table.get(3, nonsense).is_err(), "{nonsense:x}");
            assert!(table.remove(3, nonsense).is_err(), "{nonsense:x}");
        }
        assert_eq!(table.remove(3, one), Ok(()));
        assert_eq!((table.get(3, one).err(), table.remove(3, one)), (Some(Dead::Unknown), Err(Dead::Unknown)));
        let two = table.insert(3, Arc::new(2)).unwrap();
        assert_eq!(two & 0xff_ffff, one & 0xff_ffff, "the place is used again");
        assert_eq!((table.get(3, one).err(), **table.get(3, two).unwrap()), (Some(Dead::Unknown), 2));
    }

    #[test]
    fn all_of_a_kind_are_shown() {
        let table = table();
        let handles: Vec<u64> = (0..200).map(|at| table.insert(at as u8 % 2, Arc::new(at)).unwrap()).collect();
        table.remove(1, handles[1]).unwrap();
        let mut shown = Vec::new();
        table.each(1, |object| shown.push(**object));
        assert_eq!(shown, (3..200).step_by(2).collect::<Vec<u64>>());
    }

    #[test]
    fn a_call_has_its_object_to_the_end() {
        let table = table();
        let object = Arc::new(7);
        let handle = table.insert(1, object.clone()).unwrap();
        let used = table.get(1, handle).unwrap();
        table.remove(1, handle).unwrap();
        assert!(table.get(1, handle).is_err());
        assert_eq!((**used, Arc::strong_count(&object)), (7, 2));
        drop(used);
        assert_eq!(Arc::strong_count(&object), 1);
    }

    #[test]
    fn many_threads_make_use_and_free() {
        let table = table();
        let shared = table.insert(1, Arc::new(u64::MAX)).unwrap();
        let living = Arc::new(0);
        let work = |thread: u64| {
            for turn in 0..2_000 {
                let value = thread << 32 | turn;
                let (mine, counted) =
                    (table.insert(2, Arc::new(value)).unwrap(), table.insert(3, living.clone()).unwrap());
                assert_eq!(**table.get(2, mine).unwrap(), value);
                let used = table.get(3, counted).unwrap();
                assert_eq!(**table.get(1, shared).unwrap(), u64::MAX);
                table.remove(3, counted).unwrap();
                table.remove(2, mine).unwrap();
                drop(used);
                assert!(table.get(2, mine).is_err());
            }
        };
        std::thread::scope(|scope| (0..4).for_each(|thread| drop(scope.spawn(move || work(thread)))));
        assert_eq!(Arc::strong_count(&living), 1);
        assert!(table.used.load(Ordering::Relaxed) <= 1 + 4 * 2, "places are used again");
        // Of several that free one handle, one does.
        let freed = AtomicU32::new(0);
        for _ in 0..500 {
            let handle = table.insert(4, Arc::new(0)).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| freed.fetch_add(u32::from(table.remove(4, handle).is_ok()), Ordering::Relaxed));
                }
            });
        }
        assert_eq!(freed.into_inner(), 500);
    }
}
