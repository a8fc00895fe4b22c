//! The memory the counters are in.
//!
//! What must hold: all zero is the empty state; it is a mapping of its own,
//! and shared with the [`witness`](super::witness) where there is one, so
//! that the witness reads what the process counted until its last moment. A
//! forked child maps its own.

use super::histogram::Histogram;
use super::{KINDS, LANES, RESULTS};
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys;

/// Threads that count at once should not share cache lines.
const SHARDS: usize = 16;

/// Counters of the threads that hash to one shard.
#[repr(C, align(64))]
pub struct Shard {
    /// Completed requests by kind, lane and result.
    pub count: [[[AtomicU64; RESULTS]; LANES]; KINDS],
    /// Bytes read and written, by lane.
    pub bytes: [[AtomicU64; LANES]; 2],
    /// Requests accepted for the engine, and taken back from it.
    pub queued: AtomicU64,
    pub withdrawn: AtomicU64,
    /// Requests tried inline (while times are taken), and found not in memory.
    pub tries: AtomicU64,
    pub missed: AtomicU64,
    /// Jobs begun by workers.
    pub jobs: AtomicU64,
    /// System calls that woke the engine.
    pub wakes: AtomicU64,
}

/// All counters of a process.
#[repr(C)]
pub struct Area {
    pub pid: AtomicU32,
    /// Not zero: times are taken.
    pub timing: AtomicU32,
    /// Not zero: the process wrote its report itself.
    pub reported: AtomicU32,
    /// When the process started, in the unit of /proc; 0: not known.
    pub started: AtomicU64,
    /// CLOCK_MONOTONIC at the first use of AIO.
    pub begun_ns: AtomicU64,
    /// Most requests that were with the engine at once.
    pub peak: AtomicU64,
    pub refused: AtomicU64,
    /// What aio_cancel said, by its value.
    pub verdicts: [AtomicU64; 3],
    pub fallbacks: AtomicU64,
    /// Notifications handed over, and those refused at first.
    pub notified: AtomicU64,
    pub deferred: AtomicU64,
    pub engine_calls: AtomicU64,
    pub ring_enters: AtomicU64,
    shards: [Shard; SHARDS],
    pub latency: [Histogram; LANES],
}

impl Area {
    /// A fresh area; `shared` with children (only the witness makes use of
    /// that). None: no memory.
    pub fn map(shared: bool) -> Option<&'static Area> {
        let kind = if shared {
            libc::MAP_SHARED
        } else {
            libc::MAP_PRIVATE
        };
        let at = sys::map(size_of::<Area>(), kind)?;
        // SAFETY: fresh zeroed memory of the right size, aligned to a page;
        // all zero is a valid area.
        Some(unsafe { &*at.cast::<Area>() })
    }

    /// # Safety
    /// `area` came from `map`, and nobody else uses it.
    pub unsafe fn unmap(area: *mut Area) {
        // SAFETY: by contract.
        unsafe { libc::munmap(area.cast(), size_of::<Area>()) };
    }

    /// The shard of the calling thread. pthread_self is a register: safe in a
    /// handler and in a thread's last moments.
    pub fn shard(&self) -> &Shard {
        // SAFETY: pthread_self has no preconditions.
        let thread = unsafe { libc::pthread_self() } as u64;
        let hash = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
        &self.shards[hash as usize % SHARDS]
    }

    /// Sum over the shards.
    pub fn sum(&self, counter: impl Fn(&Shard) -> &AtomicU64) -> u64 {
        self.shards
            .iter()
            .map(|shard| counter(shard).load(Ordering::Relaxed))
            .sum()
    }

    /// Requests accepted for the engine, ever.
    pub fn submitted(&self) -> u64 {
        self.sum(|shard| &shard.queued)
    }

    /// Those that are complete, or were taken back.
    pub fn ended(&self) -> u64 {
        let mut ended = self.sum(|shard| &shard.withdrawn);
        for kind in 0..KINDS {
            // Lane 0 is inline: never queued.
            for lane in 1..LANES {
                for result in 0..RESULTS {
                    ended += self.sum(|shard| &shard.count[kind][lane][result]);
                }
            }
        }
        ended
    }
}
