//! The arguments that sub-commands share: the directory, and the engine's options.

use crate::failure::{Failure, Result};
use clap::Args;
use ringlane::{Engine, Error, Options};
use std::path::PathBuf;

/// Which directory.
#[derive(Args, Clone)]
pub struct DirectoryArguments {
    /// The engine's directory
    #[arg(long = "dir", value_name = "DIR", env = "RINGLANE_DIR")]
    pub path: PathBuf,
}

/// Options of the engine, by name.
#[derive(Args, Clone, Default)]
pub struct OptionArguments {
    /// An option of the engine, such as tail_cache_bytes=16777216; may be given several times. Those in
    /// the variable RINGLANE_OPTIONS, separated by commas, are set before
    #[arg(short = 'o', long = "option", value_name = "OPTION=VALUE", value_parser = parse_setting)]
    pub settings: Vec<(String, String)>,
    #[arg(long = "options-of-the-environment", hide = true, value_parser = parse_setting)]
    #[arg(env = "RINGLANE_OPTIONS", value_delimiter = ',', hide_env = true)]
    environment: Vec<(String, String)>,
}

/// Where an engine is and how to open it.
#[derive(Args, Clone)]
pub struct EngineArguments {
    #[command(flatten)]
    pub directory: DirectoryArguments,
    #[command(flatten)]
    pub options: OptionArguments,
}

/// Where an engine is that is only looked at.
#[derive(Args, Clone)]
pub struct ReadingArguments {
    #[command(flatten)]
    pub engine: EngineArguments,
    /// Take no lock and write nothing, even if no process has the engine open. Without this, the engine is opened
    /// and recovered if nobody has it, and read beside who has it
    #[arg(long)]
    pub read_only: bool,
}

/// Arguments of sub-commands that list.
#[derive(Args)]
pub struct ListArguments {
    /// One JSON object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: ReadingArguments,
}

/// Arguments of sub-commands that show one of what they list.
#[derive(Args)]
pub struct DescribeArguments {
    /// Its name
    pub name: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: ReadingArguments,
}

impl ReadingArguments {
    /// Opens the engine to be read: as its only user if nobody has it and it may be written, else from outside.
    /// Gives the reason, if it is from outside and that was not asked for.
    pub fn open(&self) -> Result<(Engine, Option<Error>)> {
        let options = self.engine.options.apply(Options::new().create(false))?;
        let path = &self.engine.directory.path;
        if self.read_only {
            return Ok((Engine::open_read_only(path, options)?, None));
        }
        match Engine::open(path, options.clone()) {
            Ok(engine) => Ok((engine, None)),
            Err(reason @ Error::Locked { .. }) => Ok((Engine::open_read_only(path, options)?, Some(reason))),
            // Perhaps it can be read, if not written; if not, the first reason is the better one.
            Err(reason @ Error::InvalidDirectory { .. }) => match Engine::open_read_only(path, options) {
                Ok(engine) => Ok((engine, Some(reason))),
                Err(_) => Err(reason.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

impl OptionArguments {
    /// Applies the settings to `options`.
    pub fn apply(&self, mut options: Options) -> Result<Options> {
        for (name, value) in self.environment.iter().chain(&self.settings) {
            options.set(name, value).map_err(|error| Failure::Usage(error.to_string()))?;
        }
        Ok(options)
    }
}

impl EngineArguments {
    /// Opens the engine. Commands that only look at what is there do not `create` a directory: a
    /// mistyped name should be an error, not an empty engine.
    pub fn open(&self, create: bool) -> Result<Engine> {
        self.open_with(Options::new().create(create))
    }

    /// Opens the engine with other defaults than its own.
    pub fn open_with(&self, defaults: Options) -> Result<Engine> {
        Ok(Engine::open(&self.directory.path, self.options.apply(defaults)?)?)
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err(format!("expected OPTION=VALUE; options are {}", Options::NAMES.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_a_name_and_a_value() {
        assert_eq!(parse_setting("lanes=2"), Ok(("lanes".into(), "2".into())));
        assert_eq!(parse_setting("a=b=c"), Ok(("a".into(), "b=c".into())));
        for bad in ["lanes", "=2", ""] {
            assert!(parse_setting(bad).unwrap_err().contains("tail_cache_bytes"), "the message lists the options");
        }
    }

    #[test]
    fn settings_reach_the_options_and_wrong_ones_are_named() {
        let arguments = |name: &str, value: &str| OptionArguments {
            settings: vec![(name.into(), value.into())],
            environment: vec![("tail_cache_bytes".into(), "4194304".into()), ("linger_us".into(), "7".into())],
        };
        let options = arguments("tail_cache_bytes", "1048576").apply(Options::new()).unwrap();
        assert_eq!(options.tail_cache_bytes, 1 << 20, "the command line comes after the environment");
        assert_eq!(options.linger_us, 7);
        let Err(Failure::Usage(message)) = arguments("tail_cash", "1").apply(Options::new()) else { panic!() };
        assert!(message.contains("tail_cash") && message.contains("tail_cache_bytes"), "{message}");
    }
}
