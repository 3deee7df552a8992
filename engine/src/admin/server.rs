//! The thread that answers other processes, and the one that waits for the device on their behalf.
//!
//! Invariants:
//! - `ringlane-admin` never waits for the device or for a client: statistics are answered while a flush hangs.
//! - What may wait is done by one other thread, one request after the other; it is started by the first of them.
//! - When the engine closes, what is in hand ends with the lanes; its answer is written if the client reads, and
//!   nobody waits for a client that does not.
//! - A handle of these threads does not keep an engine open: the last one of the application closes it.

use super::connection::{Connection, Doing, READ_BYTES_MAX};
use super::handler::Handler;
use super::message::{Reply, Request};
use super::refusal::{FORBIDDEN, Refusal, TOO_MANY, TOO_SLOW};
use super::statistics::AdminReport;
use super::{CONNECTIONS_MAX, HELD_BYTES_MAX, IDLE_MS_MAX, SOCKET_NAME};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::io::Clock;
use crate::io::socket::{self, Bell, Connected, Interest, Listener, Moved};
use crate::sync::lock;
use crate::sync::thread::{self, Thread};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// How long nobody is accepted after that failed: the process has no descriptor left, perhaps.
const PAUSE_NS: u64 = 100_000_000;

/// What the server shares with its engine.
#[derive(Default)]
pub(crate) struct AdminShared {
    stop: AtomicBool,
    bell: OnceLock<Bell>,
    is_listening: AtomicBool,
    reason: Mutex<Option<String>>,
    connections: AtomicU64,
    requests: AtomicU64,
    refused: AtomicU64,
    /// Answers of the thread that waits.
    done: Mutex<Vec<Done>>,
}

struct Done {
    connection: u64,
    answer: Vec<u8>,
}

enum Job {
    Answer {
        connection: u64,
        number: u64,
        request: Box<Request>,
    },
    /// The connection has ended, and was a member of a group.
    Gone {
        connection: u64,
    },
}

