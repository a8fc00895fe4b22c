//! aio_cancel, decided by the engine.
//!
//! What must hold: AIO_CANCELED is said only of a request that ends here,
//! with ECANCELED, before anything of it was carried out; everything else is
//! left to its own completion. What is being submitted meanwhile, and is in
//! progress but not here yet, is not cancelled, and not said to be done. A
//! read that waits for data has consumed none: data is taken only by the
//! engine itself when the stream is ready.

use std::ffi::c_int;

use super::{Engine, Place};
use crate::abi::{AIO_ALLDONE, AIO_CANCELED, AIO_NOTCANCELED, Aiocb};
use crate::message::{self, Question};
use crate::process::Runtime;
use crate::request;
use crate::scheduler::{Handle, State};
use crate::stats::Lane;
use crate::sync::atomic::Ordering;

/// The side of the thread that asks: the engine is asked only if there is
/// something to cancel.
///
/// # Safety
/// `one` is valid memory.
pub unsafe fn cancel(runtime: &'static Runtime, fildes: c_int, one: Option<Aiocb>) -> c_int {
    let outstanding = || match one {
        // SAFETY: by contract.
        Some(cb) => unsafe { request::in_progress(Some(runtime), cb) },
        None => runtime.load.of_descriptor(fildes) || runtime.load.is_coming(fildes),
    };
    if !outstanding() {
        return AIO_ALLDONE;
    }
    match message::ask(runtime, Question::Cancel { fildes, one }) {
        Ok(verdict) => verdict as c_int,
        // No engine, so nothing is queued any more; but something may be
        // submitted at this moment.
        Err(_) if outstanding() => AIO_NOTCANCELED,
        Err(_) => AIO_ALLDONE,
    }
}

impl Engine {
    /// Cancels one request, or all of a descriptor number.
    pub(super) fn cancel(
        &mut self,
        runtime: &'static Runtime,
        fildes: c_int,
        one: Option<Aiocb>,
    ) -> c_int {
        if let Some(cb) = one {
            return match self.find(runtime, cb) {
                Some(handle) => self.cancel_one(runtime, handle),
                // SAFETY: valid, as in `find`. Another thread is submitting
                // it at this moment.
                None if unsafe { request::in_progress(Some(runtime), cb) } => AIO_NOTCANCELED,
                None => AIO_ALLDONE,
            };
        }
        let mut verdict = AIO_ALLDONE;
        // Newest first: what is cancelled then never starts in between. (But
        // the next of a stream is tried, and others may end by that.)
        let mut walk = self.scheduler.walk(fildes);
        while let Some(handle) = self.scheduler.older(&mut walk) {
            verdict = match (verdict, self.cancel_one(runtime, handle)) {
                (AIO_NOTCANCELED, _) | (_, AIO_NOTCANCELED) => AIO_NOTCANCELED,
                (AIO_CANCELED, _) | (_, AIO_CANCELED) => AIO_CANCELED,
                _ => AIO_ALLDONE,
            };
        }
        if runtime.load.is_coming(fildes) {
            // Of a list that is being put together, say. By a number that
            // shares the counter the answer is too careful, for a moment.
            return AIO_NOTCANCELED;
        }
        verdict
    }

    /// The live request of a control block.
    fn find(&self, runtime: &Runtime, cb: Aiocb) -> Option<Handle> {
        // SAFETY: the caller of aio_cancel passed a valid control block and
        // waits for us.
        let number = unsafe {
            if !request::in_progress(Some(runtime), cb) {
                return None;
            }
            cb.link().load(Ordering::Relaxed)
        };
        let handle = Handle::from_u32(u32::try_from(number.checked_sub(1)?).ok()?);
        (self.scheduler.live(handle) && self.scheduler.payload(handle).cb == cb).then_some(handle)
    }

    fn cancel_one(&mut self, runtime: &'static Runtime, handle: Handle) -> c_int {
        if self.scheduler.payload(handle).place == Place::Waiter {
            return AIO_NOTCANCELED;
        }
        match self.scheduler.state(handle) {
            State::Held | State::Ready => self.withdraw(runtime, handle),
            State::Parked => {
                if self.scheduler.payload(handle).begun {
                    // A write that has begun to block: it will be finished.
                    return AIO_NOTCANCELED;
                }
                let stream = self.scheduler.stream_of(handle);
                // Before the request goes: the watch may use its descriptor.
                if let Some(stream) = stream {
                    self.disarm_stream(runtime, stream);
                }
                let verdict = self.withdraw(runtime, handle);
                if let Some(stream) = stream {
                    self.try_next(runtime, stream);
                }
                verdict
            }
            State::Running => self.cancel_running(runtime, handle),
        }
    }

    fn withdraw(&mut self, runtime: &'static Runtime, handle: Handle) -> c_int {
        let Some(request) = self.scheduler.withdraw(handle) else {
            return AIO_NOTCANCELED;
        };
        // SAFETY: it was held back by the scheduler: in progress and ours.
        unsafe {
            self.batch
                .complete(runtime, request.cb, Err(libc::ECANCELED), Lane::Engine)
        };
        self.depart(runtime, handle, request, true);
        AIO_CANCELED
    }

    fn cancel_running(&mut self, runtime: &'static Runtime, handle: Handle) -> c_int {
        let request = self.scheduler.payload(handle);
        match request.place {
            Place::RingBacklog | Place::PoolBacklog => {
                let ticket = request.ticket;
                let backlog = if request.place == Place::RingBacklog {
                    &mut self.ring_backlog
                } else {
                    &mut self.pool_backlog
                };
                backlog.remove(self.scheduler.priority(handle), ticket);
            }
            Place::Pool => match runtime.pool.withdraw(self.job_key(handle)) {
                Some(_) => self.pooled -= 1,
                None => return AIO_NOTCANCELED,
            },
            Place::Stream => {
                // Part of the write went out: it ends with that.
                let (watch, done) = (request.ticket, request.done);
                self.disarm(runtime, watch);
                self.finish(runtime, handle, Ok(done as usize), Lane::Engine);
                return AIO_NOTCANCELED;
            }
            Place::Ring | Place::Waiter | Place::Scheduler => return AIO_NOTCANCELED,
        }
        self.finish(runtime, handle, Err(libc::ECANCELED), Lane::Engine);
        AIO_CANCELED
    }
}
