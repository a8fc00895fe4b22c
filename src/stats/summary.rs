//! What the counters add up to, as `struct aio_shim_stats` of C.
//!
//! What must hold: the struct only ever grows at its end, so that a program
//! built with an older header reads what it knows.

use super::area::Area;
use super::{KINDS, LANES, Lane, RESULTS};
use crate::request::Kind;
use crate::sync::atomic::{AtomicU64, Ordering};

/// First indices of `aio_shim_stats.requests`, the kinds: aio_read().
pub const AIO_SHIM_REQUEST_READ: i32 = 0;
/// aio_write().
pub const AIO_SHIM_REQUEST_WRITE: i32 = 1;
/// aio_readv().
pub const AIO_SHIM_REQUEST_READV: i32 = 2;
/// aio_writev().
pub const AIO_SHIM_REQUEST_WRITEV: i32 = 3;
/// aio_fsync() with O_SYNC.
pub const AIO_SHIM_REQUEST_SYNC: i32 = 4;
/// aio_fsync() with O_DSYNC.
pub const AIO_SHIM_REQUEST_DSYNC: i32 = 5;

/// Second indices of `aio_shim_stats.requests`, and those of `.lane`: served
/// in a thread of the program, at once by the one that called, or by the one
/// that waits in aio_suspend().
pub const AIO_SHIM_LANE_INLINE: i32 = 0;
/// Served by the kernel through io_uring.
pub const AIO_SHIM_LANE_RING: i32 = 1;
/// Served by worker threads.
pub const AIO_SHIM_LANE_WORKERS: i32 = 2;
/// Served by the library's engine itself: pipes, sockets and terminals, small
/// buffered writes, and what ended without being carried out.
pub const AIO_SHIM_LANE_ENGINE: i32 = 3;

/// Third indices of `aio_shim_stats.requests`, the results: success.
pub const AIO_SHIM_RESULT_SUCCEEDED: i32 = 0;
/// An error other than ECANCELED.
pub const AIO_SHIM_RESULT_FAILED: i32 = 1;
/// Ended with ECANCELED.
pub const AIO_SHIM_RESULT_CANCELLED: i32 = 2;

/// What one lane did. The times are from the submitting call to the result,
/// in nanoseconds; a percentile is at most 1/16 too large.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct aio_shim_stats_lane {
    /// Requests completed, with any result.
    pub requests: u64,
    /// Bytes read by them.
    pub bytes_read: u64,
    /// Bytes written by them.
    pub bytes_written: u64,
    /// Requests whose time was taken: all, but of those served at
    /// once one in 16.
    pub timed: u64,
    /// Mean time.
    pub mean_ns: u64,
    /// Median.
    pub p50_ns: u64,
    /// What 90 % did not exceed.
    pub p90_ns: u64,
    /// What 99 % did not exceed.
    pub p99_ns: u64,
    /// What 99.9 % did not exceed.
    pub p999_ns: u64,
    /// The longest time.
    pub longest_ns: u64,
}

/// What aio_shim_stats() tells: numbers since the process began to use AIO.
#[repr(C)]
#[derive(Clone, Copy, Default)]
#[allow(non_camel_case_types)]
pub struct aio_shim_stats {
    /// Nanoseconds since then.
    pub elapsed_ns: u64,
    /// Completed requests by kind, lane and result: indexed by
    /// AIO_SHIM_REQUEST_..., AIO_SHIM_LANE_..., AIO_SHIM_RESULT_...
    pub requests: [[[u64; 3]; 4]; 6],
    /// Completed requests that succeeded.
    pub succeeded: u64,
    /// Those that ended with an error.
    pub failed: u64,
    /// Those that ended with ECANCELED.
    pub cancelled: u64,
    /// Submissions that returned an error; not counted above.
    pub refused: u64,
    /// Bytes read by them.
    pub bytes_read: u64,
    /// Bytes written by them.
    pub bytes_written: u64,
    /// Requests queued or being carried out now.
    pub in_flight: u64,
    /// The most that were with the library's engine at once.
    pub peak_in_flight: u64,
    /// Answers of aio_cancel(), indexed by AIO_CANCELED, AIO_NOTCANCELED,
    /// AIO_ALLDONE.
    pub cancel_calls: [u64; 3],
    /// Notifications delivered; see aio_shim_overflow().
    pub notifications: u64,
    /// Those that had to wait because a queue was full.
    pub notifications_deferred: u64,
    /// Times that io_uring was refused and the workers took over.
    pub fallbacks: u64,
    /// System calls made by the library: io_uring_enter().
    pub ring_enters: u64,
    /// Transfers begun by worker threads.
    pub worker_calls: u64,
    /// Transfers made, and streams tried, by the engine.
    pub engine_calls: u64,
    /// Transfers tried in the submitting threads.
    pub inline_calls: u64,
    /// Calls that woke the sleeping engine.
    pub wakes: u64,
    /// By lane, indexed by AIO_SHIM_LANE_...
    pub lane: [aio_shim_stats_lane; 4],
}

