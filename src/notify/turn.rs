//! Turns at the kernel's signal queue.
//!
//! A standard signal keeps its value only if the queue has room, which is
//! looked up just before it is sent (see `send`). Nothing else of this
//! process may take that room in between: who sends it has the queue alone.
//! Nobody waits for a turn here; who gets none comes back.

use crate::sync::atomic::{AtomicU32, Ordering};

/// Somebody has the queue alone; below, the number of those who share it.
const ALONE: u32 = 1 << 31;

/// Looks for the moment in which nobody sends.
const LOOKS: u32 = 100;

/// Who is sending.
pub(super) struct Turns(AtomicU32);

/// The right to send, beside others.
pub(super) struct Shared<'a>(&'a Turns);

/// The right to look for room and send, with nobody else sending.
pub(super) struct Alone<'a>(&'a Turns);

impl Turns {
    pub const fn new() -> Self {
        Turns(AtomicU32::new(0))
    }

    /// None: somebody has the queue alone.
    pub fn share(&self) -> Option<Shared<'_>> {
        if self.0.fetch_add(1, Ordering::Acquire) & ALONE == 0 {
            return Some(Shared(self));
        }
        self.0.fetch_sub(1, Ordering::Relaxed);
        None
    }

    /// None: somebody is sending. With another processor to send on, the gap
    /// between two of its signals is worth a few looks: about a microsecond.
    pub fn alone(&self, processors: u32) -> Option<Alone<'_>> {
        let looks = if processors > 1 { LOOKS } else { 1 };
        for _ in 0..looks {
            // Acquire and Release on this word order the system calls made
            // with a turn; the kernel does the rest.
            let free = self
                .0
                .compare_exchange(0, ALONE, Ordering::Acquire, Ordering::Relaxed);
            if free.is_ok() {
                return Some(Alone(self));
            }
            std::hint::spin_loop();
        }
        None
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(ALONE, Ordering::Release);
    }
}
