//! A bell: one futex word that counts strokes.
//!
//! Who waits samples the count while it holds the lock, gives the lock back,
//! and sleeps unless the count moved; who rings has changed something under
//! the lock before. So no stroke is lost between the look and the sleep.
//! Ringing neither locks nor allocates: an application's thread may do it,
//! also in a handler.

use std::time::Duration;

use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sys;

pub(super) struct Bell {
    strokes: AtomicU32,
}

impl Bell {
    pub const fn new() -> Self {
        Bell {
            strokes: AtomicU32::new(0),
        }
    }

    /// Wakes up to `count` sleepers.
    pub fn ring(&self, count: i32) {
        // Relaxed: what the sleeper needs to see is behind the lock; the
        // futex call orders the count against the sleeper's comparison.
        self.strokes.fetch_add(1, Ordering::Relaxed);
        sys::futex_wake(&self.strokes, count);
    }

    /// Sleeps unless the bell rang since `sampled`, for `limit` at most.
    pub fn wait(&self, sampled: u32, limit: Option<Duration>) {
        // Woken, changed, interrupted and timed out are all the same: the
        // caller looks at its state again.
        let _ = sys::futex_wait(&self.strokes, sampled, limit);
    }

    /// The count to compare with; to be read with the lock held.
    pub fn sample(&self) -> u32 {
        self.strokes.load(Ordering::Relaxed)
    }
}
