//! Waking the engine is put off, for a program that submits a request, or a
//! few, and waits for it at once.
//!
//! Its thread then carries it out itself ([`crate::lanes::waiter`]),
//! and waking the engine would cost it, and another processor, more than the
//! transfer. Who comes in: submissions and waits, which tell what the program
//! does; the engine, which decides. What must hold: while submitters leave the
//! engine asleep, it looks at the intake every [`BEAT`] by itself; so a
//! program that does otherwise, all of a sudden, has one request begin that
//! much later, after which the engine is woken as usual. It is the engine that
//! begins with it, before a sleep that has a limit; and before one that has
//! none it ends it, and then looks at the intake for the last time.

use std::time::Duration;

use crate::perturb;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use crate::sys;
#[cfg(loom)]
use modelled as sys;
#[cfg(loom)]
pub use modelled::set_time;

/// The engine's looks at the intake while nobody wakes it.
const BEAT: u64 = 1_000_000;
/// A wait that comes so soon after the submission comes at once.
const AT_ONCE: u64 = perturb::bound(5_000, 1_000_000_000) as u64;
/// What lay on the intake for longer than this was left there.
const LEFT_LYING: u64 = 100_000;
/// So many waits must have come at once...
const WAITS: u32 = perturb::bound(16, 2) as u32;
/// ... and twice as many after each error, up to so many times that.
const DOUBLINGS: u32 = perturb::bound(6, 1) as u32;
/// Two transfers in a row that took longer than this met a slow device (one
/// may only have lost its processor)...
const SLOW: u64 = 20_000_000;
/// ... or one that took longer than this. For so many times as long waiters
/// leave their requests to the engine: they could take no signal meanwhile.
const VERY_SLOW: u64 = 200_000_000;
const PENANCE: u64 = 50;

/// What the program is expected to do. All zero: nothing.
pub struct Deferral {
    /// Not 0: submitters leave the engine asleep.
    on: AtomicU32,
    /// Not 0: it is worth it, says a waiter.
    wanted: AtomicU32,
    /// Waits that came at once, less some for each that did not.
    waits: AtomicU32,
    /// How often the program did otherwise.
    errors: AtomicU32,
    /// When the last request was submitted that its waiter is expected to
    /// carry out.
    submitted: AtomicU64,
    /// How many were outstanding at the last such wait.
    count: AtomicU32,
    /// Requests that the engine has.
    held: AtomicU32,
    /// Requests that their waiters took back, and those at the last beat.
    recalls: AtomicU64,
    seen: AtomicU64,
    /// The next beat.
    next: AtomicU64,
    /// Not 0: the last transfer of a waiter was slow.
    slow: AtomicU32,
    /// Until then waiters leave their requests to the engine.
    not_before: AtomicU64,
    /// Of the threads that may play the engine one sleeps for a beat only.
    watched: AtomicU32,
}

impl Deferral {
    /// A request that its waiter may carry out is about to be pushed, or was.
    pub fn submitted(&self) {
        self.submitted.store(sys::now_ns(), Ordering::Relaxed);
    }

    /// So many requests may be outstanding together that the next wait is
    /// expected to be for all of them.
    pub fn expected(&self) -> usize {
        self.count.load(Ordering::Relaxed).max(1) as usize
    }

