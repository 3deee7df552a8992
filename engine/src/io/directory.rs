//! A real directory as storage.
//!
//! Invariants:
//! - All files are opened in one mode, direct or buffered, found out by a trial when the directory
//!   is opened. Only a read-only directory, where nothing can be tried, decides file by file.
//! - Names never leave the directory: a name with a separator is refused.
//! - Every descriptor is closed on exec.
//! - The report says what runs. If a ring cannot be set up later (a limit was reached), the lane
//!   gets a plain one and the report changes with it.

use super::blocking::BlockingWriter;
use super::disk_file::DiskFile;
use super::plain::PlainRing;
use super::reads::BlockingReads;
use super::selector::StrategySelector;
use super::trial::{self, Abilities, Exempt};
use super::uring::UringRing;
use super::uring_reads::UringReads;
use super::{Access, Clock, File, IoReport, ReadRing, Ring, Storage, WriteStrategy, calls};
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// What lanes run on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum Backend {
    /// The best that the kernel, the file system and the sandbox allow.
    #[default]
    Auto,
    /// io_uring, or opening fails.
    IoUring,
    /// Blocking calls, past the page cache where the file system allows it.
    Plain,
    /// Blocking calls through the page cache.
    PlainBuffered,
}

/// How a [`Directory`] is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryOptions {
    /// What lanes run on.
    pub backend: Backend,
    /// How durable writes reach the device; `None`: measured and switched automatically. A strategy
    /// that needs io_uring makes opening fail where io_uring does not run.
    pub write_strategy: Option<WriteStrategy>,
    /// Whether to create the directory, and those above it, if it is not there.
    pub create: bool,
    /// Whether everything that changes anything is refused.
    pub read_only: bool,
    /// Entries of each lane's submission queue; an operation takes up to two.
    pub ring_entries: u32,
}

impl Default for DirectoryOptions {
    fn default() -> Self {
        DirectoryOptions {
            backend: Backend::Auto,
            write_strategy: None,
            create: true,
            read_only: false,
            ring_entries: 64,
        }
    }
}

/// A directory of the file system.
pub struct Directory {
    path: PathBuf,
    handle: fs::File,
    options: DirectoryOptions,
    clock: Arc<dyn Clock>,
    abilities: Abilities,
    report: Mutex<IoReport>,
}

impl Directory {
    /// Opens a directory and tries out what can be done in it.
    ///
    /// # Errors
    /// The directory is not there and shall not be created, cannot be written, or cannot do what the
    /// options insist on.
    pub fn open(path: impl AsRef<Path>, options: DirectoryOptions, clock: Arc<dyn Clock>) -> io::Result<Directory> {
        let path = path.as_ref();
        if options.create && !options.read_only {
            create_durably(path)?;
        }
        let path = path.canonicalize()?;
        let handle = fs::File::open(&path)?;
        if !handle.metadata()?.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, format!("{} is no directory", path.display())));
        }
        let abilities = if options.read_only {
            untried()
        } else {
            let buffered = options.backend == Backend::PlainBuffered;
            let plain = buffered || options.backend == Backend::Plain;
            trial::run(&path, Exempt { direct: buffered, uring: plain })?
        };
        let report = judge(&options, &abilities)?;
        Ok(Directory { path, handle, options, clock, abilities, report: Mutex::new(report) })
    }

    /// The absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The clock it was opened with.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn lock_report(&self) -> std::sync::MutexGuard<'_, IoReport> {
        self.report.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn place(&self, name: &str) -> io::Result<PathBuf> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is no name of a file")));
        }
        Ok(self.path.join(name))
    }

    fn refuse_if_read_only(&self, what: &str) -> io::Result<()> {
        match self.options.read_only {
            true => Err(io::Error::new(io::ErrorKind::ReadOnlyFilesystem, format!("{what}: opened read-only"))),
            false => Ok(()),
        }
    }

    /// Opens for reading, direct if this file system does that; nothing was tried beforehand.
    fn open_read_only(&self, place: &Path) -> io::Result<(fs::File, bool)> {
        let mut options = OpenOptions::new();
        if self.options.backend != Backend::PlainBuffered {
            match options.read(true).custom_flags(libc::O_DIRECT).open(place) {
                Err(error) if trial::is_refusal(&error) => {}
                result => return Ok((result?, true)),
            }
        }
        Ok((OpenOptions::new().read(true).open(place)?, false))
    }

    fn uring(&self) -> io::Result<UringRing> {
        let direct = self.abilities.direct.is_ok();
        let writer = BlockingWriter::new(direct, direct && self.abilities.dsync);
        let selector = StrategySelector::new(self.options.write_strategy, self.abilities.uring_dsync);
        UringRing::new(self.options.ring_entries, self.clock.clone(), direct, writer, selector)
    }
}

