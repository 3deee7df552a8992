//! What this takes of the machine: a mount namespace, file systems, and the programs that make them.
//!
//! Invariants:
//! - What is mounted is mounted in a namespace of this thread and its children, and unmounted when its
//!   handle is dropped. If the process is killed, the namespace takes everything with it.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How often an unmount that finds the file system busy is tried again, each 10 ms: a process that just
/// ended may still have writes under way.
const UNMOUNT_TRIES_MAX: u32 = 3_000;

/// A file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
}

impl FileSystem {
    /// Both.
    pub const ALL: [FileSystem; 2] = [FileSystem::Ext4, FileSystem::Xfs];

    /// Its name, for people and for mount.
    pub fn name(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "ext4",
            FileSystem::Xfs => "xfs",
        }
    }

    fn program(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "mkfs.ext4",
            FileSystem::Xfs => "mkfs.xfs",
        }
    }

    /// Why it cannot be made here; `None` if it can.
    pub fn missing(self) -> Option<String> {
        let program = self.program();
        if !has(program) {
            return Some(format!("{program} is not installed"));
        }
        let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
        let mounts = known.lines().any(|line| line.trim() == self.name())
            || Command::new("modprobe").arg("-q").arg(self.name()).status().is_ok_and(|status| status.success());
        (!mounts).then(|| format!("this kernel has no {}", self.name()))
    }

    /// Makes one in a file of so many bytes.
    pub(super) fn make(self, image: &Path, bytes: u64) -> Result<(), String> {
        let create = || std::fs::File::create(image)?.set_len(bytes);
        create().map_err(|error| format!("{}: {error}", image.display()))?;
        let mut command = Command::new(self.program());
        match self {
            // Blocks as on a disk of any size; and nothing is left to be done in the background later.
            FileSystem::Ext4 => command.args([
                "-q",
                "-F",
                "-b",
                "4096",
                "-J",
                "size=4",
                "-E",
                "nodiscard,lazy_itable_init=0,lazy_journal_init=0",
            ]),
            // It is smaller than mkfs.xfs wants for a file system of a user.
            FileSystem::Xfs => command.args(["-q", "-f", "-K", "--unsupported", "-l", "size=8m", "-d", "agcount=2"]),
        };
        succeed(command.arg(image))
    }

    fn mount_options(self) -> &'static str {
        match self {
            FileSystem::Ext4 => "loop",
            FileSystem::Xfs => "loop,nouuid",
        }
    }
}

/// Why nothing of this can run here; `None` if it can.
pub(super) fn missing() -> Option<String> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("mounting takes root".to_owned());
    }
    let files = ["/dev/fuse", "/dev/loop-control"].into_iter().find(|file| !Path::new(file).exists());
    if let Some(file) = files {
        return Some(format!("there is no {file}"));
    }
    let program = ["qemu-storage-daemon", "mount", "losetup"].into_iter().find(|program| !has(program));
    program.map(|program| format!("{program} is not installed (Debian: qemu-utils, qemu-system-common, mount)"))
}

fn has(program: &str) -> bool {
    let quiet = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    // Some know no such option; that they ran is what counts.
    quiet.is_ok()
}

/// Runs a program; what it says is the error if it fails.
fn succeed(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| format!("{command:?}: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}, {}", output.status, said.trim())) }
}

/// From here on this thread, and what it starts, mounts for itself alone.
pub(super) fn leave_the_namespace() -> Result<(), String> {
    let failed = |what: &str| format!("{what}: {}", std::io::Error::last_os_error());
    // SAFETY: gives this thread a namespace of its own; concerns no memory.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
        return Err(failed("a mount namespace"));
    }
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: the strings end with a zero; nothing is read or written but the namespace.
    let result = unsafe { libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), flags, std::ptr::null()) };
    if result == 0 { Ok(()) } else { Err(failed("making mounts private")) }
}

/// Something mounted, until it is dropped.
pub(super) struct Mount {
    place: PathBuf,
    mounted: bool,
}

impl Mount {
    /// The file system in an image; its journal is replayed. The loop device goes with the mount.
    pub(super) fn image(file_system: FileSystem, image: &Path, place: &Path) -> Result<Mount, String> {
        let mut command = Command::new("mount");
        command.args(["-t", file_system.name(), "-o", file_system.mount_options()]);
        succeed(command.arg(image).arg(place))?;
        Ok(Mount { place: place.to_owned(), mounted: true })
    }

    /// Memory.
    pub(super) fn memory(place: &Path) -> Result<Mount, String> {
        succeed(Command::new("mount").args(["-t", "tmpfs", "-o", "size=3g", "none"]).arg(place))?;
        Ok(Mount { place: place.to_owned(), mounted: true })
    }

    /// Unmounts, and says if that failed.
    pub(super) fn unmount(mut self) -> Result<(), String> {
        self.try_to_unmount().map_err(|error| format!("unmounting {}: {error}", self.place.display()))
    }

    fn try_to_unmount(&mut self) -> std::io::Result<()> {
        let place = CString::new(self.place.as_os_str().as_bytes())?;
        for attempt in 1.. {
            // SAFETY: the string ends with a zero, and lives on.
            if unsafe { libc::umount2(place.as_ptr(), 0) } == 0 {
                break;
            }
            let error = std::io::Error::last_os_error();
            if error.raw_os_error() != Some(libc::EBUSY) || attempt == UNMOUNT_TRIES_MAX {
                return Err(error);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.mounted = false;
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if !self.mounted || self.try_to_unmount().is_ok() {
            return;
        }
        detach(&self.place);
    }
}

/// Unmounts a place, if something is mounted there; what is still busy goes when it no longer is.
pub(super) fn detach(place: &Path) {
    if let Ok(place) = CString::new(place.as_os_str().as_bytes()) {
        // SAFETY: the string ends with a zero, and lives on.
        unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) };
    }
}
