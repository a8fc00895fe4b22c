//! Which lane carries a request out, and what waits for room in one.
//!
//! Who comes in: requests the scheduler calls ready, best first. What must
//! hold: a full lane holds up nobody bound for another (within the bounds of
//! [`Backlog`]); and what waits for a lane waits by priority, then call order.

use std::collections::BTreeMap;
use std::ffi::c_int;

use super::{Engine, Place};
use crate::descriptor::Class;
use crate::lanes::workers::{Job, Key, Progress, Work};
use crate::perturb;
use crate::probes;
use crate::process::Runtime;
use crate::request::{self, Kind};
use crate::scheduler::{Handle, Operation};
use crate::stats::Lane;

/// Requests that may start but whose lane is full.
pub struct Backlog {
    waiting: BTreeMap<(u8, u32), Handle>,
    tickets: u32,
}

/// What a backlog, or the queue of the engine's own transfers, holds before
/// ready requests are left with the scheduler.
const BACKLOG: usize = perturb::bound(4096, 3);

impl Backlog {
    pub fn new() -> Self {
        Backlog {
            waiting: BTreeMap::new(),
            tickets: 0,
        }
    }

    /// The next number in the order of coming.
    fn ticket(&mut self) -> u32 {
        self.tickets = self.tickets.wrapping_add(1);
        self.tickets
    }

    fn add(&mut self, priority: u8, handle: Handle) -> u32 {
        let ticket = self.ticket();
        self.waiting.insert((priority, ticket), handle);
        ticket
    }

    pub fn remove(&mut self, priority: u8, ticket: u32) {
        self.waiting.remove(&(priority, ticket));
    }

    pub fn pop(&mut self) -> Option<Handle> {
        self.waiting.pop_first().map(|(_, handle)| handle)
    }

