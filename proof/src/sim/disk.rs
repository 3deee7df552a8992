//! The simulated disk: files of pages, a directory, and what of it a loss of power leaves.
//!
//! A page has the content that everybody reads, the content that is surely on the medium, and the
//! contents that were written since: the medium may have any of those, sector by sector, until a flush.
//!
//! Invariants:
//! - A clone shares its pages with the original until one of them changes, so clones are cheap.
//! - What [`Disk::after_power_loss`] gives is made of old and new sectors only; with garbage allowed, of
//!   garbage too, in sectors that were being written.
//! - Entries of the directory are kept or lost one by one until the directory is flushed.

use super::random::Random;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of a page.
pub const PAGE: usize = ringlane::io::PAGE;
/// What a medium writes wholly or not at all.
pub const SECTOR: usize = 512;

/// The version of what no flush writes any more.
const NEVER: u64 = u64::MAX;

/// A page's content; `None`: zeros.
pub type Page = Option<Arc<[u8; PAGE]>>;
/// A file, whatever its name.
pub type Inode = usize;

/// A file.
#[derive(Clone, Debug, Default)]
struct Content {
    /// What everybody reads.
    pages: Vec<Page>,
    length: u64,
    /// What is surely on the medium.
    durable: Vec<Page>,
    durable_length: u64,
    /// Pages written since, each with the order of its versions.
    pending: BTreeMap<usize, Vec<(u64, Page)>>,
    /// Bytes that it has taken of the disk's space.
    allocated: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    inodes: Vec<Arc<Content>>,
    names: BTreeMap<String, Inode>,
    durable_names: BTreeMap<String, Inode>,
    /// Counts writes.
    version: u64,
    /// Bytes that files may still be given; `None`: any.
    pub space: Option<u64>,
}

impl Disk {
    /// The names of all files.
    pub fn names(&self) -> Vec<String> {
        self.names.keys().cloned().collect()
    }

    /// The file of a name.
    pub fn find(&self, name: &str) -> Option<Inode> {
        self.names.get(name).copied()
    }

    /// A new, empty file under a name that is not taken.
    pub fn create(&mut self, name: &str) -> Inode {
        let inode = self.inodes.len();
        self.inodes.push(Arc::default());
        assert!(self.names.insert(name.to_owned(), inode).is_none(), "the name is free");
        inode
    }

    /// Takes a name away; gives its file.
    pub fn remove(&mut self, name: &str) -> Option<Inode> {
        let inode = self.names.remove(name)?;
        if let Some(space) = &mut self.space {
            *space += self.inodes[inode].allocated;
        }
        Some(inode)
    }

    /// Makes creations and removals durable.
    pub fn sync_directory(&mut self) {
        if self.durable_names != self.names {
            self.durable_names = self.names.clone();
        }
    }

    /// Bytes that files may still be given.
    pub fn free_bytes(&self) -> u64 {
        self.space.unwrap_or(1 << 40)
    }

    /// A file's length.
    pub fn length(&self, inode: Inode) -> u64 {
        self.inodes[inode].length
    }

    /// Takes the room that a file of this length needs. `false`: it is not there.
    pub fn reserve(&mut self, inode: Inode, length: u64) -> bool {
        let more = length.saturating_sub(self.inodes[inode].allocated);
        if more == 0 {
            return true;
        }
        if let Some(space) = &mut self.space {
            if *space < more {
                return false;
            }
            *space -= more;
        }
        Arc::make_mut(&mut self.inodes[inode]).allocated = length;
        true
    }

    /// Cuts a file, on the medium as well, and gives back its room.
    pub fn cut(&mut self, inode: Inode, length: u64) {
        let content = Arc::make_mut(&mut self.inodes[inode]);
        let pages = (length as usize).div_ceil(PAGE);
        content.length = content.length.min(length);
        content.durable_length = content.durable_length.min(length);
        content.pages.truncate(pages);
        content.durable.truncate(pages);
        content.pending.retain(|at, _| *at < pages);
        let given_back = content.allocated.saturating_sub(length);
        content.allocated -= given_back;
        if let Some(space) = &mut self.space {
            *space += given_back;
        }
    }

    /// Sets the length to at least this.
    pub fn extend(&mut self, inode: Inode, length: u64) {
        if self.inodes[inode].length < length {
            let content = Arc::make_mut(&mut self.inodes[inode]);
            content.length = length;
            content.pages.resize((length as usize).div_ceil(PAGE), None);
        }
    }

