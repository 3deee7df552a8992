//! Asking the process that holds an engine.

use super::delivered::{Delivered, Ending};
use super::message::{HEADER_BYTES, Header, Reply, Request, SentRecord};
use super::topics::{TopicDescription, TopicSummary};
use super::value::Value;
use super::{BODY_BYTES_MAX, RECORDS_MAX, SOCKET_NAME};
use crate::audit::{self, AuditOptions, AuditProgress, AuditReport, Witness};
use crate::bounds::RECORD_BYTES_CEILING;
use crate::consumer::Start;
use crate::consumer::group::{DeliveryId, GroupInfo, GroupOptions, MemberOptions, Redrive, Redriven};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::io::{Access, Storage, socket};
use crate::lane::acknowledged::Acknowledged;
use crate::lane::transactions::{TransactionKey, TransactionOutcome};
use crate::log::segment::LOCK_FILE;
use crate::options::Options;
use crate::producer::{Durability, ProducerInfo, Receipt};
use crate::record::Record;
use crate::sync::{Signal, now};
use crate::topic::{PartitionInfo, Retention, TopicOptions};
use crate::transaction::TransactionInfo;
use crate::transaction::registry::{Listed, in_order};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the first answer may take: it needs no device.
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take. Longer than a sender waits for room in the buffer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(180);
/// How long a poll that got nothing waits before it asks again: nobody else waits for it meanwhile.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Bytes of records of one message, if one record is not larger.
const BATCH_BYTES: usize = 1 << 20;

/// A connection to the process that has an engine open. One call at a time.
///
/// Errors of that engine come as [`Error::Remote`], with their kind and text; trouble with the connection as
/// [`Error::Admin`]. Where it broke while something was being changed, that is [`Error::UnknownOutcome`].
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    path: PathBuf,
    holder: Holder,
    next_request: u64,
    is_broken: bool,
}

/// The process that has the engine open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Holder {
    /// The version of Ringlane in it.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// The program it runs.
    pub program: String,
}

