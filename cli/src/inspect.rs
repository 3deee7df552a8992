//! `ringlane inspect`: the manifest and the segments, or the frames of one segment. Needs no lock and
//! changes nothing, also while a process writes the engine.

use crate::arguments::DirectoryArguments;
use crate::failure::Result;
use crate::output::Output;
use crate::render;
use clap::Args;
use serde_json::Value;

/// Arguments of `inspect`.
#[derive(Args)]
pub struct InspectArguments {
    /// Show the frames of this segment file; the origin of one is PRODUCER:EPOCH:SEQUENCE of its first record
    #[arg(value_name = "SEGMENT")]
    segment: Option<String>,
    /// End after so many frames
    #[arg(short = 'n', long, value_name = "FRAMES", requires = "segment")]
    max: Option<u64>,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    directory: DirectoryArguments,
}

/// Runs `ringlane inspect`.
pub fn run(arguments: &InspectArguments) -> Result {
    match &arguments.segment {
        None => directory(arguments),
        Some(segment) => frames(arguments, segment),
    }
}

fn directory(arguments: &InspectArguments) -> Result {
    let inspection = ringlane::inspect(&arguments.directory.path)?;
    let mut output = Output::new();
    if arguments.json {
        output.json(&inspection)?;
    } else {
        output.text(&render::fields(&inspection))?;
    }
    output.finish()
}

fn frames(arguments: &InspectArguments, segment: &str) -> Result {
    let mut output = Output::new();
    let mut left = arguments.max.unwrap_or(u64::MAX);
    let mut written = Ok(());
    let mut rows = Rows::default();
    ringlane::inspect_frames(&arguments.directory.path, segment, &mut |frame| {
        if left == 0 {
            return false;
        }
        left -= 1;
        written = if arguments.json { output.json(&frame) } else { rows.add(&mut output, &frame) };
        written.is_ok()
    })?;
    written?;
    rows.write(&mut output)?;
    output.finish()
}

/// Frames on their way into tables; bounded, because a segment may have millions. Who wrote their first record stands in
/// one column, as producer, epoch and number.
#[derive(Default)]
struct Rows(Vec<Value>);

impl Rows {
    const MAX: usize = 1000;

    fn add(&mut self, output: &mut Output, frame: &impl serde::Serialize) -> Result {
        let mut row = serde_json::to_value(frame).unwrap_or(Value::Null);
        if let Some(origin) = row.get_mut("origin").filter(|origin| origin.is_object()) {
            let [producer, epoch, sequence] = ["producer", "epoch", "sequence"].map(|name| &origin[name]);
            *origin = Value::String(format!("{producer}:{epoch}:{sequence}"));
        }
        self.0.push(row);
        if self.0.len() == Self::MAX { self.write(output) } else { Ok(()) }
    }

    fn write(&mut self, output: &mut Output) -> Result {
        output.text(&render::table(&std::mem::take(&mut self.0)))
    }
}
