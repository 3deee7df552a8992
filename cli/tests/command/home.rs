//! A directory of its own for each test, and the command run in it.

use ringlane::{Engine, Options};
use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tempfile::TempDir;

/// Far more than any command here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(180);

/// A place for one engine.
pub struct Home {
    directory: TempDir,
}

/// How a run ended.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Home {
    pub fn new() -> Home {
        Home { directory: tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory") }
    }

    /// With a topic in it.
    pub fn with_topic(name: &str, partitions: u32) -> Home {
        let home = Home::new();
        home.run(&["topic", "create", name, "--partitions", &partitions.to_string()]).ok();
        home
    }

    /// Where the engine is.
    pub fn engine(&self) -> PathBuf {
        self.directory.path().join("engine")
    }

    /// An application that has the engine open.
    pub fn application(&self) -> Engine {
        let mut options = Options::new();
        if let Some(backend) = backend() {
            options.set("backend", &backend).expect("a backend");
        }
        Engine::open(self.engine(), options).expect("it opens")
    }

    /// A file beside it.
    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// What is in the directory beside the engine.
    pub fn list(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).expect("the directory");
        entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect()
    }

    /// The command, with the engine's directory in its environment.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringlane"));
        command.args(arguments).env("RINGLANE_DIR", self.engine()).current_dir(self.directory.path());
        // The backend that this run of the suite is about, as in the engine's own tests.
        if let Some(backend) = backend() {
            command.env("RINGLANE_OPTIONS", format!("backend={backend}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts the command and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments).spawn().expect("the command starts")
    }

    /// Runs the command without input.
    pub fn run(&self, arguments: &[&str]) -> Run {
        Run::of(self.start(arguments))
    }

    /// Runs the command with input.
    pub fn feed(&self, arguments: &[&str], input: &[u8]) -> Run {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().expect("the command starts");
        let mut stdin = child.stdin.take().expect("its input");
        let input = input.to_vec();
        // It may end before it has read everything: then there is nobody to write to.
        let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let run = Run::of(child);
        feeding.join().expect("the input was written");
        run
    }
}

/// What `make test` runs the suite for.
pub fn backend() -> Option<String> {
    std::env::var("RINGLANE_TEST_BACKEND").ok()
}

impl Run {
    /// Waits for the end, but not for ever: a command that hangs is killed, and fails its test.
    pub fn of(child: Child) -> Run {
        let pid = child.id() as i32;
        let (ended, watch) = std::sync::mpsc::channel::<()>();
        let watching = std::thread::spawn(move || {
            if watch.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                // SAFETY: a signal to a process that this test started and has not waited for.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        let output = child.wait_with_output().expect("the command ends");
        drop(ended);
        watching.join().expect("nothing in it panics");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Run { code: output.status.code().unwrap_or(-1), stdout: output.stdout, stderr }
    }

    /// It went well.
    #[track_caller]
    pub fn ok(self) -> Run {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// It ended with this code and one line of error that holds all of `parts`.
    #[track_caller]
    pub fn fails(self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in {}", self.stderr);
        }
        if code == 1 {
            let errors = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
            assert_eq!(errors, 1, "one line of error: {}", self.stderr);
        }
    }

    /// Standard output as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).expect("the output is text")
    }

    /// Standard output as values, one a line.
    pub fn json(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }
}
