//! Counters of what was done, by kind, lane and result.
//!
//! Who comes in: submissions, lanes and completions. What must hold: always
//! on, atomic, without a lock; zero memory is the empty state.

use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::config::Config;
use crate::request::{Kind, Outcome};
use crate::sync::atomic::{AtomicU64, Ordering};

/// Who carried a request out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Lane {
    Inline,
    Ring,
    Workers,
    /// The engine itself: streams, small writes, refusals, cancels.
    Engine,
}

/// The counters. All zero is the empty state.
pub struct Stats {
    completed: [AtomicU64; 4],
}

impl Stats {
    pub fn begin(&self, _config: &Config) {}

    pub fn submit(&self, _cb: Aiocb) {}

    pub fn start(&self, _cb: Aiocb) {}

    pub fn complete(&self, _cb: Aiocb, _kind: Kind, lane: Lane, _outcome: Outcome) {
        self.completed[lane as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn cancelled(&self, _verdict: c_int) {}
}
