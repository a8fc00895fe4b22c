//! Requests that their waiter takes back from the intake, to carry them out
//! itself.
//!
//! Who comes in: a thread in aio_suspend whose requests all still lie on the
//! intake ([`crate::lanes::waiter`]), and the engine, when it takes the intake
//! over. What must hold: one thread at a time has such requests, and nothing
//! else was outstanding when they were taken back; so all that the engine does
//! not know yet is younger, and it learns of the request before it accepts any
//! of that. It does so by the *number* of the recall, which lies at the bottom
//! of the intake from the moment on at which the request does not:
//!
//! ```text
//!         begin                done                (published by the waiter)
//!  FREE ---------> RECALLED --------------------------------------> FREE
//!                  |   |   failed            the engine accepts it
//!                  |   `-----------> LEFT -------------------------> FREE
//!            adopt |                                                   ^
//!                  v     adopted            ended, failed              |
//!              ADOPTING ---------> ADOPTED --------------> ENDED, or   |
//!                  |                                       FAILED -----'
//!                  `--> AWAITED: as RECALLED, but the engine sleeps until its end
//! ```
//!
//! Once it is adopted the request is the engine's, like one that a worker
//! carries out: only its end is left to the waiter. Nothing is allocated or
//! locked, and the waiter has every signal blocked meanwhile.

use crate::perturb;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

const FREE: u64 = 0;
/// The waiter carries it out; the engine does not know of it.
const RECALLED: u64 = 1;
/// The engine is about to know of it.
const ADOPTING: u64 = 2;
/// The engine knows of it.
const ADOPTED: u64 = 3;
/// As RECALLED; the engine waits for the end: it has no memory to adopt it, or
/// there are several.
const AWAITED: u64 = 4;
/// The waiter could not finish it: the engine is to accept it.
const LEFT: u64 = 5;
/// Adopted, and published by the waiter.
const ENDED: u64 = 6;
/// Adopted, and not finished: the engine is to carry it out.
const FAILED: u64 = 7;

/// The lowest bits of the word are the state, those above the number.
const SHIFT: u32 = 3;
const STATE: u64 = (1 << SHIFT) - 1;

/// The number of a recall. It is never used again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Number(pub u64);

/// How a recall ended that the engine must see to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// Accept the chain of this newest request, as the oldest; then the
    /// number need not lie on the intake any more.
    Left(u64, Number),
    /// The adopted request is published.
    Ended,
    /// The adopted request is to be carried out.
    Failed,
}

/// Whose request it is at its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owner {
    /// The engine never heard of it.
    Waiter,
    Engine,
}

/// The place for it. All zero: nothing is recalled.
pub struct Recall {
    word: AtomicU64,
    /// The newest request, as on the intake.
    newest: AtomicU64,
    /// Not 0: it is known to be the only one.
    adoptable: AtomicU32,
    /// Moved for who sleeps until the state changes.
    bell: AtomicU32,
}

impl Recall {
    fn state(number: Number, state: u64) -> u64 {
        number.0 << SHIFT | state
    }

    fn change(&self, number: Number, from: u64, to: u64) -> bool {
        self.word
            .compare_exchange(
                Self::state(number, from),
                Self::state(number, to),
                Ordering::SeqCst,
                Ordering::SeqCst,
            )
            .is_ok()
    }

    fn ring(&self) {
        self.bell.fetch_add(1, Ordering::SeqCst);
        sys::futex_wake(self.bell.as_ptr(), i32::MAX);
    }

    /// Sleeps while the state of this recall is `state`.
    fn sleep_while(&self, number: Number, state: u64) {
        loop {
            let sample = self.bell.load(Ordering::SeqCst);
            if self.word.load(Ordering::SeqCst) != Self::state(number, state) {
                return;
            }
            let _ = sys::futex_wait(&self.bell, sample, None);
        }
    }