    /// Reads whole pages; gives the bytes that were there.
    pub fn read(&self, inode: Inode, buffer: &mut [u8], offset: u64) -> usize {
        let content = &self.inodes[inode];
        let count = content.length.saturating_sub(offset).min(buffer.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let step = PAGE.min(count - done);
            let target = &mut buffer[done..done + step];
            match content.pages.get((offset as usize + done) / PAGE) {
                Some(Some(page)) => target.copy_from_slice(&page[..step]),
                _ => target.fill(0),
            }
            done += step;
        }
        count
    }

    /// Writes whole pages: everybody reads them now, and a flush makes them durable.
    pub fn write(&mut self, inode: Inode, bytes: &[u8], offset: u64) {
        self.extend(inode, offset + bytes.len() as u64);
        self.version += 1;
        let version = self.version;
        let content = Arc::make_mut(&mut self.inodes[inode]);
        let (pages, _) = bytes.as_chunks::<PAGE>();
        for (at, bytes) in pages.iter().enumerate() {
            let at = offset as usize / PAGE + at;
            let page = page_of(bytes);
            content.pages[at] = page.clone();
            let is_old = page.is_none()
                && !content.pending.contains_key(&at)
                && content.durable.get(at).is_none_or(|durable| durable.is_none());
            if !is_old {
                content.pending.entry(at).or_default().push((version, page));
            }
        }
    }

    /// What was written so far, for [`Disk::sync`].
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Makes durable what was written to a file up to a version.
    pub fn sync(&mut self, inode: Inode, version: u64) {
        let content = &mut self.inodes[inode];
        if content.pending.is_empty() && content.durable_length == content.length {
            return;
        }
        let content = Arc::make_mut(content);
        content.durable_length = content.length;
        content.durable.resize(content.pages.len(), None);
        let durable = &mut content.durable;
        content.pending.retain(|at, versions| {
            if let Some(last) = versions.iter().rposition(|(written, _)| *written <= version) {
                durable[*at] = versions[last].1.clone();
                versions.drain(..=last);
            }
            !versions.is_empty()
        });
    }

    /// A flush failed: the system believes that what was written is clean. No later flush will write it;
    /// only writing it again will.
    pub fn fail_sync(&mut self, inode: Inode) {
        let content = Arc::make_mut(&mut self.inodes[inode]);
        for (written, _) in content.pending.values_mut().flatten() {
            *written = NEVER;
        }
    }

    /// Makes durable what was last written to these pages alone.
    pub fn sync_pages(&mut self, inode: Inode, offset: u64, bytes: usize) {
        let content = Arc::make_mut(&mut self.inodes[inode]);
        content.durable_length = content.durable_length.max(offset + bytes as u64).min(content.length);
        content.durable.resize(content.pages.len(), None);
        for at in offset as usize / PAGE..(offset as usize + bytes).div_ceil(PAGE) {
            content.pending.remove(&at);
            content.durable[at] = content.pages[at].clone();
        }
    }

    /// Changes bytes on the medium itself, behind everybody's back.
    pub fn corrupt(&mut self, inode: Inode, offset: u64, change: impl FnOnce(&mut [u8; PAGE])) {
        let content = Arc::make_mut(&mut self.inodes[inode]);
        let at = offset as usize / PAGE;
        let mut page = content.pages[at].as_deref().copied().unwrap_or([0; PAGE]);
        change(&mut page);
        let page = page_of(&page);
        content.pages[at] = page.clone();
        content.durable.resize(content.pages.len(), None);
        content.durable[at] = page;
        content.pending.remove(&at);
    }

    /// Whether there is anything but zeros in a page.
    pub fn holds(&self, inode: Inode, page: usize) -> bool {
        self.inodes[inode].pages.get(page).is_some_and(Option::is_some)
    }

    /// Pages that are not durable yet.
    pub fn pending_pages(&self) -> usize {
        self.inodes.iter().map(|content| content.pending.len()).sum()
    }