impl Storage for Directory {
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn File>> {
        let place = self.place(name)?;
        if access != Access::Read {
            self.refuse_if_read_only("open")?;
        }
        let (file, direct) = if self.options.read_only {
            self.open_read_only(&place)?
        } else {
            let direct = self.abilities.direct.is_ok();
            let mut options = OpenOptions::new();
            options.read(true).write(access != Access::Read).create(access == Access::Create).mode(0o600);
            (options.custom_flags(if direct { libc::O_DIRECT } else { 0 }).open(&place)?, direct)
        };
        Ok(Arc::new(DiskFile::new(name, file, direct, self.clock.clone())))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            // A name that is no text, a directory or a socket is not one of ours.
            if entry.file_type()?.is_file()
                && let Ok(name) = entry.file_name().into_string()
            {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.refuse_if_read_only("remove")?;
        fs::remove_file(self.place(name)?)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        calls::free_bytes(self.handle.as_fd())
    }

    fn ring(&self) -> io::Result<Box<dyn Ring>> {
        self.refuse_if_read_only("ring")?;
        if self.report().backend == IO_URING {
            match self.uring() {
                Ok(ring) => return Ok(Box::new(ring)),
                Err(error) if self.options.backend == Backend::IoUring => return Err(error),
                Err(error) => {
                    let mut report = self.lock_report();
                    report.backend = PLAIN;
                    report.reason = format!("a lane's io_uring could not be set up: {error}");
                }
            }
        }
        let direct = self.abilities.direct.is_ok();
        let writer = BlockingWriter::new(direct, direct && self.abilities.dsync);
        Ok(Box::new(PlainRing::new(self.clock.clone(), writer)))
    }

    fn read_ring(&self) -> Box<dyn ReadRing> {
        if self.report().backend == IO_URING
            && let Ok(ring) = UringReads::new(READS_AT_ONCE)
        {
            return Box::new(ring);
        }
        Box::new(BlockingReads::default())
    }

    fn random(&self) -> u64 {
        calls::random()
    }

    fn report(&self) -> IoReport {
        self.lock_report().clone()
    }
}

/// Reads that a reader can have in flight: what a device needs to show what it can do with single pages.
const READS_AT_ONCE: u32 = 32;

const IO_URING: &str = "io_uring";
const PLAIN: &str = "plain";

fn untried() -> Abilities {
    let reason = || "opened read-only".to_owned();
    Abilities { direct: Err(reason()), dsync: false, uring: Err(reason()), uring_dsync: false }
}

/// Compares what is wanted with what is possible.
fn judge(options: &DirectoryOptions, abilities: &Abilities) -> io::Result<IoReport> {
    if options.read_only {
        let direct = options.backend != Backend::PlainBuffered;
        return Ok(IoReport { backend: PLAIN, direct, reason: "opened read-only: nothing is written".to_owned() });
    }
    let (backend, mut reason) = match (options.backend, &abilities.uring) {
        (Backend::Plain | Backend::PlainBuffered, _) => (PLAIN, "chosen by option".to_owned()),
        (Backend::IoUring, Ok(level)) => (IO_URING, format!("chosen by option ({})", level.words())),
        (Backend::IoUring, Err(why)) => {
            return Err(io::Error::new(io::ErrorKind::Unsupported, format!("io_uring was asked for, but {why}")));
        }
        (Backend::Auto, Err(why)) => (PLAIN, why.clone()),
        (Backend::Auto, Ok(_)) if abilities.direct.is_err() => {
            (PLAIN, "io_uring gains nothing on buffered files".to_owned())
        }
        (Backend::Auto, Ok(level)) => (IO_URING, format!("the kernel has it ({})", level.words())),
    };
    if let Err(why) = &abilities.direct
        && options.backend != Backend::PlainBuffered
    {
        reason = format!("{reason}; files are buffered: {why}");
    }
    match options.write_strategy {
        Some(strategy) if strategy != WriteStrategy::Blocking && backend != IO_URING => {
            let text = format!("write strategy {strategy} needs io_uring, which does not run: {reason}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        Some(WriteStrategy::RingDsync) if !abilities.uring_dsync => {
            let text = "write strategy ring-dsync was asked for, but RWF_DSYNC is refused here";
            return Err(io::Error::new(io::ErrorKind::Unsupported, text));
        }
        _ => {}
    }
    Ok(IoReport { backend, direct: abilities.direct.is_ok(), reason })
}

/// Whether nothing is at this path, or a directory without entries.
pub(crate) fn is_free(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// Gives a directory that is done its name, durably. What has the name must be free.
pub(crate) fn rename_durably(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    let parent = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(parent)?.sync_all()
}

/// Removes a directory that was made and is not wanted after all.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

/// Creates a directory and those above it, and makes their entries durable.
fn create_durably(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no directory")),
    };
    create_durably(parent)?;
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::File::open(parent)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{Scratch, open, pattern, read_back};
    use super::super::{Block, PAGE, SystemClock};
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Instant;

    fn with(scratch: &Scratch, options: DirectoryOptions) -> io::Result<Directory> {
        Directory::open(scratch.path(), options, Arc::new(SystemClock::new()))
    }

    #[test]
    fn names_never_leave_the_directory() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Auto, None).expect("opens");
        for name in ["", ".", "..", "a/b", "/etc/passwd", "../x", "a\0b"] {
            for result in [directory.open(name, Access::Create).map(drop), directory.remove(name)] {
                assert_eq!(result.expect_err(name).kind(), io::ErrorKind::InvalidInput, "{name:?}");
            }
        }
    }

