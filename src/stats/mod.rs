//! Counters of what was done, by kind, lane and result, and latencies.
//!
//! Who comes in: submissions, lanes and completions (in application threads
//! and signal handlers, too) to count; `aio_shim_stats`, the end of the
//! process and the [`witness`] to read. What must hold: counting is a few
//! relaxed additions, without a lock or an allocation, in memory of constant
//! size; counters are always on, times are taken only when somebody asked for
//! them (AIO_SHIM_STATS, or a first call of aio_shim_stats).
//!
//! | module | subject |
//! |---|---|
//! | [`area`] | the memory the counters are in |
//! | [`histogram`] | latencies in constant memory |
//! | [`summary`] | what they add up to: `struct aio_shim_stats` |
//! | [`report`], [`text`], [`json`] | the report at the end, and where it goes |
//! | [`witness`] | a process that writes it where no destructor runs |

mod area;
mod histogram;
mod json;
mod report;
mod summary;
#[cfg(test)]
mod tests;
mod text;
mod witness;

use std::ffi::c_int;

use crate::abi::Aiocb;
use crate::config::{self, Config};
use crate::process::Runtime;
use crate::request::{self, Kind, Outcome};
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sys;

use area::Area;

pub use report::remember_file;
pub use summary::aio_shim_stats;

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

pub const LANES: usize = 4;
pub const KINDS: usize = 6;
pub const RESULTS: usize = 3;
const SUCCEEDED: usize = 0;
const FAILED: usize = 1;
const CANCELLED: usize = 2;

const LANE_NAMES: [&str; LANES] = ["inline", "ring", "workers", "engine"];
const KIND_NAMES: [&str; KINDS] = ["read", "write", "readv", "writev", "sync", "datasync"];
const RESULT_NAMES: [&str; RESULTS] = ["succeeded", "failed", "cancelled"];

/// Of the requests served inline one in so many is timed: reading the clock
/// twice costs a noticeable part of one.
const SAMPLING: u64 = 16;

/// The counters of a process.
pub struct Stats {
    area: AtomicPtr<Area>,
}

impl Stats {
    /// Counters at zero. None: no memory.
    pub fn new(config: &Config) -> Option<Stats> {
        let reports = wants_report(config);
        let area = Area::map(reports)?;
        if reports {
            area.timing.store(1, Ordering::Relaxed);
        }
        Some(Stats {
            area: AtomicPtr::new(std::ptr::from_ref(area).cast_mut()),
        })
    }

    /// Of two runtimes that were made at once this one is not used.
    pub fn discard(&self) {
        // SAFETY: made by `new`, and nobody else saw it.
        unsafe { Area::unmap(self.area.load(Ordering::Relaxed)) };
    }