    /// Sectors that are not durable yet and differ from what is: each may be old or new.
    pub fn pending_sectors(&self) -> Vec<(Inode, usize, usize)> {
        let mut sectors = Vec::new();
        for (inode, content) in self.inodes.iter().enumerate() {
            for (at, versions) in &content.pending {
                let old = content.durable.get(*at).cloned().flatten();
                for sector in 0..PAGE / SECTOR {
                    if versions.iter().any(|(_, page)| sector_of(page, sector) != sector_of(&old, sector)) {
                        sectors.push((inode, *at, sector));
                    }
                }
            }
        }
        sectors
    }

    /// What the medium holds when the power goes now. For each page that was not durable, `keep` chooses
    /// among the versions of each sector: 0 is the durable one, then as they were written.
    fn settle(&mut self, mut keep: impl FnMut(Inode, usize, usize, usize) -> usize) {
        for (inode, content) in self.inodes.iter_mut().enumerate() {
            if content.pending.is_empty() && content.durable_length == content.length {
                continue;
            }
            let content = Arc::make_mut(content);
            content.durable.resize(content.pages.len(), None);
            for (at, versions) in std::mem::take(&mut content.pending) {
                let durable = content.durable[at].clone();
                let mut chosen = durable.as_deref().copied().unwrap_or([0; PAGE]);
                for sector in 0..PAGE / SECTOR {
                    let choice = keep(inode, at, sector, versions.len());
                    if choice > 0 {
                        let range = sector * SECTOR..(sector + 1) * SECTOR;
                        chosen[range].copy_from_slice(sector_of(&versions[choice - 1].1, sector));
                    }
                }
                content.durable[at] = page_of(&chosen);
            }
        }
    }

    /// Everybody reads what is on the medium: the machine starts again.
    fn start_again(&mut self) {
        for content in &mut self.inodes {
            let same = content.length == content.durable_length && content.pages == content.durable;
            if !same {
                let content = Arc::make_mut(content);
                content.length = content.durable_length;
                content.durable.resize((content.length as usize).div_ceil(PAGE), None);
                content.pages = content.durable.clone();
                // Room that was reserved and not flushed is not given back: nobody counts on it.
            }
        }
        self.durable_names = self.names.clone();
    }

    /// What a loss of power leaves: of everything unflushed a random part. `garbage`: a sector that was
    /// being written may hold anything.
    pub fn after_power_loss(&self, random: &mut Random, garbage: bool) -> Disk {
        let mut disk = self.clone();
        for content in &mut disk.inodes {
            if content.durable_length != content.length && random.one_in(2) {
                Arc::make_mut(content).durable_length = content.length;
            }
        }
        // Sometimes everything, sometimes nothing, mostly some of it.
        let bias = random.below(5);
        let mut broken = Vec::new();
        disk.settle(|inode, at, sector, versions| {
            if garbage && random.one_in(6) {
                broken.push((inode, at, sector, random.number()));
            }
            match bias {
                0 => 0,
                1 => versions,
                _ => random.below(versions as u64 + 1) as usize,
            }
        });
        for (inode, at, sector, seed) in broken {
            let mut noise = Random::new(seed);
            let content = Arc::make_mut(&mut disk.inodes[inode]);
            let mut page = content.durable[at].as_deref().copied().unwrap_or([0; PAGE]);
            for byte in &mut page[sector * SECTOR..(sector + 1) * SECTOR] {
                *byte = noise.number() as u8;
            }
            content.durable[at] = page_of(&page);
        }
        disk.lose_names(|_| random.one_in(2));
        disk.start_again();
        disk
    }

    /// What a loss of power leaves if exactly these sectors and changes of the directory reach the medium.
    pub fn after_exact_loss(
        &self,
        new: impl Fn(Inode, usize, usize) -> bool,
        keep_name: impl Fn(&str) -> bool,
        keep_length: bool,
    ) -> Disk {
        let mut disk = self.clone();
        if keep_length {
            for content in disk.inodes.iter_mut().filter(|content| content.durable_length != content.length) {
                let content = Arc::make_mut(content);
                content.durable_length = content.length;
            }
        }
        disk.settle(|inode, at, sector, versions| if new(inode, at, sector) { versions } else { 0 });
        disk.lose_names(keep_name);
        disk.start_again();
        disk
    }

    /// Names whose creation or removal is not durable.
    pub fn pending_names(&self) -> Vec<String> {
        let all = self.names.keys().chain(self.durable_names.keys());
        let mut names: Vec<String> =
            all.filter(|name| self.names.get(*name) != self.durable_names.get(*name)).cloned().collect();
        names.sort();
        names.dedup();
        names
    }