// What C indexes with is what is counted with.
const _: () = {
    assert!(KINDS == 6 && LANES == 4 && RESULTS == 3);
    assert!(AIO_SHIM_REQUEST_READ == Kind::Read as i32 - 1);
    assert!(AIO_SHIM_REQUEST_WRITE == Kind::Write as i32 - 1);
    assert!(AIO_SHIM_REQUEST_READV == Kind::ReadVector as i32 - 1);
    assert!(AIO_SHIM_REQUEST_WRITEV == Kind::WriteVector as i32 - 1);
    assert!(AIO_SHIM_REQUEST_SYNC == Kind::Sync as i32 - 1);
    assert!(AIO_SHIM_REQUEST_DSYNC == Kind::DataSync as i32 - 1);
    assert!(AIO_SHIM_LANE_INLINE == Lane::Inline as i32);
    assert!(AIO_SHIM_LANE_RING == Lane::Ring as i32);
    assert!(AIO_SHIM_LANE_WORKERS == Lane::Workers as i32);
    assert!(AIO_SHIM_LANE_ENGINE == Lane::Engine as i32);
    assert!(AIO_SHIM_RESULT_SUCCEEDED == super::SUCCEEDED as i32);
    assert!(AIO_SHIM_RESULT_FAILED == super::FAILED as i32);
    assert!(AIO_SHIM_RESULT_CANCELLED == super::CANCELLED as i32);
};

/// Adds everything up.
pub fn read(area: &Area) -> aio_shim_stats {
    let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let mut stats = aio_shim_stats {
        elapsed_ns: crate::sys::now_ns().saturating_sub(load(&area.begun_ns)),
        refused: load(&area.refused),
        in_flight: area.submitted().saturating_sub(area.ended()),
        peak_in_flight: load(&area.peak),
        notifications: load(&area.notified),
        notifications_deferred: load(&area.deferred),
        fallbacks: load(&area.fallbacks),
        ring_enters: load(&area.ring_enters),
        engine_calls: load(&area.engine_calls),
        worker_calls: area.sum(|shard| &shard.jobs),
        inline_calls: area.sum(|shard| &shard.missed),
        wakes: area.sum(|shard| &shard.wakes),
        ..aio_shim_stats::default()
    };
    for (count, verdict) in stats.cancel_calls.iter_mut().zip(&area.verdicts) {
        *count = load(verdict);
    }
    let mut results = [0; RESULTS];
    for kind in 0..KINDS {
        for lane in 0..LANES {
            for (result, sum) in results.iter_mut().enumerate() {
                let count = area.sum(|shard| &shard.count[kind][lane][result]);
                stats.requests[kind][lane][result] = count;
                stats.lane[lane].requests += count;
                *sum += count;
            }
        }
    }
    [stats.succeeded, stats.failed, stats.cancelled] = results;
    for (index, lane) in stats.lane.iter_mut().enumerate() {
        lane.bytes_read = area.sum(|shard| &shard.bytes[0][index]);
        lane.bytes_written = area.sum(|shard| &shard.bytes[1][index]);
        stats.bytes_read += lane.bytes_read;
        stats.bytes_written += lane.bytes_written;
        let latency = &area.latency[index];
        lane.timed = latency.count();
        lane.mean_ns = latency.mean();
        lane.p50_ns = latency.percentile(50_000);
        lane.p90_ns = latency.percentile(90_000);
        lane.p99_ns = latency.percentile(99_000);
        lane.p999_ns = latency.percentile(99_900);
        lane.longest_ns = latency.longest();
    }
    stats.inline_calls += stats.lane[Lane::Inline as usize].requests;
    stats
}