    fn area(&self) -> &'static Area {
        // SAFETY: set by `new` before anybody sees the runtime, and never
        // unmapped afterwards.
        unsafe { &*self.area.load(Ordering::Relaxed) }
    }

    /// Called once, when the process begins to use AIO.
    pub fn begin(&self, runtime: &'static Runtime) {
        let area = self.area();
        CURRENT.store(std::ptr::from_ref(area).cast_mut(), Ordering::Relaxed);
        area.begun_ns.store(sys::now_ns(), Ordering::Relaxed);
        // SAFETY: getpid has no preconditions.
        area.pid
            .store(unsafe { libc::getpid() } as u32, Ordering::Relaxed);
        if wants_report(&runtime.config) {
            area.started.store(report::started(), Ordering::Relaxed);
            witness::start(runtime);
        }
    }

    /// A request was accepted for the engine.
    ///
    /// # Safety
    /// `cb` is claimed by the caller and not handed over.
    pub unsafe fn submit(&self, cb: Aiocb) {
        let area = self.area();
        add(&area.shard().queued, 1);
        if area.timing.load(Ordering::Relaxed) != 0 {
            // SAFETY: by contract.
            unsafe { note_begin(cb) };
        }
    }

    /// It could not be handed over after all.
    pub fn withdraw(&self) {
        add(&self.area().shard().withdrawn, 1);
    }

    /// A submission is refused: the call returns -1.
    pub fn refuse(&self) {
        add(&self.area().refused, 1);
    }

    /// The inline lane is about to be tried.
    ///
    /// # Safety
    /// As for [`Stats::submit`].
    pub unsafe fn try_inline(&self, cb: Aiocb) {
        let area = self.area();
        if area.timing.load(Ordering::Relaxed) != 0 {
            let tries = &area.shard().tries;
            // Not exact when threads share a shard, which a sample need not be.
            let count = tries.load(Ordering::Relaxed);
            tries.store(count.wrapping_add(1), Ordering::Relaxed);
            if count.is_multiple_of(SAMPLING) {
                // SAFETY: by contract.
                unsafe { note_begin(cb) };
            }
        }
    }

    /// What it would have read is not in memory.
    pub fn missed_inline(&self) {
        add(&self.area().shard().missed, 1);
    }

    /// A request is complete and about to be published.
    ///
    /// # Safety
    /// `cb` is in progress and owned by the caller.
    pub unsafe fn complete(&self, cb: Aiocb, kind: Kind, lane: Lane, outcome: Outcome) {
        let area = self.area();
        let shard = area.shard();
        let result = match outcome {
            Ok(bytes) => {
                if !kind.is_sync() {
                    add(
                        &shard.bytes[usize::from(kind.is_write())][lane as usize],
                        bytes as u64,
                    );
                }
                SUCCEEDED
            }
            Err(libc::ECANCELED) => CANCELLED,
            Err(_) => FAILED,
        };
        add(&shard.count[kind as usize - 1][lane as usize][result], 1);
        if area.timing.load(Ordering::Relaxed) != 0 {
            // SAFETY: by contract.
            let begin = unsafe { request::notes(cb) } & !request::COLLECTED;
            if begin != 0 {
                let taken = sys::now_ns().saturating_sub(begin);
                area.latency[lane as usize].record(taken);
            }
        }
    }

    /// So many requests are with the engine. Called by the engine only.
    pub fn outstanding(&self, count: usize) {
        let peak = &self.area().peak;
        if count as u64 > peak.load(Ordering::Relaxed) {
            peak.store(count as u64, Ordering::Relaxed);
        }
    }

    /// aio_cancel said this of one call.
    pub fn cancelled(&self, verdict: c_int) {
        if let Some(count) = self.area().verdicts.get(verdict as usize) {
            add(count, 1);
        }
    }

    /// A worker begins a job.
    pub fn job(&self) {
        add(&self.area().shard().jobs, 1);
    }

    /// The engine makes a transfer itself.
    pub fn engine_call(&self) {
        add(&self.area().engine_calls, 1);
    }

    /// The engine was woken by a system call.
    pub fn woke(&self) {
        add(&self.area().shard().wakes, 1);
    }

    /// io_uring was refused, at set-up or later.
    pub fn fallback(&self) {
        add(&self.area().fallbacks, 1);
    }

    /// Where the ring counts its system calls.
    pub fn ring_enters(&self) -> &'static AtomicU64 {
        &self.area().ring_enters
    }

    /// What all counters add up to. The first call begins to take times.
    pub fn read(&self) -> aio_shim_stats {
        let area = self.area();
        area.timing.store(1, Ordering::Relaxed);
        summary::read(area)
    }

    /// Requests accepted for the engine and not complete. Exact when nothing
    /// else runs, otherwise possibly too small.
    pub fn in_flight(&self) -> u64 {
        let area = self.area();
        // The submissions are read first: what is submitted and completed
        // meanwhile then counts as completed only.
        let submitted = area.submitted();
        submitted.saturating_sub(area.ended())
    }
}

/// Notes the time, if it is not yet noted, in a request.
///
/// # Safety
/// `cb` is claimed by the caller and not handed over.
unsafe fn note_begin(cb: Aiocb) {
    // SAFETY: by contract.
    unsafe {
        if request::notes(cb) & !request::COLLECTED == 0 {
            request::note(cb, sys::now_ns());
        }
    }
}

/// The counters of the process, for those who have no runtime at hand. A
/// child of fork has its parent's until it uses AIO itself, and nothing to
/// count until then.
static CURRENT: AtomicPtr<Area> = AtomicPtr::new(std::ptr::null_mut());

fn current() -> Option<&'static Area> {
    // SAFETY: null, or an area that is never unmapped.
    unsafe { CURRENT.load(Ordering::Relaxed).as_ref() }
}

/// A notification was handed over.
pub fn notified() {
    if let Some(area) = current() {
        add(&area.notified, 1);
    }
}

/// Notifications were refused at first.
pub fn deferred(count: u64) {
    if let Some(area) = current() {
        add(&area.deferred, count);
    }
}

/// Is there to be a report at the end?
fn wants_report(config: &Config) -> bool {
    !matches!(config.stats, config::Stats::Off)
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

/// At the orderly end of the process: the report is written here.
#[cfg(not(test))]
#[used]
#[unsafe(link_section = ".fini_array")]
static AT_EXIT: extern "C" fn() = at_exit;

#[cfg(not(test))]
#[unsafe(link_section = ".load_time")]
extern "C" fn at_exit() {
    if let Some(runtime) = Runtime::current()
        && wants_report(&runtime.config)
    {
        let _errno = sys::KeepErrno::new();
        report::at_exit(runtime);
    }
}
