//! The engine is left out of it, for a program that submits a request, or some,
//! and waits for them at once.
//!
//! Its thread then carries them out itself ([`crate::lanes::waiter`]),
//! and waking the engine would cost it, and another processor, more than the
//! transfer. Who comes in: submissions and waits, which tell what the program
//! does; the engine, which decides. What must hold: submitters leave the engine
//! asleep, and an engine that is awake leaves what they pushed on the intake;
//! but whoever pushes what is not for a waiter, or waits in another way, calls
//! the engine ([`Deferral::call`]), and it looks every [`BEAT`] by itself. So a
//! program that does otherwise, all of a sudden, has its requests begin that
//! much later, after which the engine is woken as usual. It is the engine that
//! begins with it, before a sleep that has a limit; and before one that has
//! none it ends it, and then looks at the intake for the last time.

use std::time::Duration;

use crate::perturb;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
#[cfg(not(loom))]
use crate::sys;
use crate::wait;
#[cfg(loom)]
use modelled as sys;
#[cfg(loom)]
pub use modelled::set_time;

/// The engine's looks at the intake while nobody wakes it.
const BEAT: u64 = 1_000_000;
/// A wait that comes so soon after the submission comes at once.
const AT_ONCE: u64 = perturb::bound(5_000, 1_000_000_000) as u64;
/// What has lain on the intake for longer than this, no waiter will fetch.
const LEFT_LYING: u64 = 200_000;
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
    /// Not 0: what is for a waiter is left on the intake.
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
    /// When the oldest was pushed of those that lie on the intake.
    lying: AtomicU64,
    /// How many are outstanding at such waits.
    count: AtomicU32,
    /// Waits in a row at which it was less than half of that.
    few: AtomicU32,
    /// Who submitted all that is outstanding, as a mark; 0: several threads.
    submitter: AtomicU32,
    /// Not 0: the engine is to take what lies on the intake all the same.
    called: AtomicU32,
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
    /// A request that its waiter may carry out is about to be pushed, as the
    /// first on the intake or not.
    pub fn pushes(&self, first: bool) {
        let now = sys::now_ns();
        self.submitted.store(now, Ordering::Relaxed);
        if first {
            self.lying.store(now, Ordering::Relaxed);
        }
    }

    /// It was, and the call returns. (The engine may have run meanwhile.)
    pub fn submitted(&self) {
        self.submitted.store(sys::now_ns(), Ordering::Relaxed);
    }

    /// The calling thread submits one; with it, so many are outstanding.
    pub fn note_submitter(&self, outstanding: usize) {
        let mark = u32::from(wait::own_mark());
        if self.submitter.load(Ordering::Relaxed) != mark {
            let all = if outstanding <= 1 { mark } else { 0 };
            self.submitter.store(all, Ordering::Relaxed);
        }
    }

    /// Was all that is outstanding submitted by the calling thread, as far as
    /// is known?
    pub fn is_by_caller(&self) -> bool {
        self.submitter.load(Ordering::Relaxed) == u32::from(wait::own_mark())
    }

    /// So many requests may be outstanding together that the next wait is
    /// expected to be for all of them.
    pub fn expected(&self) -> usize {
        self.count.load(Ordering::Relaxed).max(1) as usize
    }

    /// It was pushed: is the engine to be left out of it?
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::SeqCst) != 0
    }

    /// A thread waits now for some of what is outstanding, all of it its own:
    /// so many requests that it may carry out.
    pub fn waits(&self, now: u64, count: usize) {
        let expected = self.expected();
        let few = match 2 * count < expected {
            true => self.few.load(Ordering::Relaxed) + 1,
            false => 0,
        };
        self.few.store(few, Ordering::Relaxed);
        if count > expected || few > WAITS {
            // They were not expected, so nothing is known of when they came.
            self.count.store(count as u32, Ordering::Relaxed);
            self.few.store(0, Ordering::Relaxed);
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

    /// A wait found requests of another thread: they should not lie there
    /// until somebody waits who may fetch them.
    pub fn meets_others(&self) {
        if self.is_on() {
            let waits = self.waits.load(Ordering::Relaxed) / 2;
            self.waits.store(waits, Ordering::Relaxed);
            if waits <= WAITS / 2 {
                self.stop_expecting();
            }
        }
    }

    /// What was taken back could not be carried out by its waiter.
    pub fn in_vain(&self) {
        self.waits.store(0, Ordering::Relaxed);
    }

    /// What lies on the intake is not, or not all, for a waiter. The engine is
    /// then to be woken.
    pub fn call(&self) {
        if self.is_on() {
            self.called.store(1, Ordering::SeqCst);
        }
    }

    /// There is something on the intake: is the engine to take it?
    pub fn is_called(&self) -> bool {
        !self.is_on()
            || self.called.load(Ordering::SeqCst) != 0
            || self.lies_for_long(sys::now_ns())
    }

    /// The engine is about to take the intake over.
    pub fn answers(&self) {
        if self.called.load(Ordering::Relaxed) != 0 {
            self.called.swap(0, Ordering::SeqCst);
        }
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
        if self.is_on() && self.lies_for_long(sys::now_ns()) {
            self.stop_expecting();
        }
    }

    fn lies_for_long(&self, now: u64) -> bool {
        now.saturating_sub(self.lying.load(Ordering::Relaxed)) > LEFT_LYING
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
            // Who pushed before that did not see it, and did not call.
            self.called.store(1, Ordering::SeqCst);
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
    pub fn places(&self) -> [std::ops::Range<usize>; 3] {
        use crate::sync::model::place;
        [place(&self.on), place(&self.called), place(&self.watched)]
    }
}
