//! Unix sockets in a directory: listening under a name, connecting to it, waiting for many at once.
//!
//! Invariants:
//! - The name never exists with wider permissions than 0600, and never without somebody who listens: it is made
//!   under another name and then renamed, over whatever a killed process left.
//! - A path may have any length: one that a socket's address cannot hold is reached through /proc/self/fd.
//! - What listens is given up for all processes: a child of fork holds a copy that answers nobody.
//! - Every descriptor is closed on exec.

use super::calls;
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Connections that the kernel keeps until they are accepted.
const WAITING_MAX: i32 = 128;

/// A name in a directory that can be connected to. Dropping it removes the name.
pub(crate) struct Listener {
    listener: UnixListener,
    directory: fs::File,
    name: CString,
}

/// One end of a connection, which never blocks.
pub(crate) struct Connected(UnixStream);

/// What ends a [`wait`] from another thread.
pub(crate) struct Bell(OwnedFd);

/// Something to wait for.
pub(crate) enum Interest<'a> {
    /// That somebody rings.
    Bell(&'a Bell),
    /// That somebody connects.
    Listener(&'a Listener),
    /// That there is something to read, or the other side has gone.
    Read(&'a Connected),
    /// That there is room to write, or the other side has gone.
    Write(&'a Connected),
}

/// How a call that never blocks ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moved {
    /// So many bytes.
    Bytes(usize),
    /// Nothing can be done now.
    Nothing,
    /// The other side has gone, or the connection is broken.
    Gone,
}

impl Listener {
    /// Listens under `name` in a directory.
    pub(crate) fn bind(directory_path: &Path, name: &str) -> io::Result<Listener> {
        let directory = open_directory(directory_path)?;
        let new_name = format!(".{name}");
        let (listed, new) = (CString::new(name)?, CString::new(new_name.as_str())?);
        // What a process left that died in between.
        let _ = calls::remove_in(directory.as_fd(), &new);
        let socket = calls::unix_socket(0o600)?;
        let place = place(&directory, directory_path, &new_name);
        calls::bind_and_listen(socket.as_fd(), place.as_os_str().as_bytes(), WAITING_MAX)?;
        let named = calls::mode_in(directory.as_fd(), &new).and_then(|mode| match mode {
            0o600 => calls::rename_in(directory.as_fd(), &new, &listed),
            wider => Err(io::Error::other(format!("the file system made it with mode {wider:o}, not 600"))),
        });
        if let Err(error) = named {
            let _ = calls::remove_in(directory.as_fd(), &new);
            return Err(error);
        }
        Ok(Listener { listener: UnixListener::from(socket), directory, name: listed })
    }

    /// The next connection, if one waits.
    pub(crate) fn accept(&self) -> io::Result<Option<Connected>> {
        match self.listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                Ok(Some(Connected(stream)))
            }
            Err(error) if is_nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = calls::remove_in(self.directory.as_fd(), &self.name);
        calls::shut_down(self.listener.as_fd());
    }
}

impl Connected {
    /// Whether the other side acts as the user of this process, or as root.
    pub(crate) fn is_permitted(&self) -> bool {
        calls::peer_user(self.0.as_fd()).is_ok_and(|user| user == 0 || user == calls::own_user())
    }

    /// Reads what there is, at most as much as the buffer holds.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Moved {
        match self.0.read(buffer) {
            Ok(0) => Moved::Gone,
            result => moved(result),
        }
    }

    /// Writes what there is room for.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Moved {
        moved(self.0.write(bytes))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        calls::shut_down(self.0.as_fd());
    }
}

fn moved(result: io::Result<usize>) -> Moved {
    match result {
        Ok(bytes) => Moved::Bytes(bytes),
        Err(error) if is_nothing(&error) => Moved::Nothing,
        Err(_) => Moved::Gone,
    }
}

fn is_nothing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

impl Bell {
    pub(crate) fn new() -> io::Result<Bell> {
        calls::event().map(Bell)
    }

    pub(crate) fn ring(&self) {
        calls::ring_event(self.0.as_fd());
    }

    /// Until it is rung again, it does not end a wait.
    pub(crate) fn quiet(&self) {
        calls::drain_event(self.0.as_fd());
    }
}

