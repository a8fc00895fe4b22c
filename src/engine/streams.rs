//! What cannot seek: pipes, sockets, terminals, eventfds.
//!
//! Who comes in: one request per stream and direction at a time, from the
//! scheduler. It is tried without waiting; if there is nothing to do, the
//! stream is watched, and tried again when it is ready. What must hold: data
//! moves only in the engine's own calls (or, for files that cannot be tried,
//! in a worker once they are ready), never behind its back; so a read that
//! waits has consumed nothing, and several on one stream are served in order.

use std::ffi::c_int;

use super::{Engine, Place};
use crate::lanes::workers::{Way, is_ready, try_now, whole_length};
use crate::process::Runtime;
use crate::request::Kind;
use crate::scheduler::{Handle, StreamId};
use crate::stats::Lane;

/// A stream that is being watched.
pub struct Watch {
    pub fildes: c_int,
    way: Way,
    waits: Waits,
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
const ROUNDS: u32 = 8;

impl Engine {
    pub(super) fn start_stream(&mut self, runtime: &'static Runtime, handle: Handle) {
        let cb = self.scheduler.payload(handle).cb;
        runtime.stats.start(cb);
        self.try_stream(runtime, handle);
    }

    fn try_stream(&mut self, runtime: &'static Runtime, handle: Handle) {
        let (kind, mut transfer, _) = self.transfer(handle);
        let request = self.scheduler.payload(handle);
        let (fildes, nonblocking) = (request.fildes, request.nonblocking);
        if kind.is_sync() {
            // EINVAL of a pipe or socket, from the kernel itself.
            return self.start_in_pool(runtime, handle);
        }
        for _ in 0..ROUNDS {
            match try_now(fildes, kind, &transfer) {
                Ok(bytes) if kind.is_read() => {
                    return self.finish(runtime, handle, Ok(bytes), Lane::Engine);
                }
                Ok(bytes) => {
                    transfer.done += bytes;
                    self.scheduler.payload_mut(handle).done = transfer.done as u32;
                    let all = whole_length(kind, &transfer).unwrap_or(0);
                    if bytes == 0 || transfer.done >= all {
                        return self.finish(runtime, handle, Ok(transfer.done), Lane::Engine);
                    }
                }
                Err(libc::EAGAIN) if nonblocking => {
                    let outcome = match transfer.done {
                        0 => Err(libc::EAGAIN),
                        done => Ok(done),
                    };
                    return self.finish(runtime, handle, outcome, Lane::Engine);
                }
                Err(libc::EAGAIN) => break,
                Err(libc::EINTR) => {}
                Err(libc::EOPNOTSUPP | libc::ENOSYS) => {
                    // Terminals and the like know no RWF_NOWAIT.
                    if nonblocking || is_ready(fildes, way(kind).poll_events()) {
                        return self.start_in_pool(runtime, handle);
                    }
                    break;
                }
                Err(_) if transfer.done > 0 => {
                    return self.finish(runtime, handle, Ok(transfer.done), Lane::Engine);
                }
                Err(error) => return self.finish(runtime, handle, Err(error), Lane::Engine),
            }
        }
        self.park(runtime, handle, kind);
    }

    fn park(&mut self, runtime: &'static Runtime, handle: Handle, kind: Kind) {
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
            Waits::Parked(self.scheduler.park(handle))
        };
        self.watches.insert(
            number,
            Watch {
                fildes,
                way: way(kind),
                waits,
            },
        );
        self.arm(runtime, number);
    }

    /// Asks ring or poller to tell when the watched stream is ready.
    pub(super) fn arm(&mut self, runtime: &'static Runtime, number: u32) {
        let Some(watch) = self.watches.get(&number) else {
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
        let Some(watch) = self.watches.remove(&number) else {
            return;
        };
        match watch.waits {
            Waits::Write(handle) => self.try_stream(runtime, handle),
            Waits::Parked(stream) => {
                if let Some(handle) = self.scheduler.unpark(stream) {
                    self.try_stream(runtime, handle);
                }
            }
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
        if let Some(watch) = self.watches.remove(&number) {
            match self.ring.as_mut() {
                Some(ring) => drop(ring.unwatch(number)),
                None => runtime.poller.unwatch(runtime, watch.fildes, watch.way),
            }
        }
    }

    /// Stops watching a stream for which nothing waits any more.
    pub(super) fn disarm_if_idle(&mut self, runtime: &'static Runtime, stream: StreamId) {
        let found = self
            .watches
            .iter()
            .find(|(_, watch)| watch.waits == Waits::Parked(stream))
            .map(|(&number, _)| number);
        if let Some(number) = found
            && !self.scheduler.stream_waits(stream)
        {
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

fn way(kind: Kind) -> Way {
    if kind.is_read() { Way::In } else { Way::Out }
}
