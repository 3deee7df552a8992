//! A bounded cache of index pages, shared by all readers of an engine.
//!
//! Invariants: never more than `pages_max` pages; a page is what the file held when it was read, and
//! sidecars never change while they are used (a segment file used again gets a new salt, and the salt
//! is part of the key). Eviction is second chance: a page that was used since the hand last passed stays.

use crate::io::{Block, File, PAGE};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

/// Pages read at once by who goes from page to page.
const PAGES_TOGETHER: usize = 32;

/// Which page: the segment's salt, and the page's number in its sidecar.
type Key = (u64, u64);

/// Not a [`Block`]: what is aligned to a page takes two of them from most allocators.
type Page = Arc<[u8]>;

struct Slot {
    key: Key,
    page: Page,
    used: bool,
}

#[derive(Default)]
struct Pages {
    by_key: HashMap<Key, usize>,
    slots: Vec<Slot>,
    hand: usize,
}

/// See the module.
pub(crate) struct PageCache {
    pages_max: usize,
    pages: Mutex<Pages>,
}

impl PageCache {
    pub(crate) fn new(bytes_max: u64) -> PageCache {
        PageCache { pages_max: (bytes_max as usize / PAGE).max(16), pages: Mutex::new(Pages::default()) }
    }

    /// A page of a sidecar; short files are padded with zeros.
    pub(crate) fn page(&self, file: &dyn File, salt: u64, number: u64) -> io::Result<Page> {
        let key = (salt, number);
        let count = {
            let mut pages = crate::sync::lock(&self.pages);
            if let Some(&at) = pages.by_key.get(&key) {
                pages.slots[at].used = true;
                return Ok(pages.slots[at].page.clone());
            }
            // Who comes from the page before goes on to the next ones: partitions lie side by side.
            let from_before = number > 0 && pages.by_key.contains_key(&(salt, number - 1));
            if from_before { PAGES_TOGETHER.min(self.pages_max / 4) } else { 1 }
        };
        // Read without the lock; two readers may read the same page, and the second finds it there.
        let mut block = Block::zeroed(count * PAGE);
        let read = file.read_at(block.as_mut_slice(), number * PAGE as u64)?;
        block.publish_all();
        let first = Page::from(block.slice(0, PAGE));
        let mut pages = crate::sync::lock(&self.pages);
        pages.insert(self.pages_max, key, first.clone());
        for at in 1..read.div_ceil(PAGE) {
            let page = Page::from(block.slice(at * PAGE, (at + 1) * PAGE));
            pages.insert(self.pages_max, (salt, number + at as u64), page);
        }
        Ok(first)
    }

    /// `count` bytes at `offset` of a sidecar.
    pub(crate) fn read(&self, file: &dyn File, salt: u64, offset: u64, count: usize) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(count);
        let mut at = offset;
        while bytes.len() < count {
            let page = self.page(file, salt, at / PAGE as u64)?;
            let start = (at % PAGE as u64) as usize;
            let end = PAGE.min(start + count - bytes.len());
            bytes.extend_from_slice(&page[start..end]);
            at += (end - start) as u64;
        }
        Ok(bytes)
    }

    /// Forgets the pages of one sidecar, because it is about to be written anew.
    pub(crate) fn forget(&self, salt: u64) {
        let mut pages = crate::sync::lock(&self.pages);
        let pages = &mut *pages;
        pages.slots.retain(|slot| slot.key.0 != salt);
        pages.by_key = pages.slots.iter().enumerate().map(|(at, slot)| (slot.key, at)).collect();
        pages.hand = 0;
    }

    /// Memory it holds.
    pub(crate) fn bytes(&self) -> u64 {
        (crate::sync::lock(&self.pages).slots.len() * PAGE) as u64
    }
}

impl Pages {
    fn insert(&mut self, pages_max: usize, key: Key, page: Page) {
        if self.by_key.contains_key(&key) {
            return;
        }
        let slot = Slot { key, page, used: false };
        if self.slots.len() < pages_max {
            self.by_key.insert(key, self.slots.len());
            self.slots.push(slot);
            return;
        }
        while self.slots[self.hand].used {
            self.slots[self.hand].used = false;
            self.hand = (self.hand + 1) % self.slots.len();
        }
        let old = std::mem::replace(&mut self.slots[self.hand], slot);
        self.by_key.remove(&old.key);
        self.by_key.insert(key, self.hand);
        self.hand = (self.hand + 1) % self.slots.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_within_its_bound_and_keeps_what_is_used() {
        let mut pages = Pages::default();
        let page = Page::from([0; PAGE]);
        for number in 0..4 {
            pages.insert(4, (1, number), page.clone());
        }
        pages.slots[0].used = true;
        pages.insert(4, (1, 9), page.clone());
        assert_eq!(pages.slots.len(), 4);
        assert!(pages.by_key.contains_key(&(1, 0)), "used since the hand passed");
        assert!(!pages.by_key.contains_key(&(1, 1)));
    }
}
