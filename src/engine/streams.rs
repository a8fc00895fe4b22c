//! What cannot seek: pipes, sockets, terminals, eventfds.
//!
//! Who comes in: one request per stream and direction at a time, from the
//! scheduler. It is tried without waiting; if there is nothing to do, the
//! stream is watched, and tried again when it is ready. What must hold: data
//! moves only in the engine's own calls (or, for files that cannot be tried,
//! in a worker once they are ready), never behind its back; so a read that
//! waits has consumed nothing, and several on one stream are served in order.

mod mark;
mod terminal;

use std::ffi::c_int;

use super::{Engine, Place, socket};
use crate::descriptor::Class;
use crate::lanes::workers::{
    Way, is_ready, is_shut, send_empty, try_nonblocking, try_now, whole_length,
};
use crate::perturb;
use crate::probes;
use crate::process::Runtime;
use crate::request::Kind;
use crate::scheduler::{Handle, StreamId};
use crate::stats::Lane;
use crate::sys;
use mark::Told;

/// A stream that is being watched.
pub struct Watch {
    pub fildes: c_int,
    way: Way,
    waits: Waits,
    past: Past,
    /// Since when it has been watched.
    since: u64,
    /// Until when it is left alone, because it only seems to be ready.
    resume: Option<u64>,
}

/// What happened to a request on a stream before it is tried.
#[derive(Clone, Copy, Default)]
struct Past {
    /// When it ends with EAGAIN (SO_RCVTIMEO, SO_SNDTIMEO).
    deadline: Option<u64>,
    /// How often in a row the stream was called ready as soon as it was
    /// watched, while there was nothing to do.
    vain: u32,
    /// How often in a row it was looked at, because poll does not know when
    /// it can go on.
    looks: u32,
    /// It was called ready.
    ready: bool,
    /// The deadline is past: this try is the last.
    last: bool,
}

/// Who waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// The best of the requests parked on this stream.
    Parked(StreamId),
    /// This one, a write that is partly done.
    Write(Handle),
}

/// Partial writes in one go before others get their turn.
const ROUNDS: u32 = perturb::bound(8, 1) as u32;

/// Readiness that comes sooner than this was there already.
const AT_ONCE: u64 = 1_000_000;
/// The first pause in watching a stream that only seems to be ready; each
/// further one is twice as long.
const PAUSE: u64 = 1_000_000;
/// The longest one.
const LONGEST_PAUSE: u64 = 50_000_000;

impl Engine {
    pub(super) fn start_stream(&mut self, runtime: &'static Runtime, handle: Handle) {
        let cb = self.scheduler.payload(handle).cb;
        probes::start(cb, Lane::Engine);
        self.try_stream(runtime, handle, Past::default());
    }