impl AdminShared {
    /// Asks the server to end. Its thread is joined with the others of the engine.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring();
    }

    /// Notes why there is no server.
    pub(crate) fn set_reason(&self, reason: impl Into<String>) {
        *lock(&self.reason) = Some(reason.into());
    }

    pub(crate) fn report(&self) -> AdminReport {
        AdminReport {
            listening: self.is_listening.load(Ordering::Relaxed),
            reason: lock(&self.reason).clone(),
            connections: self.connections.load(Ordering::Relaxed),
            requests: self.requests.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    fn ring(&self) {
        if let Some(bell) = self.bell.get() {
            bell.ring();
        }
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }
}

/// Begins to listen in a directory, for an engine whose handle does not keep it open. Gives the thread to join.
pub(crate) fn start(engine: Engine, shared: Arc<AdminShared>, clock: Arc<dyn Clock>, path: &Path) -> Result<Thread> {
    let listener = Listener::bind(path, SOCKET_NAME).map_err(|error| Error::io("bind", SOCKET_NAME, None, &error))?;
    let bell = Bell::new().map_err(|error| Error::io("start", "the admin thread", None, &error))?;
    shared.bell.set(bell).map_err(drop).expect("an engine has one server");
    let server = Server {
        shared: shared.clone(),
        handler: Handler::new(engine.clone()),
        engine,
        clock,
        listener,
        clients: Vec::new(),
        next_id: 0,
        worker: None,
        paused_until_ns: 0,
    };
    let ending = shared.clone();
    let started = thread::spawn("ringlane-admin", move || {
        server.run();
        ending.is_listening.store(false, Ordering::Relaxed);
    });
    let thread = started.map_err(|error| Error::io("start", "the admin thread", None, &error))?;
    shared.is_listening.store(true, Ordering::Relaxed);
    Ok(thread)
}

struct Client {
    id: u64,
    connected: Connected,
    connection: Connection,
    /// It asked to be a member of a group, and does not give way to others while it asks for nothing.
    has_joined: bool,
}

struct Server {
    shared: Arc<AdminShared>,
    engine: Engine,
    handler: Handler,
    clock: Arc<dyn Clock>,
    listener: Listener,
    clients: Vec<Client>,
    next_id: u64,
    worker: Option<(Sender<Job>, Thread)>,
    paused_until_ns: u64,
}

impl Server {
    fn run(mut self) {
        while !self.shared.is_stopping() {
            let Ok(ready) = self.wait() else {
                self.shared.set_reason("waiting for other processes failed");
                break;
            };
            let mut ready = ready.into_iter();
            let (rung, called) = (ready.next() == Some(true), ready.next() == Some(true));
            let ready: Vec<bool> = ready.collect();
            if rung {
                self.shared.bell.get().expect("set before the thread began").quiet();
            }
            self.deliver();
            self.serve(&ready);
            self.cut_off();
            if called {
                self.accept();
            }
            self.shared.connections.store(self.clients.len() as u64, Ordering::Relaxed);
        }
        self.finish();
    }

    /// Waits for what the clients do; the order of the answers is that of the bell, the listener, the clients.
    fn wait(&self) -> std::io::Result<Vec<bool>> {
        let now = self.clock.monotonic_ns();
        let bell = self.shared.bell.get().expect("set before the thread began");
        let accepts = self.paused_until_ns <= now;
        let pause = (!accepts).then_some(self.paused_until_ns);
        let deadlines = self.clients.iter().filter_map(|client| client.connection.deadline_ns());
        let deadline = deadlines.chain(pause).min();
        let timeout = deadline.map(|deadline| Duration::from_nanos(deadline.saturating_sub(now)));
        // Who is not waited for stands in the list as the bell once more, so that all have their place.
        let mut interests = vec![Interest::Bell(bell)];
        interests.push(if accepts { Interest::Listener(&self.listener) } else { Interest::Bell(bell) });
        interests.extend(self.clients.iter().map(|client| match client.connection.doing() {
            Doing::Reading => Interest::Read(&client.connected),
            Doing::Writing => Interest::Write(&client.connected),
            Doing::Working | Doing::Ended => Interest::Bell(bell),
        }));
        socket::wait(&interests, timeout)
    }

    /// Hands out the answers of the thread that waits.
    fn deliver(&mut self) {
        let now = self.clock.monotonic_ns();
        for Done { connection, answer } in std::mem::take(&mut *lock(&self.shared.done)) {
            if let Some(client) = self.clients.iter_mut().find(|client| client.id == connection) {
                client.connection.answer(answer, now);
                write(client, now);
            }
        }
    }

    /// Reads from and writes to those who are ready.
    fn serve(&mut self, ready: &[bool]) {
        let now = self.clock.monotonic_ns();
        for (at, _) in ready.iter().enumerate().filter(|(_, is_ready)| **is_ready) {
            match self.clients[at].connection.doing() {
                Doing::Reading => self.read(at, now),
                Doing::Writing => write(&mut self.clients[at], now),
                Doing::Working | Doing::Ended => {}
            }
        }
    }

    fn read(&mut self, at: usize, now: u64) {
        let held: usize = self.clients.iter().map(|client| client.connection.held_bytes()).sum();
        let client = &mut self.clients[at];
        let mut buffer = [0; READ_BYTES_MAX];
        let received = match client.connected.read(&mut buffer[..client.connection.wanted()]) {
            Moved::Nothing => return,
            Moved::Gone => return client.connection.end(),
            Moved::Bytes(count) if held + count > HELD_BYTES_MAX => Err(Refusal::new(
                TOO_MANY,
                format!("requests of {HELD_BYTES_MAX} bytes are on their way already; try again later"),
            )),
            Moved::Bytes(count) => client.connection.received(&buffer[..count], now),
        };
        match received {
            Ok(None) => {}
            Ok(Some((number, request))) => self.begin(at, number, request, now),
            Err(refusal) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                client.connection.refuse(refusal, now);
                write(client, now);
            }
        }
    }

    fn begin(&mut self, at: usize, number: u64, request: Request, now: u64) {
        self.shared.requests.fetch_add(1, Ordering::Relaxed);
        let connection = self.clients[at].id;
        self.clients[at].has_joined |= matches!(request, Request::JoinGroup { .. });
        let answer = match request.waits() {
            false => self.handler.answer(connection, request),
            true => match self.hand_over(Job::Answer { connection, number, request: Box::new(request) }) {
                Ok(()) => return,
                Err(error) => Reply::Refused(Refusal::from(&error)),
            },
        };
        let client = &mut self.clients[at];
        client.connection.answer(answer.encode(number), now);
        write(client, now);
    }

    fn hand_over(&mut self, job: Job) -> Result<()> {
        let (jobs, _) = match &mut self.worker {
            Some(worker) => worker,
            none => {
                let (jobs, work) = channel();
                let (shared, engine) = (self.shared.clone(), self.engine.clone());
                let work = move || carry_out(&work, &shared, Handler::new(engine));
                let thread = thread::spawn("ringlane-admin-work", work);
                none.insert((jobs, thread.map_err(|error| Error::io("start", "a thread", None, &error))?))
            }
        };
        jobs.send(job).map_err(|_| Error::Closed { what: "the admin socket" })
    }

    /// Ends the connections that are over or take too long.
    fn cut_off(&mut self) {
        let now = self.clock.monotonic_ns();
        for client in &mut self.clients {
            if client.connection.deadline_ns().is_some_and(|deadline| deadline <= now) {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                if client.connection.doing() == Doing::Reading {
                    client.connection.refuse(Refusal::new(TOO_SLOW, "the rest of the request did not come"), now);
                    write(client, now);
                }
                client.connection.end();
            }
        }
        let is_over = |client: &mut Client| client.connection.doing() == Doing::Ended;
        let over: Vec<Client> = self.clients.extract_if(.., is_over).collect();
        for client in over.into_iter().filter(|client| client.has_joined) {
            // If nobody takes it, the members end with the thread that has them.
            let _ = self.hand_over(Job::Gone { connection: client.id });
        }
    }

    fn accept(&mut self) {
        let now = self.clock.monotonic_ns();
        // So many and no more: those who are connected have their turn in between.
        for _ in 0..16 {
            match self.listener.accept() {
                Ok(Some(connected)) => self.welcome(connected, now),
                Ok(None) => break,
                Err(_) => {
                    self.paused_until_ns = now + PAUSE_NS;
                    break;
                }
            }
        }
    }

    fn welcome(&mut self, connected: Connected, now: u64) {
        let mut client = Client { id: self.next_id, connected, connection: Connection::new(now), has_joined: false };
        self.next_id += 1;
        let refusal = if !client.connected.is_permitted() {
            Some(Refusal::new(FORBIDDEN, "only the user that has the engine open, and root, may ask"))
        } else if self.clients.len() >= CONNECTIONS_MAX && !self.make_room(now) {
            let text = format!("{CONNECTIONS_MAX} processes are connected already; try again later");
            Some(Refusal::new(TOO_MANY, text))
        } else {
            None
        };
        match refusal {
            None => self.clients.push(client),
            // What is said fits the socket's buffer; who does not read it learns nothing.
            Some(refusal) => {
                self.shared.refused.fetch_add(1, Ordering::Relaxed);
                client.connection.refuse(refusal, now);
                write(&mut client, now);
            }
        }
    }

    /// Ends the connection that has been idle longest, if that is long enough.
    fn make_room(&mut self, now: u64) -> bool {
        let idle = |client: &Client| client.connection.idle_since_ns().filter(|_| !client.has_joined);
        let longest = (0..self.clients.len()).filter(|at| idle(&self.clients[*at]).is_some());
        let longest = longest.min_by_key(|at| idle(&self.clients[*at]));
        match longest {
            Some(at) if idle(&self.clients[at]).is_some_and(|since| since + IDLE_MS_MAX * 1_000_000 <= now) => {
                self.clients.remove(at);
                true
            }
            _ => false,
        }
    }

    /// Nobody new; what is in hand has its answer.
    fn finish(mut self) {
        if let Some((jobs, thread)) = self.worker.take() {
            drop(jobs);
            thread.join();
        }
        self.deliver();
        self.shared.connections.store(0, Ordering::Relaxed);
    }
}

/// Writes what there is room for.
fn write(client: &mut Client, now: u64) {
    while client.connection.doing() == Doing::Writing {
        match client.connected.write(client.connection.to_write()) {
            Moved::Bytes(count) => client.connection.wrote(count, now),
            Moved::Nothing => return,
            Moved::Gone => return client.connection.end(),
        }
    }
}

/// The thread that waits for the device.
fn carry_out(work: &Receiver<Job>, shared: &AdminShared, mut handler: Handler) {
    while let Ok(job) = work.recv() {
        let (connection, number, request) = match job {
            Job::Answer { connection, number, request } => (connection, number, *request),
            Job::Gone { connection } => {
                handler.gone(connection);
                continue;
            }
        };
        let answer = handler.answer(connection, request).encode(number);
        lock(&shared.done).push(Done { connection, answer });
        shared.ring();
    }
}
