//! Waking the thread that plays the engine: an event count.
//!
//! Who comes in: everybody who gave the engine something to do, after doing
//! so; and the engine before it sleeps. What must hold: a wake costs a system
//! call only when somebody sleeps, and is never lost. The sleeper samples the
//! word, says SLEEPING, looks once more whether there is work, and then
//! sleeps only while the word still has the sampled value; the waker first
//! gives the work, then looks for SLEEPING, then moves the word, then wakes.

use crate::perturb;
use crate::sync::atomic::{AtomicI32, AtomicU32, Ordering, fence};
use crate::sys;

const AWAKE: u32 = 0;
const SLEEPING: u32 = 1;

/// The event count of the engine.
pub struct Wakeup {
    word: AtomicU32,
    state: AtomicU32,
    /// An eventfd that must be written as well, plus one; 0: the futex does.
    eventfd: AtomicI32,
}

impl Wakeup {
    pub const fn new() -> Self {
        Wakeup {
            word: AtomicU32::new(0),
            state: AtomicU32::new(AWAKE),
            eventfd: AtomicI32::new(0),
        }
    }

    /// The word a sleeper sleeps on.
    pub fn word(&self) -> &AtomicU32 {
        &self.word
    }

    /// The sleeper's first step: the value to sleep on. After it the sleeper
    /// must look once more for work and then sleep or [`Wakeup::awake`].
    pub fn prepare(&self) -> u32 {
        let sample = self.word.load(Ordering::SeqCst);
        // A swap, here and in `awake`: it costs what a SeqCst store costs,
        // and comes after the waker's swap for everybody (loom, too).
        self.state.swap(SLEEPING, Ordering::SeqCst);
        // The store comes before the look for work that follows.
        fence(Ordering::SeqCst);
        sample
    }

    /// The sleeper is back, or did not sleep.
    pub fn awake(&self) {
        self.state.swap(AWAKE, Ordering::SeqCst);
    }

    /// Wakes the sleeper if there is one; the work was given before. True: by
    /// a system call.
    pub fn wake(&self) -> bool {
        // The work that was given comes before this look.
        fence(Ordering::SeqCst);
        if self.state.load(Ordering::SeqCst) == SLEEPING
            && self.state.swap(AWAKE, Ordering::SeqCst) == SLEEPING
        {
            perturb::pause(30, 500);
            self.word.fetch_add(1, Ordering::SeqCst);
            perturb::pause(30, 500);
            self.signal();
            return true;
        }
        false
    }

    fn signal(&self) {
        let _errno = sys::KeepErrno::new();
        let eventfd = self.eventfd.load(Ordering::Relaxed);
        if eventfd > 0 {
            // The descriptor is the library's own; the close family leaves it
            // alone.
            let _ = sys::files::add(eventfd - 1, 1);
        } else {
            sys::futex_wake(self.word.as_ptr(), 1);
        }
    }

    /// From now on wakes go through `eventfd` (None: through the futex).
    pub fn set_eventfd(&self, eventfd: Option<i32>) {
        self.eventfd
            .store(eventfd.map_or(0, |fd| fd + 1), Ordering::SeqCst);
    }
}
