//! The engine: takes requests over, orders them, starts them, ends them.
//!
//! Who comes in: with a ring, one thread of its own ([`start`]); without one,
//! whichever pool thread is free, through [`lead`]. What must hold: the
//! engine is behind one lock that only these threads take; it alone touches
//! the scheduler and the ring; and each request it took over leaves through
//! exactly one of [`Engine::finish`] (carried out or refused here),
//! [`Engine::retire`] (published by a worker) or a cancel.
//!
//! | where a request is | module |
//! |---|---|
//! | on the intake | [`accept`] takes it over |
//! | held, ready, parked | [`crate::scheduler`] |
//! | given to a lane, or waiting for room in one | [`dispatch`] |
//! | carried out by the engine itself | [`own`] |
//! | waiting for readiness | [`streams`] |
//! | with its waiter, which took it back from the intake | [`recalled`] |
//! | being cancelled, or its descriptor closed | [`cancel`], [`close`] |

mod accept;
mod cancel;
mod close;
mod dispatch;
mod fallback;
mod groups;
mod own;
mod patience;
mod recalled;
mod slab;
mod socket;
mod start;
mod streams;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::completion::Batch;
use crate::descriptor::{Class, Nature};
use crate::lanes::ring::Ring;
use crate::lanes::workers::{Done, End, Job};
use crate::message::Message;
use crate::perturb;
use crate::process::Runtime;
use crate::request::Outcome;
use crate::scheduler::{Handle, Order, Scheduler};
use crate::stats::Lane;
use crate::sync::atomic::{Ordering, fence};
use crate::sys;

use accept::Natures;
use close::{Closing, Pin};
use dispatch::Backlog;
use groups::Group;
use own::Own;
use patience::Patience;
use slab::Slab;
use streams::Watch;

pub use cancel::cancel;
pub use start::{Starter, ensure_running, try_close};

/// Where a request is once the scheduler gave it out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// The scheduler has it.
    Scheduler,
    /// It may start but its lane is full.
    RingBacklog,
    PoolBacklog,
    /// In the ring.
    Ring,
    /// With the pool: queued or running.
    Pool,
    /// A write to a stream, partly done, waits for room.
    Stream,
    /// Its waiter carries it out.
    Waiter,
}

/// The engine's part of a request; the rest is read from its aiocb.
struct Request {
    cb: Aiocb,
    /// The number that names its open file now (a pin after a close).
    fildes: c_int,
    /// Its list, if somebody is told of that one's end; with [`AWAITED`].
    group: u32,
    /// Bytes of a stream write that are out.
    done: u32,
    /// Its watch while it waits as a partly done write; its key in a backlog
    /// or in the pool's queue.
    ticket: u32,
    /// The pin that holds its open file.
    pin: u16,
    class: Class,
    place: Place,
    nonblocking: bool,
    /// Its pin is an open file of its own, and nonblocking.
    twin: bool,
    /// A stream write that was tried and had to wait.
    begun: bool,
    /// A close waits for this job.
    closing: bool,
}

impl Request {
    /// One that nothing was done with yet.
    fn new(cb: Aiocb, fildes: c_int, nature: &Nature) -> Request {
        Request {
            cb,
            fildes,
            group: NONE,
            done: 0,
            ticket: 0,
            pin: NO_PIN,
            class: nature.class,
            place: Place::Scheduler,
            nonblocking: nature.nonblocking,
            twin: false,
            begun: false,
            closing: false,
        }
    }
}

/// No group, no pin.
const NONE: u32 = u32::MAX;
const NO_PIN: u16 = u16::MAX;
/// In `group`: of the end of this element nobody is told but the caller who
/// waits for the whole list. (A field of its own would make each of a hundred
/// thousand requests eight bytes larger.)
const AWAITED: u32 = 1 << 31;
const _: () = assert!(size_of::<Request>() == 32);

/// The engine.
pub struct Engine {
    scheduler: Scheduler<Request>,
    ring: Option<Ring>,
    natures: Natures,
    batch: Batch,
    groups: Slab<Group>,
    /// The list whose elements are being taken over.
    open_group: Option<u32>,
    ring_backlog: Backlog,
    pool_backlog: Backlog,
    jobs: Vec<Job>,
    /// Jobs with the pool.
    pooled: usize,
    own: Own,
    watches: BTreeMap<u32, Watch>,
    next_watch: u32,
    /// The watches on which parked requests wait.
    parked: BTreeMap<u32, u32>,
    /// Watches that end by themselves, by time.
    deadlines: BTreeSet<(u64, u32)>,
    pins: Slab<Pin>,
    /// Descriptors about to be closed, in the order of their messages.
    closes: VecDeque<&'static Message>,
    /// One of them is being seen to.
    seeing_to_closes: bool,
    closings: Vec<Closing>,
    done: Vec<Done>,
    /// The request that its waiter carries out.
    recalled: Option<Handle>,
    /// Requests taken over in this turn.
    taken: u32,
    /// The intake is being taken over.
    accepting: bool,
    /// Of lists that are awaited as a whole.
    patience: Patience,
    /// The largest descriptor number of a request that was taken over.
    highest: c_int,
}

