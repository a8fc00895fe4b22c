//! Who is there: callback threads, and requests that count on one.
//!
//! Who comes in: a submitting thread, maybe in a handler, so nothing here
//! locks or allocates; and the callback threads. What must hold: while a
//! request counts on a thread, the last one does not leave. Both numbers are
//! in one word, so that neither can change between a look and a step.

use std::time::Duration;

use super::bell::Bell;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The part of the crew's state that a submitting thread may touch: how many
/// threads there are (upper half, signed: the maker counts a thread after it
/// may have ended) and for how many accepted requests one is secured.
pub(super) struct Muster {
    word: AtomicU64,
    /// A thread sleeps without limit because of what is secured.
    kept: AtomicBool,
    /// Rung for idle threads.
    pub bell: Bell,
}

const THREAD: u64 = 1 << 32;

fn threads_of(word: u64) -> u32 {
    ((word >> 32) as i32).max(0) as u32
}

fn secured_of(word: u64) -> u32 {
    word as u32
}

impl Muster {
    pub const fn new() -> Self {
        Muster {
            word: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            bell: Bell::new(),
        }
    }

    pub fn threads(&self) -> u32 {
        threads_of(self.word.load(Ordering::Relaxed))
    }

    /// Counts a request that will need a thread. True: there is one, and it
    /// stays. One word holds both numbers, so the last thread cannot leave
    /// between the look and the count.
    pub fn secure(&self) -> bool {
        threads_of(self.word.fetch_add(1, Ordering::AcqRel)) > 0
    }

    /// The request's callback is begun, or the request was not accepted.
    pub fn release(&self) {
        let before = self.word.fetch_sub(1, Ordering::SeqCst);
        // SeqCst here and in `sleep`: either this load sees that a thread
        // is kept, or that thread sees that nothing is secured.
        if secured_of(before) == 1 && self.kept.load(Ordering::SeqCst) {
            self.bell.ring(i32::MAX);
        }
    }

    pub fn joined(&self) {
        self.word.fetch_add(THREAD, Ordering::AcqRel);
    }

    pub fn died(&self) {
        self.word.fetch_sub(THREAD, Ordering::AcqRel);
    }

    /// A thread without work wants to leave. False: it is needed, or its
    /// maker has not counted it yet.
    pub fn leave(&self) -> bool {
        self.word
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |word| {
                let threads = threads_of(word);
                let needed = threads == 0 || threads == 1 && secured_of(word) > 0;
                (!needed).then(|| word.wrapping_sub(THREAD))
            })
            .is_ok()
    }

    /// Sleeps until the bell rings after `sampled`, or for `limit`; without
    /// limit if this thread may not leave anyway.
    pub fn sleep(&self, sampled: u32, limit: Duration) {
        self.kept.store(true, Ordering::SeqCst);
        let word = self.word.load(Ordering::SeqCst);
        let needed = threads_of(word) == 1 && secured_of(word) > 0;
        if !needed {
            self.kept.store(false, Ordering::Relaxed);
        }
        self.bell.wait(sampled, (!needed).then_some(limit));
    }

    /// Requests that will need a thread.
    pub fn secured(&self) -> u32 {
        secured_of(self.word.load(Ordering::Relaxed))
    }
}
