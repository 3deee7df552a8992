//! Interceptors of a producer.

use super::{Failures, InterceptorResult, Interceptors};
use crate::error::{Error, Result};
use crate::producer::Receipt;
use crate::record::{Header, Record};

/// Sees what a producer sends, and what becomes of it. Registered with
/// [`ProducerOptions::interceptor`](crate::ProducerOptions::interceptor).
///
/// ```
/// use ringlane::{InterceptorResult, ProducerInterceptor, Sending};
///
/// /// Marks each record with the trace that it belongs to.
/// struct Trace;
///
/// impl ProducerInterceptor for Trace {
///     fn on_send(&self, sending: &mut Sending<'_>) -> InterceptorResult {
///         sending.add_header("traceparent", b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
///         Ok(())
///     }
/// }
/// ```
pub trait ProducerInterceptor: Send + Sync {
    /// What errors call it. Asked when it is registered. Default: the name of its type.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// A record is about to be sent; of several that are sent together, each, before the first of them is. On the
    /// thread that sends.
    ///
    /// # Errors
    /// Whatever it says keeps the record, and those that are sent with it, from being sent: the call ends with
    /// [`Error::Interceptor`]. So does a panic.
    fn on_send(&self, sending: &mut Sending<'_>) -> InterceptorResult {
        let _ = sending;
        Ok(())
    }

    /// The record of a send is there. On the engine's callback thread, or, if its receipt is there before the call
    /// that sends it returns, on the thread that sends. Who waits for the receipt may have it earlier.
    fn on_receipt(&self, number: u64, receipt: &Receipt) {
        let _ = (number, receipt);
    }

    /// A send ended with an error: the one that its caller gets. On the thread that sends, if it was refused there; else
    /// as [`ProducerInterceptor::on_receipt`].
    fn on_failure(&self, number: u64, topic: &str, error: &Error) {
        let _ = (number, topic, error);
    }
}

/// A record that is about to be sent.
#[derive(Debug)]
pub struct Sending<'a> {
    number: u64,
    topic: &'a str,
    record: &'a Record<'a>,
    added: Vec<(String, Vec<u8>)>,
}

impl Sending<'_> {
    /// Which send of this producer and its clones it is, from 0. The outcome comes under the same number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        self.topic
    }

    /// The record, as the application gave it.
    pub fn record(&self) -> &Record<'_> {
        self.record
    }

    /// The record's headers, then those that interceptors have added so far.
    pub fn headers(&self) -> impl Iterator<Item = Header<'_>> {
        self.record.headers.iter().copied().chain(as_headers(&self.added))
    }

    /// Adds a header behind those that are there.
    pub fn add_header(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) {
        self.added.push((name.into(), value.into()));
    }
}

fn as_headers(added: &[(String, Vec<u8>)]) -> impl Iterator<Item = Header<'_>> {
    added.iter().map(|(name, value)| Header { name, value })
}

/// The headers that interceptors have added to a record.
pub(crate) struct Added(Vec<(String, Vec<u8>)>);

impl Added {
    /// All headers of the record.
    pub(crate) fn with<'a>(&'a self, record: &Record<'a>) -> Vec<Header<'a>> {
        record.headers.iter().copied().chain(as_headers(&self.0)).collect()
    }
}

impl Interceptors<dyn ProducerInterceptor> {
    /// Shows a record to all of them. Where that fails, those that had seen it are told.
    pub(crate) fn on_send(&self, number: u64, topic: &str, record: &Record<'_>, failures: &Failures) -> Result<Added> {
        let mut sending = Sending { number, topic, record, added: Vec::new() };
        let mut kept = 0;
        let asked = self.ask("on_send", failures, |interceptor| {
            // What one that failed has added does not count.
            sending.added.truncate(kept);
            interceptor.on_send(&mut sending)?;
            kept = sending.added.len();
            Ok(())
        });
        sending.added.truncate(kept);
        match asked {
            Ok(()) => Ok(Added(sending.added)),
            Err((at, error)) => {
                self.tell(at, failures, |interceptor| interceptor.on_failure(number, topic, &error));
                Err(error)
            }
        }
    }

    /// Tells all of them what became of a send.
    pub(crate) fn on_outcome(&self, number: u64, topic: &str, outcome: Result<&Receipt, &Error>, failures: &Failures) {
        self.tell(usize::MAX, failures, |interceptor| match outcome {
            Ok(receipt) => interceptor.on_receipt(number, receipt),
            Err(error) => interceptor.on_failure(number, topic, error),
        });
    }
}
