//! Completions kept for `aio_waitcomplete` and `aio_waitn`.
//!
//! Who comes in: submissions and completions (only when the program uses
//! these functions; for all others the price is one load), aio_return, and
//! the two functions themselves. What must hold:
//! - a completion is published and kept under one lock, so that it is known
//!   here as soon as anybody can see it, and aio_return finds it;
//! - a result is handed out once, and not at all after aio_return, or after
//!   its control block was submitted again;
//! - room for a request's result is reserved before the request is accepted;
//! - the lock is held with every signal blocked, and never while waiting, so
//!   a handler can call all of these; a control block that is kept here is an
//!   address only, since the program may have freed it.

mod store;

use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::imports;
use crate::request::{self, Outcome};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys;
use crate::wait::{self, Deadline};

pub use store::Kept;
use store::{Index, Store};

/// The collector. All zero: nobody collects.
pub struct Collector {
    on: AtomicU32,
    /// Results kept and requests counted on, and room for them.
    used: AtomicU32,
    capacity: AtomicU32,
    /// Requests in progress that were counted on, and those that were already
    /// in progress when the collection began.
    counted: AtomicU32,
    earlier: AtomicU64,
    index: Index,
    state: Mutex<State>,
    /// For aio_waitcomplete: moved by each result; as many are woken.
    one: Bell,
    /// For aio_waitn: moved when enough results are there.
    many: Bell,
}

struct State {
    store: Store,
    /// Results that a sleeping aio_waitn waits for, the least of all; 0:
    /// nobody sleeps.
    wanted: u32,
}

/// Where threads sleep.
struct Bell {
    word: AtomicU32,
    sleepers: AtomicU32,
    /// Wakes that are due.
    due: AtomicU32,
}

impl Bell {
    /// `count` sleepers are to be woken. Called with the lock held.
    fn ring(&self, count: u32) {
        self.word.fetch_add(1, Ordering::SeqCst);
        let due = self.due.load(Ordering::SeqCst);
        self.due.fetch_add(
            count.min(u32::MAX / 2 - due.min(u32::MAX / 2)),
            Ordering::SeqCst,
        );
    }

    fn wake(&self) {
        if self.due.load(Ordering::Relaxed) == 0 {
            return;
        }
        let due = self.due.swap(0, Ordering::SeqCst);
        if due > 0 && self.sleepers.load(Ordering::SeqCst) > 0 {
            let _errno = sys::KeepErrno::new();
            sys::futex_wake(self.word.as_ptr(), due.min(i32::MAX as u32) as i32);
        }
    }
}

impl Collector {
    /// Called once, when the process begins to use AIO.
    pub fn prepare(&self) {
        if imports::collecting() {
            self.on.store(1, Ordering::SeqCst);
        }
    }

    fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed) != 0
    }

    /// Begins to collect, if that was not done before. `in_flight`: the
    /// requests that are in progress.
    pub fn begin(&self, in_flight: impl Fn() -> u64) {
        if self.on.load(Ordering::SeqCst) == 0 && self.on.swap(1, Ordering::SeqCst) == 0 {
            // What is submitted from here on is counted. If others submit at
            // this moment the number is too small, if anything: aio_waitn may
            // then return early, but never waits for what does not come.
            let known = u64::from(self.counted.load(Ordering::SeqCst));
            self.earlier
                .store(in_flight().saturating_sub(known), Ordering::SeqCst);
        }
    }

    fn locked<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        let mut state = self.state.lock();
        body(&mut state)
    }

    /// From an application thread.
    fn locked_out<R>(&self, body: impl FnOnce(&mut State) -> R) -> R {
        sys::with_signals_blocked(|| self.locked(body))
    }

    /// A request was claimed: an earlier result of the same control block is
    /// dropped, and room is reserved for the new one. Err(EAGAIN): no memory.
    ///
    /// # Safety
    /// `cb` is claimed by the caller.
    pub unsafe fn expect(&self, cb: Aiocb) -> Result<(), c_int> {
        if !self.is_on() {
            return Ok(());
        }
        let _errno = sys::KeepErrno::new();
        self.returned(cb);
        let used = self.used.fetch_add(1, Ordering::SeqCst) + 1;
        if used > self.capacity.load(Ordering::SeqCst)
            && !self.locked_out(|state| self.make_room(state))
        {
            self.used.fetch_sub(1, Ordering::SeqCst);
            return Err(libc::EAGAIN);
        }
        self.counted.fetch_add(1, Ordering::SeqCst);
        // SAFETY: by contract.
        unsafe { request::note(cb, request::COLLECTED) };
        Ok(())
    }

    fn make_room(&self, state: &mut State) -> bool {
        while self.used.load(Ordering::SeqCst) > self.capacity.load(Ordering::SeqCst) {
            if !state.store.grow(&self.index) {
                return false;
            }
            self.capacity
                .store(state.store.capacity(), Ordering::SeqCst);
        }
        true
    }

    /// A claimed request is refused after all; it has no result to collect.
    ///
    /// # Safety
    /// `cb` is claimed by the caller.
    pub unsafe fn forget(&self, cb: Aiocb) {
        // SAFETY: by contract.
        if unsafe { request::notes(cb) } & request::COLLECTED != 0 {
            self.counted.fetch_sub(1, Ordering::SeqCst);
            self.used.fetch_sub(1, Ordering::SeqCst);
            // Somebody may have counted on its completion.
            if self.many.sleepers.load(Ordering::SeqCst) != 0 {
                let _errno = sys::KeepErrno::new();
                self.locked_out(|state| self.look_at_wanted(state));
                self.flush();
            }
        }
    }

    /// Publishes the result of a request, and keeps it if the program
    /// collects; `foreign`: in a thread of the application.
    ///
    /// # Safety
    /// As for [`request::publish`].
    pub unsafe fn publish(&self, cb: Aiocb, outcome: Outcome, foreign: bool) -> u16 {
        if !self.is_on() {
            // SAFETY: by contract.
            return unsafe { request::publish(cb, outcome) };
        }
        let keep = |state: &mut State| {
            // SAFETY: by contract.
            let counted = unsafe { request::notes(cb) } & request::COLLECTED != 0;
            // Kept first: aio_return, which may follow at once, looks at the
            // index without the lock. Nobody takes it before we let go.
            self.keep(state, cb.to_word(), outcome, counted);
            // SAFETY: by contract; the last access.
            unsafe { request::publish(cb, outcome) }
        };
        if foreign {
            self.locked_out(keep)
        } else {
            self.locked(keep)
        }
    }

    fn keep(&self, state: &mut State, address: u64, outcome: Outcome, counted: bool) {
        let room = if counted {
            self.counted.fetch_sub(1, Ordering::SeqCst);
            true
        } else {
            // In progress since before the collection began.
            let earlier = self.earlier.load(Ordering::SeqCst);
            self.earlier
                .store(earlier.saturating_sub(1), Ordering::SeqCst);
            self.used.fetch_add(1, Ordering::SeqCst);
            self.make_room(state) || {
                self.used.fetch_sub(1, Ordering::SeqCst);
                false
            }
        };
        if room {
            state.store.add(&self.index, address, outcome);
            self.one.ring(1);
        }
        self.look_at_wanted(state);
    }

    /// Lets those in aio_waitn look, if there may be enough.
    fn look_at_wanted(&self, state: &mut State) {
        if state.wanted != 0 && (state.store.len() >= state.wanted || self.in_progress() == 0) {
            // Whoever finds that it is not enough says so again.
            state.wanted = 0;
            self.many.ring(i32::MAX as u32);
        }
    }

    fn in_progress(&self) -> u64 {
        u64::from(self.counted.load(Ordering::SeqCst)) + self.earlier.load(Ordering::SeqCst)
    }

    /// aio_return was called: nobody else is to get this result.
    pub fn returned(&self, cb: Aiocb) {
        let address = cb.to_word();
        if !self.is_on() || self.index.lacks(address) {
            return;
        }
        let _errno = sys::KeepErrno::new();
        self.locked_out(|state| {
            if state.store.take(&self.index, address).is_some() {
                self.used.fetch_sub(1, Ordering::SeqCst);
            }
        });
    }

    /// Wakes who waits for what was kept.
    pub fn flush(&self) {
        self.one.wake();
        self.many.wake();
    }

    fn take(&self) -> Option<Kept> {
        self.locked_out(|state| {
            let kept = state.store.take_oldest(&self.index);
            if kept.is_some() {
                self.used.fetch_sub(1, Ordering::SeqCst);
            }
            kept
        })
    }

    /// Waits for the next result. Err: EAGAIN (the time is over), EINTR. A
    /// cancellation point; nothing is pending in this frame while it sleeps.
    pub fn wait_one(&self, deadline: Option<Deadline>, poll: bool) -> Result<Kept, c_int> {
        loop {
            // Announced and sampled before the look: a result that comes
            // after it moves the word, and finds the sleeper.
            self.one.sleepers.fetch_add(1, Ordering::SeqCst);
            let sample = self.one.word.load(Ordering::SeqCst);
            if let Some(kept) = self.take() {
                self.one.sleepers.fetch_sub(1, Ordering::SeqCst);
                return Ok(kept);
            }
            if poll {
                self.one.sleepers.fetch_sub(1, Ordering::SeqCst);
                return Err(libc::EAGAIN);
            }
            // SAFETY: the bell is in the runtime, which is never freed.
            match unsafe { self.one.sleep(sample, deadline.as_ref()) } {
                libc::EINTR => return Err(libc::EINTR),
                libc::ETIMEDOUT => return self.take().ok_or(libc::EAGAIN),
                _ => {}
            }
        }
    }

    /// Waits until there are `least` results, or as many as there will be,
    /// and hands out up to `most` of them: how many, and why not `least`
    /// (0: nothing more is in progress, or there are enough). The same
    /// cancellation point as [`wait_one`](Self::wait_one).
    pub fn wait_many(
        &self,
        least: u32,
        most: u32,
        deadline: Option<Deadline>,
        poll: bool,
        mut give: impl FnMut(u32, u64),
    ) -> (u32, c_int) {
        let mut reason = if poll { libc::ETIME } else { 0 };
        loop {
            self.many.sleepers.fetch_add(1, Ordering::SeqCst);
            let sample = self.many.word.load(Ordering::SeqCst);
            let taken = self.locked_out(|state| {
                let there = state.store.len();
                let last = self.in_progress() == 0;
                if there >= least || last || reason != 0 {
                    let mut count = 0;
                    while count < most
                        && let Some(kept) = state.store.take_oldest(&self.index)
                    {
                        self.used.fetch_sub(1, Ordering::SeqCst);
                        give(count, kept.address);
                        count += 1;
                    }
                    let reason = match count {
                        0 if last => libc::EAGAIN,
                        count if count >= least || last => 0,
                        _ => reason,
                    };
                    return Some((count, reason));
                }
                state.wanted = match state.wanted {
                    0 => least,
                    other => other.min(least),
                };
                None
            });
            if let Some(taken) = taken {
                self.many.sleepers.fetch_sub(1, Ordering::SeqCst);
                return taken;
            }
            // SAFETY: as in `wait_one`.
            match unsafe { self.many.sleep(sample, deadline.as_ref()) } {
                libc::EINTR => reason = libc::EINTR,
                libc::ETIMEDOUT => reason = libc::ETIME,
                _ => {}
            }
        }
    }
}

impl Bell {
    /// Sleeps unless the word has moved since the sample. Lowers `sleepers`,
    /// also when the thread is cancelled; then another sleeper is woken.
    ///
    /// # Safety
    /// The bell outlives the process's threads.
    unsafe fn sleep(&self, sample: u32, deadline: Option<&Deadline>) -> c_int {
        // SAFETY: by contract.
        unsafe {
            wait::cancellable_turn(self.word.as_ptr(), sample, deadline, self.sleepers.as_ptr())
        }
    }
}