    fn try_stream(&mut self, runtime: &'static Runtime, handle: Handle, mut past: Past) {
        let (kind, mut transfer, _) = self.transfer(handle);
        let request = self.scheduler.payload(handle);
        let (mut fildes, nonblocking) = (request.fildes, request.nonblocking);
        let mut twin = request.twin;
        if kind.is_sync() {
            // EINVAL of a pipe or socket, from the kernel itself.
            return self.start_in_pool(runtime, handle);
        }
        if !kind.is_vector() && transfer.length > isize::MAX as usize {
            // The plain call knows the error for this.
            return self.start_in_pool(runtime, handle);
        }
        // preadv2 and pwritev2 do not ask the file about an empty transfer. To
        // a datagram it is one, eventfds refuse it, to a pipe it is nothing.
        let empty = transfer.length == 0 && !kind.is_vector() && request.class != Class::Pipe;
        if empty && kind.is_read() {
            return self.start_in_pool(runtime, handle);
        }
        if !past.last
            && let Some(told) = self.below_mark(handle, past.ready)
        {
            past.looks = match told {
                Told::Never => past.looks.saturating_add(1),
                Told::ByPoll => 0,
            };
            return self.park(runtime, handle, kind, past);
        }
        for _ in 0..ROUNDS {
            runtime.stats.engine_call();
            let tried = if empty {
                send_empty(fildes)
            } else if twin {
                try_nonblocking(fildes, kind, &transfer)
            } else {
                try_now(fildes, kind, &transfer)
            };
            match tried {
                Ok(bytes) if kind.is_read() || nonblocking => {
                    return self.finish(runtime, handle, Ok(bytes), Lane::Engine);
                }
                Ok(bytes) => {
                    past = Past::default();
                    transfer.done += bytes;
                    self.scheduler.payload_mut(handle).done = transfer.done as u32;
                    let all = whole_length(kind, &transfer).unwrap_or(0);
                    if bytes == 0 || transfer.done >= all {
                        return self.finish(runtime, handle, Ok(transfer.done), Lane::Engine);
                    }
                }
                Err(libc::EAGAIN) if nonblocking => {
                    return self.finish(runtime, handle, Err(libc::EAGAIN), Lane::Engine);
                }
                Err(libc::EAGAIN) if past.vain > 0 && kind.is_read() && is_shut(fildes) => {
                    // For a datagram socket only a blocking call says that
                    // this is the end; and it says so at once.
                    return self.start_in_pool(runtime, handle);
                }
                Err(libc::EAGAIN) => {
                    past.looks = 0;
                    break;
                }
                Err(libc::EINTR) => {}
                Err(libc::ENOTSOCK) if empty => return self.start_in_pool(runtime, handle),
                Err(error @ (libc::EOPNOTSUPP | libc::ENOSYS | libc::EPERM | libc::EACCES)) => {
                    // Terminals and the like know no RWF_NOWAIT, and a filter
                    // may not know preadv2.
                    if !nonblocking && self.take_twin(handle) {
                        fildes = self.scheduler.payload(handle).fildes;
                        twin = true;
                        continue;
                    }
                    if kind.is_read() && past.waited() && terminal::has_lost_master(fildes) {
                        // A read that waits ends so; one that is made now
                        // would meet the end instead.
                        return self.finish(runtime, handle, Err(libc::EIO), Lane::Engine);
                    }
                    if nonblocking || is_ready(fildes, way(kind).poll_events()) {
                        return self.start_in_pool(runtime, handle);
                    }
                    // Where a filter refused the call, nobody has looked at a
                    // vector.
                    let known = error == libc::EOPNOTSUPP || !kind.is_vector();
                    if kind.is_read() && known {
                        let wanted = whole_length(kind, &transfer).unwrap_or(0);
                        match terminal::read_ends(fildes, wanted) {
                            terminal::Ends::Soon => return self.start_in_pool(runtime, handle),
                            terminal::Ends::Filled => past.looks = past.looks.saturating_add(1),
                            terminal::Ends::Ready => past.looks = 0,
                        }
                    }
                    break;
                }
                Err(_) if transfer.done > 0 => {
                    return self.finish(runtime, handle, Ok(transfer.done), Lane::Engine);
                }
                Err(error) => return self.finish(runtime, handle, Err(error), Lane::Engine),
            }
        }
        if past.last {
            let outcome = match transfer.done {
                0 => Err(libc::EAGAIN),
                done => Ok(done),
            };
            return self.finish(runtime, handle, outcome, Lane::Engine);
        }
        self.park(runtime, handle, kind, past);
    }

    fn park(&mut self, runtime: &'static Runtime, handle: Handle, kind: Kind, mut past: Past) {
        let request = self.scheduler.payload_mut(handle);
        let fildes = request.fildes;
        request.begun |= kind.is_write();
        let number = self.next_watch;
        self.next_watch = self.next_watch.wrapping_add(1);
        let waits = if request.done > 0 {
            request.place = Place::Stream;
            request.ticket = number;
            Waits::Write(handle)
        } else {
            let stream = self.scheduler.park(handle);
            self.parked.insert(stream.as_u32(), number);
            Waits::Parked(stream)
        };
        let way = way(kind);
        let now = sys::now_ns();
        if past.deadline.is_none() {
            past.deadline = socket::timeout(fildes, way).map(|timeout| now + timeout);
        }
        let watch = Watch {
            fildes,
            way,
            waits,
            past,
            since: now,
            resume: pause(past.vain.max(past.looks)).map(|pause| now + pause),
        };
        for time in watch.times() {
            self.deadlines.insert((time, number));
        }
        self.watches.insert(number, watch);
        self.arm(runtime, number);
    }

    /// Asks ring or poller to tell when the watched stream is ready; not of
    /// one that is left alone for a while.
    fn arm(&mut self, runtime: &'static Runtime, number: u32) {
        let Some(watch) = self.watches.get(&number).filter(|w| w.resume.is_none()) else {
            return;
        };
        match self.ring.as_mut() {
            // A refusal is met again, and dealt with, by the engine's loop.
            Some(ring) => drop(ring.watch(number, watch.fildes, watch.way)),
            None => runtime
                .poller
                .watch(runtime, number, watch.fildes, watch.way),
        }
    }

    /// A watched stream is ready (or has failed, which the try will tell).
    pub(super) fn stream_ready(&mut self, runtime: &'static Runtime, number: u32) {
        let Some(watch) = self.forget(number) else {
            return;
        };
        let mut past = watch.past;
        past.ready = true;
        // The first time somebody else may only have been faster.
        past.vain = if sys::now_ns() - watch.since < AT_ONCE {
            past.vain.saturating_add(1)
        } else {
            0
        };
        match watch.waits {
            Waits::Write(handle) => self.try_stream(runtime, handle, past),
            Waits::Parked(stream) => self.try_best(runtime, stream, past),
        }
    }

    /// Tries the best of the requests that wait for a stream.
    pub(super) fn try_next(&mut self, runtime: &'static Runtime, stream: StreamId) {
        self.try_best(runtime, stream, Past::default());
    }

