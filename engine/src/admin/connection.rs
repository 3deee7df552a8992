//! One connection, without its socket: bytes in, requests out; replies in, bytes out.
//!
//! Invariants:
//! - One request at a time: nothing more is read until its answer is written. Who floods waits for itself.
//! - No more is read than the message says, and memory grows with what came, not with what was announced.
//! - A message that takes too long, in or out, ends the connection. Between messages it may be idle.
//! - After an answer to something that could not be read, the connection ends: where the next message begins is
//!   not known.

use super::MESSAGE_MS_MAX;
use super::message::{HEADER_BYTES, Header, Reply, Request};
use super::refusal::Refusal;

/// Bytes read at once.
pub(crate) const READ_BYTES_MAX: usize = 64 << 10;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doing {
    /// Waits for a request, or for the rest of one.
    Reading,
    /// Its request is being worked on.
    Working,
    /// Its answer is being written.
    Writing,
    /// Is to be closed.
    Ended,
}

/// See the module.
pub(crate) struct Connection {
    input: Vec<u8>,
    header: Option<Header>,
    output: Vec<u8>,
    written: usize,
    doing: Doing,
    ends_after_answer: bool,
    /// When the message that is read or written began; when the connection became idle.
    since_ns: u64,
}

impl Connection {
    pub(crate) fn new(now_ns: u64) -> Connection {
        Connection {
            input: Vec::new(),
            header: None,
            output: Vec::new(),
            written: 0,
            doing: Doing::Reading,
            ends_after_answer: false,
            since_ns: now_ns,
        }
    }

    pub(crate) fn doing(&self) -> Doing {
        self.doing
    }

    /// How many bytes may be read now.
    pub(crate) fn wanted(&self) -> usize {
        let whole = HEADER_BYTES + self.header.map_or(0, |header| header.body_bytes);
        (whole - self.input.len()).min(READ_BYTES_MAX)
    }

    /// Bytes in memory of a message that is not whole yet.
    pub(crate) fn held_bytes(&self) -> usize {
        self.input.len()
    }

    /// Takes bytes, at most as many as wanted; gives the request that they complete, with its number.
    pub(crate) fn received(&mut self, bytes: &[u8], now_ns: u64) -> Result<Option<(u64, Request)>, Refusal> {
        assert!(self.doing == Doing::Reading && bytes.len() <= self.wanted(), "nothing else is read");
        if self.input.is_empty() {
            self.since_ns = now_ns;
        }
        self.input.extend_from_slice(bytes);
        if self.header.is_none() && self.input.len() == HEADER_BYTES {
            let header = self.input[..].try_into().expect("its length is right");
            self.header = Some(Header::decode(header)?);
        }
        let Some(header) = self.header.filter(|header| self.input.len() == HEADER_BYTES + header.body_bytes) else {
            return Ok(None);
        };
        let input = std::mem::take(&mut self.input);
        self.header = None;
        self.doing = Doing::Working;
        let request = Request::decode(header.kind, &input[HEADER_BYTES..])
            // The message was whole, so that the next one can be read; but who sends such a one will do so again.
            .inspect_err(|_| self.header = Some(header))?;
        Ok(Some((header.request, request)))
    }

    /// Answers the request in hand.
    pub(crate) fn answer(&mut self, bytes: Vec<u8>, now_ns: u64) {
        self.output = bytes;
        self.written = 0;
        self.doing = Doing::Writing;
        self.since_ns = now_ns;
    }

    /// Says why the connection ends, and ends it.
    pub(crate) fn refuse(&mut self, refusal: Refusal, now_ns: u64) {
        let request = self.header.map_or(0, |header| header.request);
        self.input = Vec::new();
        self.ends_after_answer = true;
        self.answer(Reply::Refused(refusal).encode(request), now_ns);
    }

    /// What is to be written next.
    pub(crate) fn to_write(&self) -> &[u8] {
        &self.output[self.written..]
    }

    /// So many bytes were written.
    pub(crate) fn wrote(&mut self, bytes: usize, now_ns: u64) {
        self.written += bytes;
        if self.written == self.output.len() {
            self.output = Vec::new();
            self.written = 0;
            self.since_ns = now_ns;
            self.doing = if self.ends_after_answer { Doing::Ended } else { Doing::Reading };
        }
    }

    /// The other side has gone.
    pub(crate) fn end(&mut self) {
        self.doing = Doing::Ended;
    }

    /// When the message that is read or written must be done.
    pub(crate) fn deadline_ns(&self) -> Option<u64> {
        let is_on_its_way = match self.doing {
            Doing::Reading => !self.input.is_empty(),
            Doing::Writing => true,
            Doing::Working | Doing::Ended => false,
        };
        is_on_its_way.then(|| self.since_ns + MESSAGE_MS_MAX * 1_000_000)
    }

    /// Since when it has asked for nothing.
    pub(crate) fn idle_since_ns(&self) -> Option<u64> {
        (self.doing == Doing::Reading && self.input.is_empty()).then_some(self.since_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives all bytes, in pieces of `step`, and counts the requests.
    fn feed(connection: &mut Connection, mut bytes: &[u8], step: usize) -> Result<usize, Refusal> {
        let mut requests = 0;
        while !bytes.is_empty() {
            let (piece, rest) = bytes.split_at(step.min(connection.wanted()).min(bytes.len()));
            bytes = rest;
            if connection.received(piece, 5)?.is_some() {
                requests += 1;
                assert_eq!(connection.doing(), Doing::Working);
                connection.answer(b"answer".to_vec(), 5);
                connection.wrote(2, 5);
                assert_eq!(connection.to_write(), b"swer");
                connection.wrote(4, 5);
            }
        }
        Ok(requests)
    }

    #[test]
    fn requests_come_in_pieces_of_any_size() {
        let one = Request::DeleteTopic { name: "some topic".to_owned() }.encode(1);
        let bytes = one.repeat(3);
        for step in 1..bytes.len() {
            assert_eq!(feed(&mut Connection::new(0), &bytes, step), Ok(3), "{step}");
        }
    }

    #[test]
    fn what_is_announced_costs_nothing_until_it_comes() {
        let mut connection = Connection::new(0);
        let mut header = Request::Hello.encode(1);
        header[8..12].copy_from_slice(&(super::super::BODY_BYTES_MAX as u32).to_le_bytes());
        assert_eq!(feed(&mut connection, &header, 7), Ok(0));
        assert_eq!((connection.held_bytes(), connection.wanted()), (HEADER_BYTES, READ_BYTES_MAX));
        assert!(connection.input.capacity() < 1024);
    }

    #[test]
    fn only_a_message_on_its_way_has_a_deadline() {
        let mut connection = Connection::new(7);
        assert_eq!((connection.deadline_ns(), connection.idle_since_ns()), (None, Some(7)));
        connection.received(b"R", 1000).unwrap();
        connection.received(b"L", 2000).unwrap();
        let expected = Some(1000 + MESSAGE_MS_MAX * 1_000_000);
        assert_eq!((connection.deadline_ns(), connection.idle_since_ns()), (expected, None), "from its first byte");
    }

    #[test]
    fn nonsense_is_answered_and_ends_the_connection() {
        let mut connection = Connection::new(0);
        let refusal = feed(&mut connection, &[b'x'; 100], 100).unwrap_err();
        connection.refuse(refusal, 1);
        assert_eq!(connection.doing(), Doing::Writing);
        let length = connection.to_write().len();
        connection.wrote(length, 2);
        assert_eq!(connection.doing(), Doing::Ended);
    }
}