    fn lose_names(&mut self, mut keep: impl FnMut(&str) -> bool) {
        for name in self.pending_names() {
            if keep(&name) {
                continue;
            }
            match self.durable_names.get(&name) {
                Some(inode) => self.names.insert(name, *inode),
                None => self.names.remove(&name),
            };
        }
    }
}

fn page_of(bytes: &[u8; PAGE]) -> Page {
    let (words, _) = bytes.as_chunks::<16>();
    if words.iter().all(|word| u128::from_ne_bytes(*word) == 0) { None } else { Some(Arc::new(*bytes)) }
}

fn sector_of(page: &Page, sector: usize) -> &[u8] {
    match page {
        Some(page) => &page[sector * SECTOR..(sector + 1) * SECTOR],
        None => &[0; SECTOR],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn byte(disk: &Disk, inode: Inode, offset: usize) -> u8 {
        let mut page = [0; PAGE];
        disk.read(inode, &mut page, (offset - offset % PAGE) as u64);
        page[offset % PAGE]
    }

    #[test]
    fn what_was_flushed_survives_and_what_was_not_may_go_sector_by_sector() {
        let mut disk = Disk::default();
        let inode = disk.create("a");
        disk.sync_directory();
        disk.write(inode, &[1; PAGE], 0);
        disk.sync(inode, disk.version());
        disk.write(inode, &[2; PAGE], 0);
        assert_eq!(disk.pending_sectors().len(), 8);
        let mut random = Random::new(3);
        let (mut old, mut new, mut mixed) = (0, 0, 0);
        for _ in 0..100 {
            let after = disk.after_power_loss(&mut random, false);
            let bytes: Vec<u8> = (0..8).map(|sector| byte(&after, inode, sector * SECTOR)).collect();
            assert!(bytes.iter().all(|byte| [1, 2].contains(byte)));
            match (bytes.contains(&1), bytes.contains(&2)) {
                (true, false) => old += 1,
                (false, true) => new += 1,
                _ => mixed += 1,
            }
        }
        assert!(old > 5 && new > 5 && mixed > 20, "{old} {new} {mixed}");
        assert_eq!(byte(&disk, inode, 0), 2, "the original is as it was");
    }

    #[test]
    fn a_flush_covers_what_was_written_before_it_began() {
        let mut disk = Disk::default();
        let inode = disk.create("a");
        disk.sync_directory();
        disk.write(inode, &[1; PAGE], 0);
        let version = disk.version();
        disk.write(inode, &[2; PAGE], 0);
        disk.sync(inode, version);
        let after = disk.after_exact_loss(|_, _, _| false, |_| true, true);
        assert_eq!(byte(&after, inode, 0), 1);
    }

    #[test]
    fn after_a_failed_flush_only_writing_again_helps() {
        let mut disk = Disk::default();
        let inode = disk.create("a");
        disk.sync_directory();
        disk.write(inode, &[1; PAGE], 0);
        disk.fail_sync(inode);
        disk.sync(inode, disk.version());
        assert_eq!(byte(&disk.after_exact_loss(|_, _, _| false, |_| true, true), inode, 0), 0);
        disk.write(inode, &[1; PAGE], 0);
        disk.sync(inode, disk.version());
        assert_eq!(byte(&disk.after_exact_loss(|_, _, _| false, |_| true, true), inode, 0), 1);
    }

    #[test]
    fn names_are_lost_until_the_directory_is_flushed() {
        let mut disk = Disk::default();
        disk.create("kept");
        disk.sync_directory();
        disk.create("new");
        disk.remove("kept");
        assert_eq!(disk.pending_names(), ["kept", "new"]);
        let after = disk.after_exact_loss(|_, _, _| true, |_| false, true);
        assert_eq!(after.names(), ["kept"]);
        let after = disk.after_exact_loss(|_, _, _| true, |_| true, true);
        assert_eq!(after.names(), ["new"]);
    }

    #[test]
    fn a_full_disk_gives_room_back_when_a_file_goes() {
        let mut disk = Disk { space: Some(10_000), ..Disk::default() };
        let inode = disk.create("a");
        assert!(disk.reserve(inode, 8192) && !disk.reserve(inode, 20_000));
        disk.remove("a");
        assert_eq!(disk.free_bytes(), 10_000);
    }
}
