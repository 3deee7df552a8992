//! A real directory whose rings are wrapped by the test.

use ringlane::io::{
    Access, Completion, Directory, DirectoryOptions, File, IoReport, Ring, RingCounters, Storage, SystemClock, Wait,
    Wake, Write,
};
use ringlane::{Engine, Options};
use std::io::Result as IoResult;
use std::path::Path;
use std::sync::Arc;

/// What a test changes of a ring; everything else is left to the ring within.
pub(crate) trait Around: Send + 'static {
    fn write(&mut self, inner: &mut dyn Ring, write: Write) {
        inner.write(write);
    }
    fn turn(&mut self, inner: &mut dyn Ring, wait: Wait, completions: &mut Vec<Completion>) -> IoResult<()> {
        inner.turn(wait, completions)
    }
}

struct RingAround<A> {
    inner: Box<dyn Ring>,
    around: A,
}

impl<A: Around> Ring for RingAround<A> {
    fn write(&mut self, write: Write) {
        self.around.write(&mut *self.inner, write);
    }
    fn flush(&mut self, token: u64, file: &Arc<dyn File>) {
        self.inner.flush(token, file);
    }
    fn turn(&mut self, wait: Wait, completions: &mut Vec<Completion>) -> IoResult<()> {
        self.around.turn(&mut *self.inner, wait, completions)
    }
    fn waker(&self) -> Arc<dyn Wake> {
        self.inner.waker()
    }
    fn counters(&self) -> RingCounters {
        self.inner.counters()
    }
}

type Wrap = Box<dyn Fn(Box<dyn Ring>) -> Box<dyn Ring> + Send + Sync>;

struct Wrapped {
    inner: Directory,
    wrap: Wrap,
}

impl Storage for Wrapped {
    fn open(&self, name: &str, access: Access) -> IoResult<Arc<dyn File>> {
        self.inner.open(name, access)
    }
    fn list(&self) -> IoResult<Vec<String>> {
        self.inner.list()
    }
    fn remove(&self, name: &str) -> IoResult<()> {
        self.inner.remove(name)
    }
    fn sync_directory(&self) -> IoResult<()> {
        self.inner.sync_directory()
    }
    fn free_bytes(&self) -> IoResult<u64> {
        self.inner.free_bytes()
    }
    fn ring(&self) -> IoResult<Box<dyn Ring>> {
        self.inner.ring().map(|ring| (self.wrap)(ring))
    }
    fn random(&self) -> u64 {
        self.inner.random()
    }
    fn report(&self) -> IoReport {
        self.inner.report()
    }
}

/// Opens an engine whose lanes write through their rings and what `around` makes for each.
pub(crate) fn open_with_ring<A: Around>(
    path: &Path,
    options: Options,
    around: impl Fn(&dyn Ring) -> A + Send + Sync + 'static,
) -> ringlane::Result<Engine> {
    let clock = Arc::new(SystemClock::new());
    let directory = DirectoryOptions { backend: options.backend, ..DirectoryOptions::default() };
    let inner = Directory::open(path, directory, clock.clone()).unwrap();
    let wrap: Wrap = Box::new(move |inner| {
        let around = around(&*inner);
        Box::new(RingAround { inner, around })
    });
    Engine::open_on(path, Arc::new(Wrapped { inner, wrap }), clock, options)
}