    fn is_full(&self) -> bool {
        self.waiting.len() >= BACKLOG
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Entries handed to the ring at once: a device begins with the first while
/// the next are made, and ends them one after the other, not all together. At
/// depth 32 that is a tenth more throughput than a burst gets.
const PIECE: u32 = perturb::bound(4, 1) as u32;
/// But a burst of so many, such as a list, is one submission.
const BURST: u32 = perturb::bound(32, 2) as u32;
/// Largest transfer the engine carries out itself: the time of a few
/// system calls.
const OWN_LENGTH: usize = 64 * 1024;
/// Or, if it is the only one there is: a fraction of a millisecond.
const LONE_LENGTH: usize = 1 << 20;
/// Buffered reads above this are copied by workers, so that several
/// processors copy and the engine stays free.
const RING_COPY: usize = 256 * 1024;
/// The lanes as this module sees them.
enum Choice {
    Ring,
    Pool,
    Own,
    Stream,
}

impl Engine {
    /// Starts all that may start. The pool then has every job that was made:
    /// a close takes one that it does not have for begun, or ended.
    pub(super) fn dispatch(&mut self, runtime: &'static Runtime) {
        loop {
            self.refill(runtime);
            while !self.ring_backlog.is_full()
                && !self.pool_backlog.is_full()
                && self.own.queue.len() < BACKLOG
            {
                let Some(handle) = self.scheduler.next_ready() else {
                    break;
                };
                self.start(runtime, handle);
            }
            self.feed_pool(runtime);
            if self.pooled > 0 && !self.pool_backlog.is_empty() && runtime.pool.room() > 0 {
                // What was given to it waits for its file, not for a thread.
                // (Nothing there: it has no thread, and all was done here.)
                continue;
            }
            if self.own.queue.is_empty() {
                return;
            }
            self.run_own(runtime);
            if self.has_own() {
                // First a look at what came in meanwhile.
                self.feed_pool(runtime);
                return;
            }
        }
    }

    /// Moves what waited for room into its lane.
    fn refill(&mut self, runtime: &'static Runtime) {
        while self.ring.as_ref().is_some_and(|ring| ring.has_room()) {
            let Some(handle) = self.ring_backlog.pop() else {
                break;
            };
            self.start_in_ring(handle);
        }
        if !self.pool_backlog.is_empty() {
            for _ in 0..runtime.pool.room().saturating_sub(self.jobs.len()) {
                let Some(handle) = self.pool_backlog.pop() else {
                    break;
                };
                self.make_job(handle);
            }
        }
    }

    pub(super) fn start(&mut self, runtime: &'static Runtime, handle: Handle) {
        if self.scheduler.payload(handle).place == Place::Waiter {
            // It has begun already.
            return;
        }
        match self.choose(handle) {
            Choice::Stream => self.start_stream(runtime, handle),
            Choice::Own => self.own.queue.push_back(handle),
            Choice::Pool => self.start_in_pool(runtime, handle),
            Choice::Ring => {
                let full = self.ring.as_ref().is_none_or(|ring| !ring.has_room());
                if full || !self.ring_backlog.is_empty() {
                    let ticket = self
                        .ring_backlog
                        .add(self.scheduler.priority(handle), handle);
                    let request = self.scheduler.payload_mut(handle);
                    request.place = Place::RingBacklog;
                    request.ticket = ticket;
                } else {
                    self.start_in_ring(handle);
                }
            }
        }
    }

    fn choose(&self, handle: Handle) -> Choice {
        let request = self.scheduler.payload(handle);
        // SAFETY: live in the scheduler: in progress and ours.
        let (kind, length) = unsafe {
            (
                request::progress(request.cb).kind,
                request.cb.members().length,
            )
        };
        if !kind.is_sync() && self.is_stream(handle) {
            return Choice::Stream;
        }
        if length > isize::MAX as usize {
            // The plain call knows the error for this.
            return Choice::Pool;
        }
        // A lone request's bytes are copied here, too: another thread would have
        // to be woken for it, and nobody waits meanwhile. (Without a ring the
        // thread that plays the engine runs the job itself.)
        let lone = length <= LONE_LENGTH && self.scheduler.len() == 1 && self.ring.is_some();
        let small = (length <= OWN_LENGTH || lone) && !kind.is_vector();
        // Without a ring: what the engine does not do itself is the pool's.
        let ring = match self.ring {
            Some(_) => Choice::Ring,
            None => Choice::Pool,
        };
        match (request.class, kind) {
            (
                Class::Stream | Class::Pipe | Class::Device | Class::Sequential | Class::Foreign,
                _,
            ) => Choice::Pool,
            (_, Kind::Sync | Kind::DataSync) => ring,
            (Class::Direct, _) => ring,
            (Class::Memory, _) if small => Choice::Own,
            (Class::Memory, _) => Choice::Pool,
            (Class::Buffered | Class::Synchronous, Kind::Read)
                if small && (self.ring.is_none() || length > RING_COPY) =>
            {
                Choice::Own
            }
            (Class::Buffered | Class::Synchronous, Kind::Read) if length <= RING_COPY => ring,
            (Class::Buffered, Kind::Write) if small && self.own.may_write(self.appends(handle)) => {
                Choice::Own
            }
            (Class::Buffered | Class::Synchronous, _) => Choice::Pool,
        }
    }

    /// Is it a request for what cannot seek? (A device without positions may
    /// be ordered like one, and gets its offset all the same: some look at it.)
    fn is_stream(&self, handle: Handle) -> bool {
        self.scheduler.payload(handle).class != Class::Sequential
            && matches!(
                self.scheduler.operation(handle),
                Operation::Stream(_) | Operation::Free
            )
    }

    fn appends(&self, handle: Handle) -> bool {
        matches!(self.scheduler.operation(handle), Operation::Append { .. })
    }

    /// What a request transfers.
    pub(super) fn transfer(&self, handle: Handle) -> (Kind, Progress, i64) {
        let request = self.scheduler.payload(handle);
        // SAFETY: live in the scheduler: in progress and ours.
        let (progress, members) = unsafe { (request::progress(request.cb), request.cb.members()) };
        (
            progress.kind,
            Progress {
                buffer: members.buffer,
                length: members.length,
                done: request.done as usize,
            },
            members.offset,
        )
    }

    fn start_in_ring(&mut self, handle: Handle) {
        let (kind, transfer, offset) = self.transfer(handle);
        let request = self.scheduler.payload_mut(handle);
        request.place = Place::Ring;
        let fildes = request.fildes;
        // An append names no offset; the kernel finds the end itself.
        let offset = offset.max(0);
        probes::start(request.cb, Lane::Ring);
        if let Some(ring) = self.ring.as_mut() {
            let refused = perturb::refuses(5);
            // SAFETY: the members are the caller's, valid while in progress;
            // a refusal leaves the entry in the queue, where it is found
            // again when the ring is given up.
            if refused || unsafe { ring.start(handle, fildes, kind, &transfer, offset) }.is_err() {
                // It took no entry.
                self.queue_for_pool(handle);
            } else if self.taken < BURST && ring.unsubmitted() >= PIECE {
                // A refusal shows again when the rest is handed over.
                let _ = ring.submit();
            }
        }
    }

    /// Gives a request to the pool, or lets it wait for room there.
    pub(super) fn start_in_pool(&mut self, runtime: &'static Runtime, handle: Handle) {
        // What is better than something queued goes there, room or not: the
        // queue is served by priority, too.
        let priority = self.scheduler.priority(handle);
        if runtime.pool.has_worse(priority)
            || self.pool_backlog.is_empty() && self.jobs.len() < runtime.pool.room()
        {
            self.make_job(handle);
        } else {
            self.queue_for_pool(handle);
        }
    }

    pub(super) fn queue_for_pool(&mut self, handle: Handle) {
        let ticket = self
            .pool_backlog
            .add(self.scheduler.priority(handle), handle);
        let request = self.scheduler.payload_mut(handle);
        request.place = Place::PoolBacklog;
        request.ticket = ticket;
    }

    fn make_job(&mut self, handle: Handle) {
        let (kind, transfer, offset) = self.transfer(handle);
        let work = if kind.is_sync() {
            Work::Sync {
                carried: self.scheduler.carried_error(handle),
            }
        } else if self.is_stream(handle) {
            Work::Stream {
                nonblocking: self.scheduler.payload(handle).nonblocking,
            }
        } else {
            Work::Positioned
        };
        if matches!(work, Work::Stream { .. })
            || self.scheduler.payload(handle).class == Class::Sequential
        {
            // It may block for long: it gets a number nobody can close.
            self.pin_for_job(handle);
        }
        let ticket = self.pool_backlog.ticket();
        let request = self.scheduler.payload_mut(handle);
        request.place = Place::Pool;
        request.ticket = ticket;
        self.pooled += 1;
        let (cb, fildes) = (request.cb, request.fildes);
        let brief = matches!(
            request.class,
            Class::Buffered | Class::Synchronous | Class::Direct | Class::Memory
        );
        self.jobs.push(Job {
            handle,
            key: self.job_key(handle),
            cb,
            fildes,
            kind,
            work,
            transfer,
            offset: offset.max(0),
            brief,
        });
    }

    /// By what the pool finds a request that it was given. (The control block
    /// is not asked: the pool may have published the result.)
    pub(super) fn job_key(&self, handle: Handle) -> Key {
        let request = self.scheduler.payload(handle);
        let alone = match request.class {
            Class::Buffered | Class::Memory if self.scheduler.operation(handle).writes_file() => {
                self.scheduler.file(handle).map_or(0, |file| file + 1)
            }
            _ => 0,
        };
        Key {
            order: (self.scheduler.priority(handle), request.ticket),
            alone,
        }
    }

    fn feed_pool(&mut self, runtime: &'static Runtime) {
        if !self.jobs.is_empty() {
            perturb::pause(20, 500);
            runtime.pool.push(&mut self.jobs);
            self.jobs.shrink_to(64);
            let self_helps = self.ring.is_none();
            if !runtime.pool.staff(runtime, self_helps) {
                // Not one thread can be had: this one does the work.
                while runtime.pool.run_here(runtime) {}
                self.take_done(runtime);
            }
        }
    }

    /// A completion of the ring.
    pub(super) fn ring_completed(
        &mut self,
        runtime: &'static Runtime,
        handle: Handle,
        result: i32,
    ) {
        let outcome = if result >= 0 {
            Ok(result as usize)
        } else {
            Err(-result)
        };
        match outcome {
            // The ring refuses this operation, here or today: a plain call
            // gives the answer that counts.
            Err(error) if ring_may_err(error) => {
                self.start_in_pool(runtime, handle);
            }
            outcome => {
                let outcome = match self.scheduler.carried_error(handle) {
                    Some(error) => Err(error),
                    None => outcome,
                };
                self.finish(runtime, handle, outcome, Lane::Ring);
            }
        }
    }
}

/// Errors by which io_uring may say something else than the file would.
fn ring_may_err(error: c_int) -> bool {
    matches!(
        error,
        libc::EAGAIN
            | libc::EINTR
            | libc::ECANCELED
            | libc::EOPNOTSUPP
            | libc::ENOSYS
            | libc::EPERM
            | libc::EACCES
            | libc::EINVAL
            | libc::ENOMEM
    )
}
