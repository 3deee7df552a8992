//! A real directory whose rings are wrapped by the test.

use ringlane::io::{Access, Directory, DirectoryOptions, File, IoReport, Ring, Storage, SystemClock};
use ringlane::{Engine, Options};
use std::io::Result as IoResult;
use std::path::Path;
use std::sync::Arc;

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

/// Opens an engine whose lanes write through what `wrap` makes of their rings.
pub(crate) fn open_with_ring(
    path: &Path,
    options: Options,
    wrap: impl Fn(Box<dyn Ring>) -> Box<dyn Ring> + Send + Sync + 'static,
) -> ringlane::Result<Engine> {
    let clock = Arc::new(SystemClock::new());
    let directory = DirectoryOptions { backend: options.backend, ..DirectoryOptions::default() };
    let inner = Directory::open(path, directory, clock.clone()).unwrap();
    Engine::open_on(path, Arc::new(Wrapped { inner, wrap: Box::new(wrap) }), clock, options)
}