    /// It was pushed: is the engine to be left asleep?
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst) != 0
    }

    /// The program waits now for all that is outstanding, so many requests
    /// that their waiter may carry out.
    pub fn waits(&self, now: u64, count: usize) {
        if count != self.expected() {
            // They were not expected, so nothing is known of when they came.
            self.count.store(count as u32, Ordering::Relaxed);
            return;
        }
        #[cfg(loom)]
        let now = now.min(sys::now_ns());
        let since = now.saturating_sub(self.submitted.load(Ordering::Relaxed));
        let waits = self.waits.load(Ordering::Relaxed);
        // A lost update only changes a guess.
        if since < AT_ONCE {
            let enough = WAITS << self.errors.load(Ordering::Relaxed);
            self.waits.store((waits + 1).min(enough), Ordering::Relaxed);
            if waits >= enough && !self.is_on() {
                self.wanted.store(1, Ordering::Relaxed);
            }
        } else {
            // Or it lost its processor just now.
            self.waits
                .store(waits.saturating_sub(WAITS / 2), Ordering::Relaxed);
            if waits <= WAITS / 2 {
                self.stop_expecting();
            }
        }
    }

    /// The engine has so many requests now.
    pub fn holds(&self, count: usize) {
        if self.held.load(Ordering::Relaxed) != count as u32 {
            self.held.store(count as u32, Ordering::Relaxed);
        }
    }

    /// Has it any, as far as is known? Then not all is for a waiter.
    pub fn engine_has_some(&self) -> bool {
        self.held.load(Ordering::Relaxed) != 0
    }

    /// May a waiter carry out its request, as far as devices are concerned?
    pub fn may_recall(&self, now: u64) -> bool {
        #[cfg(loom)]
        let now = now.min(sys::now_ns());
        now >= self.not_before.load(Ordering::Relaxed)
    }

    /// A waiter took its request back and carried it out.
    pub fn recalled(&self, begin: u64, end: u64) {
        // In a model no transfer takes any time.
        #[cfg(loom)]
        let end = end.min(begin);
        self.recalls.fetch_add(1, Ordering::Relaxed);
        let time = end - begin;
        let slow = time > SLOW;
        if slow && self.slow.load(Ordering::Relaxed) != 0 || time > VERY_SLOW {
            self.not_before
                .store(end + time * PENANCE, Ordering::Relaxed);
            self.stop_expecting();
        }
        if slow || self.slow.load(Ordering::Relaxed) != 0 {
            self.slow.store(slow.into(), Ordering::Relaxed);
        }
    }

    /// The program did something else.
    fn stop_expecting(&self) {
        self.waits.store(0, Ordering::Relaxed);
        self.wanted.store(0, Ordering::Relaxed);
        if self.on.swap(0, Ordering::SeqCst) != 0 {
            let errors = self.errors.load(Ordering::Relaxed);
            self.errors
                .store((errors + 1).min(DOUBLINGS), Ordering::Relaxed);
        }
    }

    /// The engine found requests on the intake.
    pub fn found(&self) {
        if self.is_on()
            && sys::now_ns().saturating_sub(self.submitted.load(Ordering::Relaxed)) > LEFT_LYING
        {
            self.stop_expecting();
        }
    }

    /// The engine is about to look at the intake for the last time and to
    /// sleep: for so long at most.
    pub fn beat(&self) -> Option<Duration> {
        if !self.is_on() {
            if self.wanted.load(Ordering::Relaxed) == 0 {
                return None;
            }
            self.wanted.store(0, Ordering::Relaxed);
            self.seen
                .store(self.recalls.load(Ordering::Relaxed), Ordering::Relaxed);
            self.next.store(sys::now_ns() + BEAT, Ordering::Relaxed);
            self.on.store(1, Ordering::SeqCst);
            return Some(Duration::from_nanos(BEAT));
        }
        let now = sys::now_ns();
        let next = self.next.load(Ordering::Relaxed);
        if now < next {
            return Some(Duration::from_nanos(next - now));
        }
        let recalls = self.recalls.load(Ordering::Relaxed);
        if recalls == self.seen.swap(recalls, Ordering::Relaxed) {
            // It rests, or does something else: no error.
            self.end();
            return None;
        }
        self.next.store(now + BEAT, Ordering::Relaxed);
        Some(Duration::from_nanos(BEAT))
    }

    /// From now on the engine is woken. A look at the intake must follow.
    pub fn end(&self) {
        if self.is_on() {
            self.on.store(0, Ordering::SeqCst);
            self.waits.store(0, Ordering::Relaxed);
        }
    }

    /// As [`Deferral::beat`], for one of several threads: the others sleep
    /// without a limit. True: this one is it, until [`Deferral::wakes`].
    pub fn watch(&self) -> bool {
        self.watched.swap(1, Ordering::SeqCst) == 0
    }

    /// The thread that watched is back.
    pub fn wakes(&self) {
        self.watched.store(0, Ordering::SeqCst);
    }
}

/// The time as a model has it: an execution that is carried out once more must
/// find the same.
#[cfg(loom)]
mod modelled {
    use std::cell::Cell;

    std::thread_local!(static TIME: Cell<(u64, u64)> = const { Cell::new((0, 0)) });

    pub fn now_ns() -> u64 {
        let (time, step) = TIME.get();
        TIME.set((time + step, step));
        time
    }

    /// It is so many nanoseconds now, and so many more at each look.
    pub fn set_time(time: u64, step: u64) {
        TIME.set((time, step));
    }
}

#[cfg(loom)]
impl Deferral {
    /// Where the words lie that submitters and the engine's threads agree by,
    /// for a model to explore them; the others are guesses.
    pub fn places(&self) -> [std::ops::Range<usize>; 2] {
        use crate::sync::model::place;
        [place(&self.on), place(&self.watched)]
    }
}