    #[test]
    fn files_come_and_go_and_only_files_are_listed() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Auto, None).expect("opens");
        assert_eq!(directory.list().expect("lists"), Vec::<String>::new(), "the trial left nothing");
        assert_eq!(directory.open("a", Access::Write).map(drop).expect_err("absent").kind(), io::ErrorKind::NotFound);
        let file = directory.open("a", Access::Create).expect("created");
        assert_eq!((file.name(), file.length().expect("known")), ("a", 0));
        fs::create_dir(scratch.path().join("folder")).expect("made");
        let _socket = std::os::unix::net::UnixListener::bind(scratch.path().join("socket")).expect("bound");
        assert_eq!(directory.list().expect("lists"), ["a"]);
        let mode = fs::metadata(scratch.path().join("a")).expect("there").permissions().mode();
        assert_eq!(mode & 0o077, 0, "messages are nobody else's business");
        directory.sync_directory().expect("flushed");
        directory.remove("a").expect("removed");
        assert_eq!(directory.list().expect("lists"), Vec::<String>::new());
        assert!(directory.free_bytes().expect("known") > 0);
        assert_ne!(directory.random(), directory.random());
    }

    #[test]
    fn reserving_sets_the_length_and_reading_ends_with_the_file() {
        let scratch = Scratch::new();
        for backend in [Backend::Plain, Backend::PlainBuffered] {
            let directory = open(&scratch, backend, None).expect("opens");
            let file = directory.open("a", Access::Create).expect("created");
            file.allocate(3 * PAGE as u64).expect("reserved");
            assert_eq!(file.length().expect("known"), 3 * PAGE as u64);
            let bytes = Block::copy_of(&pattern(2 * PAGE, 4));
            file.write_at(bytes.slice(0, 2 * PAGE), PAGE as u64).expect("written");
            file.sync().expect("flushed");
            assert_eq!(read_back(&file, PAGE as u64, 8 * PAGE), pattern(2 * PAGE, 4), "{backend:?}");
            assert_eq!(read_back(&file, 3 * PAGE as u64, PAGE), Vec::<u8>::new());
            file.allocate(PAGE as u64).expect("shortened");
            assert_eq!(file.length().expect("known"), PAGE as u64);
            // A length that is no multiple of a page, as a foreign or damaged file may have.
            fs::OpenOptions::new()
                .write(true)
                .open(scratch.path().join("a"))
                .expect("opens")
                .set_len(5000)
                .expect("set");
            assert_eq!(read_back(&file, 0, 4 * PAGE).len(), 5000, "{backend:?}");
            directory.remove("a").expect("removed");
        }
    }

    #[test]
    #[should_panic(expected = "direct I/O needs aligned memory")]
    fn unaligned_direct_access_is_a_mistake() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Plain, None).expect("opens");
        assert!(directory.report().direct, "direct I/O needs aligned memory, but this file system has none to test");
        let file = directory.open("a", Access::Create).expect("created");
        let _ = file.write_at(&[0; 100], 3);
    }

    #[test]
    fn a_lock_is_waited_for() {
        let scratch = Scratch::new();
        let directory = open(&scratch, Backend::Auto, None).expect("opens");
        let holder = directory.open("a", Access::Create).expect("created");
        let waiter = directory.open("a", Access::Write).expect("opens");
        assert!(holder.lock(0).expect("asked"));
        assert!(holder.lock(0).expect("asked"), "its own lock is no obstacle");
        let start = Instant::now();
        assert!(!waiter.lock(30).expect("asked"));
        assert!(start.elapsed().as_millis() >= 29);
        let thread = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(holder);
        });
        assert!(waiter.lock(10_000).expect("asked"));
        assert!(start.elapsed().as_millis() < 9_000);
        thread.join().expect("no panic");
    }

    #[test]
    fn read_only_changes_nothing() {
        let scratch = Scratch::new();
        let options = DirectoryOptions { read_only: true, ..DirectoryOptions::default() };
        let absent = Directory::open(scratch.path().join("absent"), options.clone(), Arc::new(SystemClock::new()));
        assert_eq!(absent.map(drop).expect_err("not created").kind(), io::ErrorKind::NotFound);
        let writer = open(&scratch, Backend::Auto, None).expect("opens");
        let file = writer.open("a", Access::Create).expect("created");
        let bytes = Block::copy_of(&pattern(PAGE, 4));
        file.write_at(bytes.slice(0, PAGE), 0).expect("written");

        let reader = with(&scratch, options).expect("opens");
        assert_eq!(read_back(&reader.open("a", Access::Read).expect("opens"), 0, PAGE), pattern(PAGE, 4));
        let refused = [
            reader.open("a", Access::Write).map(drop),
            reader.open("b", Access::Create).map(drop),
            reader.remove("a"),
            reader.ring().map(drop),
        ];
        for result in refused {
            assert_eq!(result.expect_err("refused").kind(), io::ErrorKind::ReadOnlyFilesystem);
        }
        assert!(reader.report().reason.contains("read-only"));
    }

    #[test]
    fn a_directory_is_created_with_those_above_it_if_wanted() {
        let scratch = Scratch::new();
        let deep = scratch.path().join("one/two/three");
        let options = DirectoryOptions { create: false, ..DirectoryOptions::default() };
        let refused = Directory::open(&deep, options, Arc::new(SystemClock::new())).map(drop);
        assert_eq!(refused.expect_err("not there").kind(), io::ErrorKind::NotFound);
        let made = Directory::open(&deep, DirectoryOptions::default(), Arc::new(SystemClock::new())).expect("made");
        assert!(made.path().is_absolute() && made.path().ends_with("one/two/three"));
        fs::write(scratch.path().join("file"), b"").expect("written");
        let file =
            Directory::open(scratch.path().join("file"), DirectoryOptions::default(), Arc::new(SystemClock::new()));
        assert!(file.is_err(), "a file is no directory");
    }

    #[test]
    fn the_report_says_what_runs() {
        let scratch = Scratch::new();
        let plain = open(&scratch, Backend::Plain, None).expect("opens").report();
        assert_eq!((plain.backend, plain.reason.contains("chosen by option")), (PLAIN, true), "{plain:?}");
        let buffered = open(&scratch, Backend::PlainBuffered, None).expect("opens").report();
        assert_eq!((buffered.backend, buffered.direct), (PLAIN, false));
        let error = open(&scratch, Backend::Plain, Some(WriteStrategy::RingDsync)).map(drop).expect_err("no ring");
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains("needs io_uring"), "{error}");
        open(&scratch, Backend::Plain, Some(WriteStrategy::Blocking)).expect("that is what plain does");
    }

    /// What a container or an old kernel would answer, judged without having one.
    #[test]
    fn refusals_are_explained() {
        let refused = |direct: Result<(), String>| Abilities {
            direct,
            dsync: true,
            uring: Err("io_uring_setup was refused: EPERM".to_owned()),
            uring_dsync: false,
        };
        let options = DirectoryOptions::default();
        let report = judge(&options, &refused(Ok(()))).expect("plain");
        assert_eq!(
            (report.backend, report.direct, &*report.reason),
            (PLAIN, true, "io_uring_setup was refused: EPERM")
        );
        let report = judge(&options, &refused(Err("O_DIRECT was refused".to_owned()))).expect("plain and buffered");
        assert_eq!((report.backend, report.direct), (PLAIN, false));
        assert!(report.reason.contains("EPERM") && report.reason.contains("O_DIRECT was refused"), "{}", report.reason);
        let insisting = DirectoryOptions { backend: Backend::IoUring, ..options };
        let error = judge(&insisting, &refused(Ok(()))).expect_err("asked for");
        assert!(error.to_string().contains("EPERM"), "{error}");
    }

    /// On tmpfs O_DIRECT is refused before Linux 6.6 and pretended since; both must work.
    #[test]
    fn a_file_system_in_memory_works() {
        let memory = Path::new("/dev/shm");
        if !memory.is_dir() {
            return;
        }
        let scratch = Scratch::under(memory);
        let directory = open(&scratch, Backend::Auto, None).expect("opens");
        let file = directory.open("a", Access::Create).expect("created");
        file.allocate(1 << 20).expect("reserved");
        let mut ring = directory.ring().expect("a ring");
        ring.write(super::super::conformance::write(1, &file, 0, &pattern(3 * PAGE, 1), true, true));
        assert_eq!(super::super::conformance::finish(&mut *ring, 1), [1]);
        assert_eq!(read_back(&file, 0, 3 * PAGE), pattern(3 * PAGE, 1));
    }
}
