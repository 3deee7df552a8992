//! The process that is killed: it sends every line and reports each receipt on standard output as
//! `NUMBER PARTITION OFFSET`, then waits for its death.

use super::KILLED_TOPIC;
use super::input::Input;
use crate::arguments::EngineArguments;
use crate::failure::{Failure, Result};
use clap::Args;
use ringlane::{Options, ProducerOptions, SendHandle};
use std::io::Write;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, sync_channel};

/// Arguments of the hidden sub-command.
#[derive(Args)]
pub struct WriterArguments {
    #[arg(long)]
    input: PathBuf,
    /// Most records waiting for their receipts
    #[arg(long)]
    in_flight: usize,
    #[command(flatten)]
    engine: EngineArguments,
}

/// Runs the hidden sub-command.
pub fn run_writer(arguments: &WriterArguments) -> Result {
    let input = Input::read(&arguments.input)?;
    let engine = arguments.engine.open_with(input.options(Options::new().create(false)))?;
    let topic = engine.topic(KILLED_TOPIC)?;
    let producer = engine.producer(ProducerOptions::new())?;
    let (handles, receipts) = sync_channel(arguments.in_flight);
    std::thread::scope(|scope| {
        let reporting = scope.spawn(move || report(&receipts));
        let mut result: Result = Ok(());
        for (number, _) in input.lines() {
            match producer.send(&topic, input.record(number, topic.partitions())) {
                Ok(handle) => {
                    if handles.send((number, handle)).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    result = Err(error.into());
                    break;
                }
            }
        }
        drop(handles);
        reporting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        result
    })?;
    // The parent kills; that a small file is done before does not change what is shown.
    loop {
        std::thread::park();
    }
}

/// Reports each receipt at once: what the parent does not get in time does not count.
fn report(handles: &Receiver<(u64, SendHandle)>) -> Result {
    let mut output = std::io::stdout().lock();
    let mut lines = String::new();
    while let Ok((number, handle)) = handles.recv() {
        let mut next = Some((number, handle));
        lines.clear();
        while let Some((number, handle)) = next.take() {
            let receipt = handle.wait()?;
            let offset =
                receipt.offset.ok_or_else(|| Failure::Check("a record without delay has no offset".to_owned()))?;
            lines.push_str(&format!("{number} {} {offset}\n", receipt.partition));
            // Those that became durable with it go in the same write.
            next = handles.try_recv().ok().filter(|(_, handle)| handle.is_done());
        }
        output.write_all(lines.as_bytes()).map_err(Failure::io("reporting receipts"))?;
    }
    Ok(())
}