    /// A waiter is about to take back what it waits for, of which this is the
    /// newest. None: another waiter does so.
    pub fn begin(&self, newest: u64) -> Option<Number> {
        let word = self.word.load(Ordering::SeqCst);
        let number = Number((word >> SHIFT) + 1);
        if word & STATE != FREE
            || self
                .word
                .compare_exchange(
                    word,
                    Self::state(number, RECALLED),
                    Ordering::SeqCst,
                    Ordering::Relaxed,
                )
                .is_err()
        {
            return None;
        }
        // The engine reads these once it met the number at the bottom of the
        // intake, where the number comes later.
        self.newest.store(newest, Ordering::Relaxed);
        self.adoptable.store(0, Ordering::Relaxed);
        Some(number)
    }

    /// It is the only one, so the engine may adopt it.
    pub fn is_single(&self) {
        self.adoptable.store(1, Ordering::Release);
    }

    /// The request was not there any more. (Nobody has met the number.)
    pub fn give_up(&self, number: Number) {
        self.word.store(Self::state(number, FREE), Ordering::SeqCst);
    }

    /// Does the engine wait for the end?
    pub fn is_awaited(&self, number: Number) -> bool {
        self.word.load(Ordering::Relaxed) == Self::state(number, AWAITED)
    }

    /// The waiter has carried it out, and is about to publish it. Whose is
    /// it? The engine's: to be followed by [`Recall::ended`].
    pub fn done(&self, number: Number) -> Owner {
        perturb::pause(4, 500);
        self.leave(number, FREE)
    }

    /// It is published.
    pub fn ended(&self, number: Number) {
        self.word
            .store(Self::state(number, ENDED), Ordering::SeqCst);
    }

    /// The waiter cannot finish it. The engine is then to be woken.
    pub fn failed(&self, number: Number) {
        if self.leave(number, LEFT) == Owner::Engine {
            self.word
                .store(Self::state(number, FAILED), Ordering::SeqCst);
        }
    }

    /// Leaves the request, unless the engine has adopted it.
    fn leave(&self, number: Number, to: u64) -> Owner {
        loop {
            if self.change(number, RECALLED, to) {
                return Owner::Waiter;
            }
            if self.change(number, AWAITED, to) {
                self.ring();
                return Owner::Waiter;
            }
            self.sleep_while(number, ADOPTING);
            if self.word.load(Ordering::SeqCst) == Self::state(number, ADOPTED) {
                return Owner::Engine;
            }
        }
    }

    /// The engine met this number at the bottom of the intake: the request,
    /// if it is still with the waiter. It stays valid until
    /// [`Recall::adopted`], or [`Recall::wait`]. Where there may be several,
    /// their end is waited for.
    pub fn adopt(&self, number: Number) -> Option<u64> {
        perturb::pause(8, 300);
        if !self.change(number, RECALLED, ADOPTING) {
            return None;
        }
        if self.adoptable.load(Ordering::Acquire) == 0 {
            self.wait(number);
            return None;
        }
        Some(self.newest.load(Ordering::Relaxed))
    }

    /// It is the engine's now.
    pub fn adopted(&self, number: Number) {
        perturb::pause(4, 300);
        self.change(number, ADOPTING, ADOPTED);
        self.ring();
    }

    /// The engine cannot adopt it, and waits until the waiter is through.
    pub fn wait(&self, number: Number) {
        self.change(number, ADOPTING, AWAITED);
        self.ring();
        self.sleep_while(number, AWAITED);
    }

    /// Did one end that the engine must see to?
    pub fn has_end(&self) -> bool {
        self.word.load(Ordering::SeqCst) & STATE >= LEFT
    }

    /// Takes that end; with a number, only if it is of this recall. Called by
    /// the engine only.
    pub fn take_end(&self, of: Option<Number>) -> Option<End> {
        let word = self.word.load(Ordering::SeqCst);
        if of.is_some_and(|number| number.0 != word >> SHIFT) {
            return None;
        }
        let end = match word & STATE {
            LEFT => End::Left(self.newest.load(Ordering::Relaxed), Number(word >> SHIFT)),
            ENDED => End::Ended,
            FAILED => End::Failed,
            _ => return None,
        };
        self.word.store(word & !STATE | FREE, Ordering::SeqCst);
        Some(end)
    }
}