    fn try_best(&mut self, runtime: &'static Runtime, stream: StreamId, past: Past) {
        if self.scheduler.stream_waits(stream)
            && let Some(handle) = self.scheduler.unpark(stream)
        {
            self.try_stream(runtime, handle, past);
        }
    }

    fn forget(&mut self, number: u32) -> Option<Watch> {
        let watch = self.watches.remove(&number)?;
        for time in watch.times() {
            self.deadlines.remove(&(time, number));
        }
        if let Waits::Parked(stream) = watch.waits {
            self.parked.remove(&stream.as_u32());
        }
        Some(watch)
    }

    /// Watches again what was left alone for a while, and ends what a
    /// socket's own time limit ends, as the plain call would: if nothing can
    /// be transferred even now.
    pub(super) fn expire(&mut self, runtime: &'static Runtime) -> bool {
        let mut any = false;
        while let Some(&(time, number)) = self.deadlines.first() {
            let now = sys::now_ns();
            if time > now {
                break;
            }
            any = true;
            let Some(watch) = self.watches.get_mut(&number) else {
                self.deadlines.remove(&(time, number));
                continue;
            };
            if watch.past.deadline.is_none_or(|deadline| deadline > now) {
                if watch.past.looks > 0 {
                    self.look(runtime, number);
                    continue;
                }
                watch.resume = None;
                watch.since = now;
                self.deadlines.remove(&(time, number));
                self.arm(runtime, number);
                continue;
            }
            let waits = watch.waits;
            self.disarm(runtime, number);
            // Not all that makes a transfer possible makes it ready by poll:
            // that wants half of a socket's buffer empty.
            let past = Past {
                last: true,
                ..Past::default()
            };
            match waits {
                Waits::Write(handle) => self.try_stream(runtime, handle, past),
                Waits::Parked(stream) => self.try_best(runtime, stream, past),
            }
        }
        any
    }

    /// Tries what poll does not tell of.
    fn look(&mut self, runtime: &'static Runtime, number: u32) {
        let Some(watch) = self.forget(number) else {
            return;
        };
        match watch.waits {
            Waits::Write(handle) => self.try_stream(runtime, handle, watch.past),
            Waits::Parked(stream) => self.try_best(runtime, stream, watch.past),
        }
    }

    /// What the poller saw.
    pub(super) fn take_events(&mut self, runtime: &'static Runtime) -> bool {
        if !runtime.poller.has_events() {
            return false;
        }
        for number in runtime.poller.take_events() {
            self.stream_ready(runtime, number);
        }
        true
    }

    /// Stops watching.
    pub(super) fn disarm(&mut self, runtime: &'static Runtime, number: u32) {
        if let Some(watch) = self.forget(number) {
            match self.ring.as_mut() {
                Some(ring) => drop(ring.unwatch(number)),
                None => runtime.poller.unwatch(runtime, watch.fildes, watch.way),
            }
        }
    }

    /// Stops watching a stream on which requests are parked.
    pub(super) fn disarm_stream(&mut self, runtime: &'static Runtime, stream: StreamId) {
        if let Some(&number) = self.parked.get(&stream.as_u32()) {
            self.disarm(runtime, number);
        }
    }

    /// All watches are asked for anew: the ring is gone.
    pub(super) fn rearm_all(&mut self, runtime: &'static Runtime) {
        let numbers: Vec<u32> = self.watches.keys().copied().collect();
        for number in numbers {
            self.arm(runtime, number);
        }
    }

    /// Watches of a number that is about to be closed go over to its pin.
    pub(super) fn rewatch(&mut self, runtime: &'static Runtime, from: c_int, to: c_int) {
        let numbers: Vec<u32> = self
            .watches
            .iter()
            .filter(|(_, watch)| watch.fildes == from)
            .map(|(&number, _)| number)
            .collect();
        for number in numbers {
            let Some(watch) = self.watches.get_mut(&number) else {
                continue;
            };
            watch.fildes = to;
            let way = watch.way;
            // The ring's poll holds the open file; an epoll set goes by
            // numbers and must be told.
            if self.ring.is_none() {
                runtime.poller.unwatch(runtime, from, way);
                self.arm(runtime, number);
            }
        }
    }
}

impl Past {
    /// Has it waited?
    fn waited(&self) -> bool {
        self.ready || self.looks > 0
    }
}

impl Watch {
    /// When the engine looks at it by itself.
    fn times(&self) -> impl Iterator<Item = u64> + use<> {
        [self.past.deadline, self.resume].into_iter().flatten()
    }
}

/// How long a stream is left alone that was called ready so often in vain.
/// (It has an error queue, say, which no read empties; or it cannot be
/// watched at all.)
fn pause(vain: u32) -> Option<u64> {
    let doubled = vain.checked_sub(1)?.min(16);
    Some((PAUSE << doubled).min(LONGEST_PAUSE))
}

fn way(kind: Kind) -> Way {
    if kind.is_read() { Way::In } else { Way::Out }
}
