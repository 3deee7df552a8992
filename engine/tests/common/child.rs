//! Children: the test binary starts itself again, to be killed, to hold a lock, to drop its privileges.
//!
//! A binary that has children also has an ignored test `child`, which runs what [`order`] says. Parent and
//! child talk in lines over standard output and input; lines of the test harness are passed over.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};

const ORDER: &str = "RINGLANE_TEST_CHILD";
/// What the child says begins with this; the harness prints nothing like it.
const MARK: &str = "\u{1}";

/// In the child: its order, a word for what to do and an argument. `None`: this is no child.
pub(crate) fn order() -> Option<(String, String)> {
    let order = std::env::var(ORDER).ok()?;
    die_with_parent();
    let (word, argument) = order.split_once(' ').unwrap_or((&order, ""));
    Some((word.to_owned(), argument.to_owned()))
}

/// A child, or one of fork, does not outlive a parent that was aborted.
pub(crate) fn die_with_parent() {
    // SAFETY: changes a setting of this process only.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// In the child: says a line to the parent. One system call, so that lines of several threads do not mix,
/// and what was said before a kill arrives.
pub(crate) fn say(line: &str) {
    let text = format!("\n{MARK}{line}\n");
    assert!(text.len() <= libc::PIPE_BUF, "longer lines might mix");
    // SAFETY: the bytes live as long as the call.
    let written = unsafe { libc::write(1, text.as_ptr().cast(), text.len()) };
    assert_eq!(written, text.len() as isize, "the parent is gone");
}

/// In the child: waits until the parent lets go of it or sends a line.
pub(crate) fn listen() -> String {
    let mut line = String::new();
    let _ = std::io::stdin().read_line(&mut line);
    line.trim().to_owned()
}

/// A child of this process; killed when it is dropped.
pub(crate) struct TestChild {
    process: Child,
    input: Option<ChildStdin>,
    output: Option<BufReader<std::process::ChildStdout>>,
}

/// Starts this binary again with an order.
pub(crate) fn start(word: &str, argument: &str) -> TestChild {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env(ORDER, format!("{word} {argument}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = process.stdin.take();
    let output = process.stdout.take().map(BufReader::new);
    TestChild { process, input, output }
}

impl TestChild {
    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// The next line it says; `None` when it has ended.
    pub(crate) fn hear(&mut self) -> Option<String> {
        next_line(self.output.as_mut()?)
    }

    /// All that it has yet to say, read by a thread of its own, so that the child never waits for its parent.
    pub(crate) fn hear_all(&mut self) -> std::thread::JoinHandle<Vec<String>> {
        let mut output = self.output.take().expect("heard once");
        std::thread::spawn(move || std::iter::from_fn(|| next_line(&mut output)).collect())
    }

    /// Sends it a line.
    pub(crate) fn tell(&mut self, line: &str) {
        let input = self.input.as_mut().expect("not told to end yet");
        writeln!(input, "{line}").unwrap();
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Closes its input and waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        drop(self.input.take());
        self.process.wait().unwrap()
    }
}

impl Drop for TestChild {
    fn drop(&mut self) {
        self.kill();
    }
}

fn next_line(output: &mut impl BufRead) -> Option<String> {
    let mut line = String::new();
    loop {
        line.clear();
        match output.read_line(&mut line) {
            Ok(0) | Err(_) => return None,
            // A line without its end was cut by a kill: it was never said.
            Ok(_) if line.ends_with('\n') => {}
            Ok(_) => return None,
        }
        if let Some(said) = line.strip_prefix(MARK) {
            return Some(said.trim_end().to_owned());
        }
    }
}
