//! The device: a raw image behind qemu's recording filter, seen as a file through FUSE.
//!
//! Invariants: the daemon dies with this process, and ends before its recording is read.

use super::machine;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// An error that the device gives once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A flush fails with EIO.
    Flush,
    /// A write fails with EIO.
    Write,
    /// A write fails with ENOSPC.
    Full,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 3] = [Fault::Flush, Fault::Write, Fault::Full];

    fn input_and_output(self) -> (&'static str, i32) {
        match self {
            Fault::Flush => ("flush", libc::EIO),
            Fault::Write => ("write", libc::EIO),
            Fault::Full => ("write", libc::ENOSPC),
        }
    }
}

/// A running daemon.
pub(super) struct Daemon {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    export: PathBuf,
}

impl Daemon {
    /// Exports an image: everything done to the file `export` goes to `image` and into `recording`.
    pub(super) fn start(image: &Path, recording: &Path, export: &Path) -> Result<Daemon, String> {
        let mut command = Command::new("qemu-storage-daemon");
        command
            .args(["--blockdev", &format!("driver=file,node-name=image,filename={}", image.display())])
            .args(["--blockdev", &format!("driver=file,node-name=log,filename={}", recording.display())])
            .args(["--blockdev", "driver=blklogwrites,node-name=recorded,file=image,log=log"])
            // The way in; errors are put behind it later.
            .args(["--blockdev", "driver=raw,node-name=entrance,file=recorded"])
            .args(["--chardev", "stdio,id=commands", "--monitor", "chardev=commands"])
            .args([
                "--export",
                &format!("type=fuse,id=export,node-name=entrance,mountpoint={},writable=on", export.display()),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A key pressed on the terminal is for this process, which still needs its device to unmount.
            .process_group(0);
        // SAFETY: changes a setting of the child only, with a call that may follow a fork.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                Ok(())
            });
        }
        let mut process = command.spawn().map_err(|error| format!("qemu-storage-daemon: {error}"))?;
        let commands = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut daemon = Daemon { process, commands, answers, export: export.to_owned() };
        // It answers when its options, the export among them, have been carried out.
        daemon.command(&json!({ "execute": "qmp_capabilities" }))?;
        Ok(daemon)
    }

    /// From now on the next operation of this kind fails, once.
    pub(super) fn fail_once(&mut self, fault: Fault) -> Result<(), String> {
        let (kind, errno) = fault.input_and_output();
        let rule = json!({ "event": "none", "iotype": kind, "errno": errno, "once": true });
        let failing = json!({
            "driver": "blkdebug", "node-name": "failing", "image": "recorded", "inject-error": [rule],
        });
        self.command(&json!({ "execute": "blockdev-add", "arguments": failing }))?;
        let entrance = json!({ "driver": "raw", "node-name": "entrance", "file": "failing" });
        self.command(&json!({ "execute": "blockdev-reopen", "arguments": { "options": [entrance] } }))
    }

    fn command(&mut self, command: &Value) -> Result<(), String> {
        let failed = |why: String| format!("qemu-storage-daemon did not do {command}: {why}");
        let commands = self.commands.as_mut().expect("it is open until the end");
        writeln!(commands, "{command}").map_err(|error| failed(error.to_string()))?;
        let mut line = String::new();
        loop {
            line.clear();
            if self.answers.read_line(&mut line).map_err(|error| failed(error.to_string()))? == 0 {
                return Err(failed("it ended".to_owned()));
            }
            let answer: Value = serde_json::from_str(&line).map_err(|error| failed(format!("{line:?}: {error}")))?;
            if answer.get("return").is_some() {
                return Ok(());
            }
            if let Some(error) = answer.get("error") {
                return Err(failed(error.to_string()));
            }
        }
    }

    /// Ends it; the recording is whole then.
    pub(super) fn stop(mut self) -> Result<(), String> {
        self.command(&json!({ "execute": "quit" }))?;
        let status = self.process.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("qemu-storage-daemon ended with {status}")) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` it is over already, and the number is still this child's: nobody else waits for it.
        let _ = self.process.kill();
        let _ = self.process.wait();
        // A daemon that was killed leaves its export mounted.
        machine::detach(&self.export);
    }
}