impl Engine {
    fn new(runtime: &Runtime, ring: Option<Ring>) -> Engine {
        Engine {
            scheduler: Scheduler::new(if runtime.config.order_by_descriptor {
                Order::PerDescriptor
            } else {
                Order::Posix
            }),
            ring,
            natures: Natures::new(),
            batch: Batch::new(),
            groups: Slab::new(),
            open_group: None,
            ring_backlog: Backlog::new(),
            pool_backlog: Backlog::new(),
            jobs: Vec::new(),
            pooled: 0,
            own: Own::new(),
            watches: BTreeMap::new(),
            next_watch: 0,
            parked: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pins: Slab::new(),
            closes: VecDeque::new(),
            seeing_to_closes: false,
            closings: Vec::new(),
            done: Vec::new(),
            recalled: None,
            taken: 0,
            accepting: false,
            patience: Patience::default(),
            highest: 0,
        }
    }

    /// One round: what workers ended, what became ready, what was submitted;
    /// then whatever may start is started. True if anything was found.
    pub fn turn(&mut self, runtime: &'static Runtime) -> bool {
        perturb::pause(60, 500);
        let mut found = self.take_done(runtime);
        found |= self.take_events(runtime);
        self.taken = 0;
        found |= runtime.must_take() && self.take_intake(runtime);
        found |= self.expire(runtime);
        self.dispatch(runtime);
        self.batch.flush(runtime);
        if self.is_closing() {
            self.look_at_closings(runtime);
        }
        if self.ring.is_none() {
            runtime.pool.look_at(self.look_at());
        }
        found
    }

    /// When this engine wants a turn although nothing calls it.
    fn look_at(&self) -> Option<u64> {
        if self.is_closing() {
            return Some(sys::now_ns() + LOOK_AGAIN);
        }
        self.deadlines.first().map(|&(time, _)| time)
    }

    /// Ends a request that was carried out, or refused, by this thread, or
    /// whose end a worker left to it.
    fn finish(&mut self, runtime: &'static Runtime, handle: Handle, outcome: Outcome, lane: Lane) {
        let cb = self.scheduler.payload(handle).cb;
        // SAFETY: in progress and ours: its handle is live and it is with
        // no worker; `retire` frees the handle.
        unsafe { self.batch.complete(runtime, cb, outcome, lane) };
        if failure(outcome.err()).is_some() && self.scheduler.operation(handle).writes_file() {
            // A sync that was submitted while the write was in progress
            // carries its error, though it may still lie on the intake. (One
            // that comes in this very moment does so, too.)
            perturb::pause(8, 1000);
            self.take_intake(runtime);
        }
        self.retire(runtime, handle, outcome.err());
    }

    /// Frees the handle of a request whose result is published.
    fn retire(&mut self, runtime: &'static Runtime, handle: Handle, failed: Option<c_int>) {
        let request = self.scheduler.finish(handle, failure(failed));
        self.depart(runtime, handle, request, failed.is_some());
    }

    /// What remains to be done after a request has left the scheduler.
    fn depart(
        &mut self,
        runtime: &'static Runtime,
        handle: Handle,
        request: Request,
        failed: bool,
    ) {
        if request.group != NONE {
            self.leave_group(runtime, request.group & !AWAITED, failed);
            if request.group & AWAITED != 0 {
                self.patience.left();
            }
        }
        if request.pin != NO_PIN {
            self.unpin(request.pin, request.class);
        }
        if request.closing {
            self.closing_moves_on(handle);
        }
    }

    fn take_done(&mut self, runtime: &'static Runtime) -> bool {
        if !runtime.pool.has_done() {
            return false;
        }
        let mut done = std::mem::take(&mut self.done);
        runtime.pool.take_done(&mut done);
        for Done { handle, end } in done.drain(..) {
            self.pooled -= 1;
            match end {
                End::Published(failed) => self.retire(runtime, handle, failed),
                End::WriteFailed(error) => {
                    self.finish(runtime, handle, Err(error), Lane::Workers);
                }
            }
        }
        done.shrink_to(64);
        self.done = done;
        true
    }

    /// Nothing outstanding, nobody waiting for an answer?
    fn is_idle(&self) -> bool {
        self.scheduler.is_empty() && self.pooled == 0 && self.closings.is_empty()
    }
}

/// The error that a sync behind a write carries. A cancelled write has not
/// failed: there is nothing to report.
fn failure(error: Option<c_int>) -> Option<c_int> {
    error.filter(|&error| error != libc::ECANCELED)
}

/// How soon the engine looks again at what a close waits for.
const LOOK_AGAIN: u64 = 1_000_000;

/// Is there anything for the engine to take?
pub fn has_work(runtime: &Runtime) -> bool {
    runtime.must_take() || runtime.pool.has_done() || runtime.poller.has_events()
}

/// One turn, although nothing calls for it. For pool threads.
pub fn lead_now(runtime: &'static Runtime) {
    if let Some(mut engine) = runtime.engine.try_lock()
        && let Some(engine) = engine.as_mut()
    {
        engine.turn(runtime);
        while engine.has_own() {
            engine.turn(runtime);
        }
    }
    lead(runtime);
}

/// Plays the engine for as long as there is something to do and nobody else
/// plays it. For pool threads, where there is no ring.
pub fn lead(runtime: &'static Runtime) {
    loop {
        let Some(mut engine) = runtime.engine.try_lock() else {
            // Whoever has it looks again after giving it back.
            return;
        };
        if let Some(engine) = engine.as_mut() {
            engine.turn(runtime);
            while engine.has_own() {
                engine.turn(runtime);
            }
        }
        drop(engine);
        // Given back before the look: who failed to take it meanwhile left
        // its work before trying.
        fence(Ordering::SeqCst);
        if !has_work(runtime) {
            return;
        }
    }
}
