//! Lists that their caller waits for as a whole: lio_listio(LIO_WAIT).
//!
//! Who comes in: the elements that ask for no notification of their own, as
//! they are taken over and as they depart. Nobody is told of the end of one
//! before the last has ended, so while nothing else is outstanding the engine
//! need not wake for each: it sleeps in the ring until all are complete. What
//! must hold: whoever looks at a single element all the same (aio_error in
//! another thread) sees its end a short time later, [`LONGEST`], and not never:
//! it may be what makes that thread end another element of the list.

use std::time::Duration;

use crate::sys;

/// For how long after a list was taken over its elements are left to end.
const LONGEST: u64 = 4_000_000;

/// What the engine knows of such lists.
#[derive(Default)]
pub struct Patience {
    /// Elements outstanding.
    outstanding: usize,
    /// Some were taken over since the last look.
    fresh: bool,
    until: u64,
}

impl Patience {
    /// An element was taken over.
    pub fn joined(&mut self) {
        self.outstanding += 1;
        self.fresh = true;
    }

    /// An element is done.
    pub fn left(&mut self) {
        self.outstanding -= 1;
    }

    /// Are these all the requests there are?
    pub fn is_for_all(&self, outstanding: usize) -> bool {
        outstanding > 1 && self.outstanding == outstanding
    }

    /// How long may the engine wait for the end of all?
    pub fn left_over(&mut self) -> Option<Duration> {
        let now = sys::now_ns();
        if std::mem::take(&mut self.fresh) {
            self.until = now + LONGEST;
        }
        (now < self.until).then(|| Duration::from_nanos(self.until - now))
    }
}
