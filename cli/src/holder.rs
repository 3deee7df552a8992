//! The engine, opened by this command, or asked through the process that has it open.
//!
//! Invariants:
//! - A directory that nobody has open is opened here; who has it open is asked through its admin socket.
//! - Whoever did it is named on standard error, in one line.

use crate::arguments::{EngineArguments, ReadingArguments};
use crate::failure::{Failure, Result};
use ringlane::admin::Client;
use ringlane::{Engine, Error};
use std::time::Duration;

/// A way to an engine.
pub enum Reached {
    /// This command has it open.
    Here(Engine),
    /// Another process has, and answers.
    Held(Client),
}

impl Reached {
    /// Does the same on either way; an engine that was opened here is closed after it, so that the next command need not
    /// recover.
    pub fn run<T, H, C>(self, here: H, held: C) -> Result<T>
    where
        H: FnOnce(&Engine) -> Result<T, Error>,
        C: FnOnce(&mut Client) -> Result<T, Error>,
    {
        match self {
            Reached::Held(mut client) => Ok(held(&mut client)?),
            Reached::Here(engine) => {
                let done = here(&engine);
                let closed = engine.close();
                let done = done?;
                closed?;
                Ok(done)
            }
        }
    }
}

/// How often opening and asking are tried: who had the engine open may just have closed it.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(50);

impl EngineArguments {
    /// Opens the engine, or connects to who has it open. See [`EngineArguments::open`] for `create`.
    pub fn reach(&self, create: bool) -> Result<Reached> {
        let mut attempt = 1;
        loop {
            let (pid, program) = match self.open(create) {
                Err(Failure::Engine(Error::Locked { pid, program, .. })) => (pid, program),
                opened => return opened.map(Reached::Here),
            };
            match Client::connect(&self.directory.path) {
                Ok(client) => {
                    say_who(&client, self);
                    return Ok(Reached::Held(client));
                }
                Err(Error::Admin { .. }) if attempt < ATTEMPTS => {
                    attempt += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(Error::Admin { path, reason }) => {
                    return Err(Failure::Check(format!(
                        "{} is held by process {pid} ({program}), which cannot be asked: {reason}; stop it, or wait \
                         for it with -o lock_wait_ms=MS",
                        path.display()
                    )));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

impl ReadingArguments {
    /// The way to an engine for what only those who have it open know.
    pub fn reach_groups(&self) -> Result<Reached> {
        if self.read_only {
            return Err(Failure::Check(
                "groups cannot be seen from outside yet; leave out --read-only: then the process that has the engine open \
                 is asked, and if there is none it is opened"
                    .to_owned(),
            ));
        }
        self.engine.reach(false)
    }
}

/// Says on standard error who did what was asked for.
pub fn say_who(client: &Client, arguments: &EngineArguments) {
    let options = match arguments.options.settings.is_empty() {
        true => "",
        false => "; it keeps its own options (-o is passed over)",
    };
    let holder = client.holder();
    eprintln!("done by process {} ({}), which has the engine open{options}", holder.pid, holder.program);
}

#[cfg(test)]
mod tests {
    use ringlane::admin::Value;
    use ringlane::{Engine, Options};

    /// What programs read must not depend on who answers.
    #[test]
    fn statistics_have_the_same_json_on_both_ways() {
        let directory = tempfile::tempdir().unwrap();
        let engine = Engine::open(directory.path(), Options::new()).unwrap();
        let mut stats = engine.stats();
        stats.poisoned = Some("text".to_owned());
        stats.lanes[0].nice = -3;
        let here = serde_json::to_string(&stats).unwrap();
        assert_eq!(serde_json::to_string(&Value::from(stats)).unwrap(), here);
        engine.close().unwrap();
    }
}