/// Waits until one of `interests` can go on, at most so long; says which can.
pub(crate) fn wait(interests: &[Interest<'_>], timeout: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut entries: Vec<libc::pollfd> = interests
        .iter()
        .map(|interest| {
            let (fd, events) = match interest {
                Interest::Bell(bell) => (bell.0.as_raw_fd(), libc::POLLIN),
                Interest::Listener(listener) => (listener.listener.as_raw_fd(), libc::POLLIN),
                Interest::Read(connected) => (connected.0.as_raw_fd(), libc::POLLIN),
                Interest::Write(connected) => (connected.0.as_raw_fd(), libc::POLLOUT),
            };
            libc::pollfd { fd, events, revents: 0 }
        })
        .collect();
    // Rounded up: a wait that ends too early would only be done again, at once and often.
    let timeout_ms = timeout.map_or(-1, |timeout| timeout.as_millis().saturating_add(1).min(i32::MAX as u128) as i32);
    calls::poll(&mut entries, timeout_ms)?;
    Ok(entries.iter().map(|entry| entry.revents != 0).collect())
}

/// Connects to a name in a directory. Reading and writing block, at most `timeout` for each call.
pub(crate) fn connect(directory_path: &Path, name: &str, timeout: Duration) -> io::Result<UnixStream> {
    let directory = open_directory(directory_path)?;
    let stream = UnixStream::connect(place(&directory, directory_path, name))?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

fn open_directory(path: &Path) -> io::Result<fs::File> {
    OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(path)
}

/// A path for the name that fits a socket's address.
fn place(directory: &fs::File, path: &Path, name: &str) -> PathBuf {
    let direct = path.join(name);
    match direct.as_os_str().len() <= calls::SOCKET_PATH_BYTES_MAX {
        true => direct,
        false => PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    fn scratch() -> super::super::conformance::Scratch {
        super::super::conformance::Scratch::new()
    }

    fn connect_to(path: &Path) -> io::Result<UnixStream> {
        connect(path, "name", Duration::from_secs(30))
    }

    #[test]
    fn the_name_is_the_owners_alone_whatever_the_umask_and_goes_with_the_listener() {
        let scratch = scratch();
        let listener = Listener::bind(scratch.path(), "name").expect("bound");
        let status = fs::symlink_metadata(scratch.path().join("name")).expect("there");
        assert!(status.file_type().is_socket());
        assert_eq!(status.permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(scratch.path()).expect("lists").count(), 1, "nothing else is left");
        let _client = connect_to(scratch.path()).expect("connected");
        assert!(listener.accept().expect("asked").expect("somebody waits").is_permitted());
        assert!(listener.accept().expect("asked").is_none());
        drop(listener);
        assert_eq!(fs::read_dir(scratch.path()).expect("lists").count(), 0);
        assert_eq!(connect_to(scratch.path()).expect_err("nobody there").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn what_a_killed_process_left_is_replaced() {
        let scratch = scratch();
        for left in ["name", ".name"] {
            drop(std::os::unix::net::UnixListener::bind(scratch.path().join(left)).expect("bound"));
        }
        assert_eq!(connect_to(scratch.path()).expect_err("stale").kind(), io::ErrorKind::ConnectionRefused);
        let before = fs::symlink_metadata(scratch.path().join("name")).expect("there").ino();
        let _listener = Listener::bind(scratch.path(), "name").expect("bound over it");
        assert_ne!(fs::symlink_metadata(scratch.path().join("name")).expect("there").ino(), before);
        connect_to(scratch.path()).expect("connected");
    }

    #[test]
    fn a_path_that_no_address_holds_is_reached_all_the_same() {
        let scratch = scratch();
        let deep = scratch.path().join("d".repeat(120)).join("e".repeat(120));
        fs::create_dir_all(&deep).expect("made");
        let listener = Listener::bind(&deep, "name").expect("bound");
        connect_to(&deep).expect("connected");
        assert!(listener.accept().expect("asked").is_some());
        drop(listener);
        assert_eq!(fs::read_dir(&deep).expect("lists").count(), 0);
    }

    #[test]
    fn waiting_ends_for_what_is_ready_and_for_the_time() {
        let scratch = scratch();
        let (bell, listener) = (Bell::new().expect("a bell"), Listener::bind(scratch.path(), "name").expect("bound"));
        let waited = |timeout_ms| {
            let interests = [Interest::Bell(&bell), Interest::Listener(&listener)];
            wait(&interests, Some(Duration::from_millis(timeout_ms))).expect("waited")
        };
        assert_eq!(waited(0), [false, false]);
        bell.ring();
        assert_eq!(waited(60_000), [true, false]);
        bell.quiet();
        let _client = connect_to(scratch.path()).expect("connected");
        assert_eq!(waited(60_000), [false, true]);
    }
}