impl Client {
    /// Connects to the process that has the engine in this directory open.
    ///
    /// # Errors
    /// `Admin`: nobody listens there, or does not answer. `Remote`: who listens refuses, because of the user or
    /// the number of connections.
    pub fn connect(directory: impl AsRef<Path>) -> Result<Client> {
        let path = directory.as_ref().to_owned();
        let stream = socket::connect(&path, SOCKET_NAME, HELLO_TIMEOUT).map_err(|error| {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => match why_none(&path) {
                    Some(because) => format!("the process that has the engine open has no admin socket: {because}"),
                    None => {
                        "there is no admin socket: no process has the engine open, or one is just opening it".to_owned()
                    }
                },
                std::io::ErrorKind::ConnectionRefused => "nobody listens at the admin socket: the process that made \
                     it has ended, or is just opening or closing the engine"
                    .to_owned(),
                std::io::ErrorKind::PermissionDenied => format!("the admin socket belongs to another user ({error})"),
                _ => format!("the admin socket cannot be connected to: {error}"),
            };
            Error::Admin { path: path.clone(), reason }
        })?;
        let mut client = Client { stream, path, holder: Holder::default(), next_request: 1, is_broken: false };
        match client.ask(&Request::Hello)? {
            Reply::Hello { version, pid, program } => client.holder = Holder { version, pid, program },
            _ => return Err(client.nonsense()),
        }
        let timed = client.stream.set_read_timeout(Some(ANSWER_TIMEOUT));
        timed.map_err(|error| client.trouble(format!("its time-out cannot be set: {error}")))?;
        Ok(client)
    }

    /// Who answers.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// [`Engine::create_topic`](crate::Engine::create_topic).
    pub fn create_topic(&mut self, name: &str, options: &TopicOptions) -> Result<TopicSummary> {
        match self.ask(&Request::CreateTopic { name: name.to_owned(), options: options.clone() })? {
            Reply::Created(topic) => Ok(topic),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::delete_topic`](crate::Engine::delete_topic); gives what the topic was.
    pub fn delete_topic(&mut self, name: &str) -> Result<TopicSummary> {
        match self.ask(&Request::DeleteTopic { name: name.to_owned() })? {
            Reply::Deleted(topic) => Ok(topic),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::set_retention`](crate::Engine::set_retention).
    pub fn set_retention(&mut self, name: &str, retention: Retention) -> Result<TopicSummary> {
        match self.ask(&Request::ConfigureTopic { name: name.to_owned(), retention })? {
            Reply::Configured(topic) => Ok(topic),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::delete_records`](crate::Engine::delete_records); gives what the partition holds then.
    pub fn delete_records(&mut self, topic: &str, partition: u32, before: u64) -> Result<PartitionInfo> {
        match self.ask(&Request::DeleteRecords { topic: topic.to_owned(), partition, before })? {
            Reply::RecordsDeleted(info) => Ok(info),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::topics`](crate::Engine::topics).
    pub fn topics(&mut self) -> Result<Vec<TopicSummary>> {
        let mut topics: Vec<TopicSummary> = Vec::new();
        loop {
            let after = topics.last().map_or(String::new(), |topic| topic.name.clone());
            match self.ask(&Request::ListTopics { after: after.clone() })? {
                Reply::Topics(page) if page.is_empty() => return Ok(topics),
                // In their order, so that this ends.
                Reply::Topics(page) if page.iter().all(|topic| topic.name > after) => topics.extend(page),
                _ => return Err(self.nonsense()),
            }
        }
    }

    /// A topic and its partitions.
    pub fn describe_topic(&mut self, name: &str) -> Result<TopicDescription> {
        match self.ask(&Request::DescribeTopic { name: name.to_owned() })? {
            Reply::Described(topic) => Ok(topic),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::producers`](crate::Engine::producers).
    pub fn producers(&mut self) -> Result<Vec<ProducerInfo>> {
        let mut producers: Vec<ProducerInfo> = Vec::new();
        loop {
            let after = producers.last().map_or(String::new(), |info| info.name.clone());
            match self.ask(&Request::ListProducers { after: after.clone() })? {
                Reply::Producers(page) if page.is_empty() => return Ok(producers),
                // In their order, so that this ends.
                Reply::Producers(page) if page.iter().all(|info| info.name > after) => producers.extend(page),
                _ => return Err(self.nonsense()),
            }
        }
    }

    /// [`Engine::delete_producer`](crate::Engine::delete_producer); gives what the producer was.
    pub fn delete_producer(&mut self, name: &str) -> Result<ProducerInfo> {
        match self.ask(&Request::DeleteProducer { name: name.to_owned() })? {
            Reply::ProducerDeleted(info) => Ok(info),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::create_group`](crate::Engine::create_group); gives the group as it begins.
    pub fn create_group(&mut self, name: &str, options: &GroupOptions) -> Result<GroupInfo> {
        // What cannot be meant might be something else, or nothing, in a message.
        options.validate(name)?;
        match self.ask(&Request::CreateGroup { name: name.to_owned(), options: options.clone() })? {
            Reply::GroupCreated(info) => Ok(info),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::delete_group`](crate::Engine::delete_group).
    pub fn delete_group(&mut self, name: &str) -> Result<()> {
        match self.ask(&Request::DeleteGroup { name: name.to_owned() })? {
            Reply::GroupDeleted => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::groups`](crate::Engine::groups).
    pub fn groups(&mut self) -> Result<Vec<GroupInfo>> {
        let mut groups: Vec<GroupInfo> = Vec::new();
        loop {
            let after = groups.last().map_or(String::new(), |info| info.name.clone());
            match self.ask(&Request::ListGroups { after: after.clone() })? {
                Reply::Groups(page) if page.is_empty() => return Ok(groups),
                // In their order, so that this ends.
                Reply::Groups(page) if page.iter().all(|info| info.name > after) => groups.extend(page),
                _ => return Err(self.nonsense()),
            }
        }
    }

    /// [`Engine::describe_group`](crate::Engine::describe_group).
    pub fn describe_group(&mut self, name: &str) -> Result<GroupInfo> {
        match self.ask(&Request::DescribeGroup { name: name.to_owned() })? {
            Reply::GroupDescribed(info) => Ok(info),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::reset_group`](crate::Engine::reset_group).
    pub fn reset_group(&mut self, name: &str, topic: &str, partition: u32, start: Start) -> Result<u64> {
        let (name, topic) = (name.to_owned(), topic.to_owned());
        match self.ask(&Request::ResetGroup { name, topic, partition, start })? {
            Reply::GroupReset(offset) => Ok(offset),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::audit`](crate::Engine::audit): that process says what it acknowledged, and this one reads the files, so
    /// that nobody else waits for it.
    ///
    /// # Errors
    /// Those of [`Engine::audit`](crate::Engine::audit) and [`Engine::open_read_only`](crate::Engine::open_read_only).
    pub fn audit(&mut self, options: &AuditOptions, progress: &mut dyn FnMut(&AuditProgress)) -> Result<AuditReport> {
        let engine = Engine::open_read_only(&self.path, Options::new())?;
        let report = audit::run(&engine, self, options, progress)?;
        engine.close()?;
        Ok(report)
    }

    /// [`Engine::redrive`](crate::Engine::redrive).
    pub fn redrive(&mut self, group: &str, what: &Redrive) -> Result<Redriven> {
        match self.ask(&Request::Redrive { group: group.to_owned(), what: what.clone() })? {
            Reply::Redriven(done) => Ok(done),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::transactions`](crate::Engine::transactions).
    pub fn transactions(&mut self) -> Result<Vec<TransactionInfo>> {
        self.list_transactions(false)
    }

    /// [`Engine::all_transactions`](crate::Engine::all_transactions).
    pub fn all_transactions(&mut self) -> Result<Vec<TransactionInfo>> {
        self.list_transactions(true)
    }

    fn list_transactions(&mut self, with_ended: bool) -> Result<Vec<TransactionInfo>> {
        let mut listed: Vec<Listed> = Vec::new();
        let mut from = TransactionKey::FIRST;
        loop {
            match self.ask(&Request::ListTransactions { with_ended, from })? {
                Reply::Transactions(page) if page.is_empty() => return Ok(in_order(listed)),
                // In their order, so that this ends.
                Reply::Transactions(page)
                    if page[0].0 >= from && page.is_sorted_by(|(one, _), (next, _)| one < next) =>
                {
                    listed.extend(page);
                }
                _ => return Err(self.nonsense()),
            }
            match listed.last().and_then(|(last, _)| Some((last, last.number.checked_add(1)?))) {
                Some((last, number)) => from = TransactionKey { number, ..*last },
                None => return Err(self.nonsense()),
            }
        }
    }

    /// [`Engine::transaction`](crate::Engine::transaction).
    pub fn transaction(&mut self, id: &str) -> Result<TransactionInfo> {
        match self.ask(&Request::DescribeTransaction { id: id.to_owned() })? {
            Reply::TransactionDescribed(info) => Ok(info),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::commit_transaction`](crate::Engine::commit_transaction).
    pub fn commit_transaction(&mut self, id: &str) -> Result<()> {
        self.resolve_transaction(id, TransactionOutcome::Committed)
    }

    /// [`Engine::roll_back_transaction`](crate::Engine::roll_back_transaction).
    pub fn roll_back_transaction(&mut self, id: &str) -> Result<()> {
        self.resolve_transaction(id, TransactionOutcome::RolledBack)
    }

    fn resolve_transaction(&mut self, id: &str, outcome: TransactionOutcome) -> Result<()> {
        match self.ask(&Request::ResolveTransaction { id: id.to_owned(), outcome })? {
            Reply::TransactionResolved => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// Joins a group as a member, and leaves the one that this connection was a member of before. When the connection
    /// ends, or this is dropped, without [`Client::leave_group`], the records that it holds have failed and are handed
    /// out again. Of `options` at most 4,096 records and 1 MiB come with one poll.
    ///
    /// # Errors
    /// As [`Engine::join_group`](crate::Engine::join_group); `TooMany`: 64 other processes are members.
    pub fn join_group(&mut self, name: &str, options: &MemberOptions) -> Result<()> {
        match self.ask(&Request::JoinGroup { name: name.to_owned(), options: options.clone() })? {
            Reply::Joined => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// The next records of the group that was joined, each under a lease; waits up to `timeout` for the first one. Empty
    /// after the timeout.
    ///
    /// # Errors
    /// As [`GroupConsumer::poll`](crate::GroupConsumer::poll). `Closed`: this is no member of a group.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<Delivered>> {
        let deadline = now().checked_add(timeout);
        loop {
            match self.ask(&Request::Poll)? {
                Reply::Polled(records) if !records.is_empty() => return Ok(records),
                Reply::Polled(_) => {}
                Reply::PolledTruncated { topic, partition, from, to } if from < to => {
                    return Err(Error::Truncated { topic, partition, from, to });
                }
                _ => return Err(self.nonsense()),
            }
            let left = deadline.map_or(POLL_INTERVAL, |deadline| deadline.saturating_duration_since(now()));
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let pause = Signal::default();
            pause.wait(pause.look(), left.min(POLL_INTERVAL));
        }
    }

    /// [`Acknowledger::ack`](crate::Acknowledger::ack) for each; gives those that were not held any more, and why.
    ///
    /// # Errors
    /// What concerns all of them. `Closed`: this is no member of a group.
    pub fn ack(&mut self, ids: &[DeliveryId]) -> Result<Vec<(DeliveryId, Error)>> {
        self.end_deliveries(Ending::Acknowledged, ids)
    }

    /// [`Acknowledger::nack`](crate::Acknowledger::nack) for each; otherwise as [`Client::ack`].
    pub fn nack(&mut self, ids: &[DeliveryId], delay: Option<Duration>) -> Result<Vec<(DeliveryId, Error)>> {
        self.end_deliveries(Ending::failed(delay), ids)
    }

    /// [`Acknowledger::reject`](crate::Acknowledger::reject) for each; otherwise as [`Client::ack`].
    pub fn reject(&mut self, ids: &[DeliveryId]) -> Result<Vec<(DeliveryId, Error)>> {
        self.end_deliveries(Ending::Rejected, ids)
    }

    /// [`Acknowledger::release`](crate::Acknowledger::release) for each; otherwise as [`Client::ack`].
    pub fn release(&mut self, ids: &[DeliveryId]) -> Result<Vec<(DeliveryId, Error)>> {
        self.end_deliveries(Ending::Released, ids)
    }

    fn end_deliveries(&mut self, ending: Ending, ids: &[DeliveryId]) -> Result<Vec<(DeliveryId, Error)>> {
        let mut all_failed = Vec::new();
        for ids in ids.chunks(RECORDS_MAX) {
            match self.ask(&Request::EndDeliveries { ending, ids: ids.to_vec() })? {
                Reply::DeliveriesEnded(failed) if failed.iter().all(|(at, _)| (*at as usize) < ids.len()) => {
                    all_failed.extend(failed.into_iter().map(|(at, refusal)| (ids[at as usize], refusal.into())));
                }
                _ => return Err(self.nonsense()),
            }
        }
        Ok(all_failed)
    }

    /// Leaves the group. What was acknowledged is durable on return; what is still held is released, which is no
    /// failure. Nothing, for who is no member.
    ///
    /// # Errors
    /// As [`Acknowledger::flush`](crate::Acknowledger::flush): it has left all the same.
    pub fn leave_group(&mut self) -> Result<()> {
        match self.ask(&Request::LeaveGroup)? {
            Reply::Left => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::sync`](crate::Engine::sync).
    pub fn sync(&mut self) -> Result<()> {
        match self.ask(&Request::Sync)? {
            Reply::Synced => Ok(()),
            _ => Err(self.nonsense()),
        }
    }

    /// [`Engine::stats`](crate::Engine::stats), by name: the other process may have more or fewer of them.
    pub fn stats(&mut self) -> Result<Value> {
        match self.ask(&Request::Stats)? {
            Reply::Stats(stats) => Ok(stats),
            _ => Err(self.nonsense()),
        }
    }

    /// Sends records to a topic, in their order, and waits for their outcomes.
    ///
    /// Each record has its own outcome. There are fewer of them than records when one could not be sent (the last
    /// outcome says why): those behind it were not sent. The other process sends them without a name: message ids are known
    /// again, and a number of your own (`Record::sequence`) is refused.
    ///
    /// # Errors
    /// As [`Producer::send`](crate::Producer::send) for the topic as a whole: none was sent. `UnknownOutcome` when
    /// the connection broke: any of the records may be there.
    pub fn produce(
        &mut self,
        topic: &str,
        durability: Durability,
        records: &[Record<'_>],
    ) -> Result<Vec<Result<Receipt>>> {
        let name: Arc<str> = topic.into();
        let mut outcomes = Vec::with_capacity(records.len());
        let mut left = records;
        while !left.is_empty() {
            let (batch, rest) = take_batch(left)?;
            left = rest;
            let sent = batch.len();
            let request = Request::Produce { topic: topic.to_owned(), durability, records: batch };
            let answered = match self.ask(&request) {
                Ok(Reply::Produced(answered)) if answered.len() <= sent => answered,
                Ok(_) => return Err(self.nonsense()),
                // The batches before it are there, and their receipts must not be lost.
                Err(error) if !outcomes.is_empty() => {
                    outcomes.push(Err(error));
                    break;
                }
                Err(error) => return Err(error),
            };
            let is_whole = answered.len() == sent && answered.last().is_none_or(Result::is_ok);
            outcomes.extend(answered.into_iter().map(|outcome| match outcome {
                Ok(receipt) => Ok(Receipt {
                    topic: name.clone(),
                    partition: receipt.partition,
                    offset: receipt.offset,
                    timestamp_ms: receipt.timestamp_ms,
                    durability: receipt.durability,
                    id: receipt.id,
                    origin: receipt.origin,
                    duplicate: receipt.duplicate,
                }),
                Err(refusal) => Err(Error::from(refusal)),
            }));
            if !is_whole {
                break;
            }
        }
        Ok(outcomes)
    }

    /// Sends a request and waits for its answer.
    fn ask(&mut self, request: &Request) -> Result<Reply> {
        if self.is_broken {
            return Err(self.trouble("the connection broke before; connect again".to_owned()));
        }
        let number = self.next_request;
        self.next_request += 1;
        // Until the answer is there, nobody knows where the next one would begin.
        self.is_broken = true;
        let sent = self.stream.write_all(&request.encode(number));
        // Who refuses says why, even if it does not read what it is sent.
        let reply = match self.receive(number) {
            Ok(reply) => reply,
            Err(reason) => {
                let reason = sent.err().map_or(reason, |error| format!("the request could not be sent: {error}"));
                return Err(match request.changes() {
                    true => Error::UnknownOutcome {
                        reason: format!("the connection to the process that has the engine open broke: {reason}"),
                    },
                    false => self.trouble(reason),
                });
            }
        };
        self.is_broken = sent.is_err();
        match reply {
            Reply::Refused(refusal) => Err(refusal.into()),
            reply => Ok(reply),
        }
    }

    fn receive(&mut self, number: u64) -> Result<Reply, String> {
        let read = |stream: &mut UnixStream, buffer: &mut [u8]| {
            stream.read_exact(buffer).map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => "no answer came".to_owned(),
                std::io::ErrorKind::UnexpectedEof => "it ended without an answer".to_owned(),
                _ => error.to_string(),
            })
        };
        let mut header = [0; HEADER_BYTES];
        read(&mut self.stream, &mut header)?;
        let header = Header::decode(&header).map_err(|refusal| Error::from(refusal).to_string())?;
        assert!(header.body_bytes <= BODY_BYTES_MAX, "checked with the header");
        let mut body = vec![0; header.body_bytes];
        read(&mut self.stream, &mut body)?;
        let reply = Reply::decode(header.kind, &body).ok_or("an answer came that cannot be read")?;
        // Before a request was read, its number is not known to who refuses.
        let is_meant = header.request == number || (header.request == 0 && matches!(reply, Reply::Refused(_)));
        if is_meant { Ok(reply) } else { Err("the answer to another request came".to_owned()) }
    }

    fn trouble(&self, reason: String) -> Error {
        Error::Admin { path: self.path.clone(), reason }
    }

    fn nonsense(&mut self) -> Error {
        self.is_broken = true;
        self.trouble("the answer does not fit the request".to_owned())
    }
}

/// What the process that has the engine open says of why it has no admin socket.
fn why_none(path: &Path) -> Option<String> {
    let storage = crate::inspect::open_storage(path).ok()?;
    let file = storage.open(LOCK_FILE, Access::Read).ok()?;
    crate::opening::read_no_admin_because(&*file)
}

/// As many of the records as fit one message, and the rest.
fn take_batch<'a, 'b>(records: &'a [Record<'b>]) -> Result<(Vec<SentRecord>, &'a [Record<'b>])> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    for record in records.iter().take(RECORDS_MAX) {
        let size = record.encoded_size(RECORD_BYTES_CEILING)?;
        if !batch.is_empty() && bytes + size > BATCH_BYTES {
            break;
        }
        bytes += size;
        batch.push(SentRecord::new(record, size));
    }
    let taken = batch.len();
    Ok((batch, &records[taken..]))
}

impl Witness for Client {
    fn topics(&mut self) -> Result<Vec<(String, u32)>> {
        Ok(Client::topics(self)?.into_iter().map(|topic| (topic.name, topic.partitions)).collect())
    }

    fn producers(&mut self) -> Result<Vec<ProducerInfo>> {
        Client::producers(self)
    }

    fn groups(&mut self) -> Result<Vec<GroupInfo>> {
        Client::groups(self)
    }

    fn acknowledged(&mut self, topic: &str, partition: u32) -> Result<Acknowledged> {
        let mut all: Option<Acknowledged> = None;
        loop {
            let last = all.as_ref().and_then(|all| all.producers.last()).map(|by| by.producer);
            let Some(from) = last.map_or(Some(0), |last| last.checked_add(1)) else { break };
            let request = Request::ListAcknowledged { topic: topic.to_owned(), partition, from };
            let Reply::Acknowledged(page) = self.ask(&request)? else { return Err(self.nonsense()) };
            // In their order, so that this ends; and of one topic, which may have been created again meanwhile.
            if page.producers.first().is_some_and(|by| by.producer < from) {
                return Err(self.nonsense());
            }
            let is_last = page.producers.is_empty();
            match &mut all {
                None => all = Some(page),
                Some(all) if all.topic != page.topic => return Err(Error::TopicDeleted { name: topic.to_owned() }),
                Some(all) => {
                    all.next_offset = all.next_offset.max(page.next_offset);
                    all.producers.extend(page.producers);
                }
            }
            if is_last {
                break;
            }
        }
        Ok(all.unwrap_or_default())
    }
}
