//! The report as a table for people.

use core::fmt::{self, Write};

use super::report::Header;
use super::summary::{aio_shim_stats, aio_shim_stats_lane};
use super::{KIND_NAMES, LANE_NAMES, RESULT_NAMES};

/// What names the process in the first line.
pub fn mark(out: &mut dyn Write, header: &Header) -> fmt::Result {
    write!(out, "process {} started {}, ", header.pid, header.started)
}

/// Writes the table.
pub fn write(out: &mut dyn Write, header: &Header, stats: &aio_shim_stats) -> fmt::Result {
    write!(out, "aio_shim {} statistics: ", header.version)?;
    mark(out, header)?;
    writeln!(
        out,
        "{}, {}.{:03} s{}",
        header.program,
        stats.elapsed_ns / 1_000_000_000,
        stats.elapsed_ns / 1_000_000 % 1000,
        header.end.in_words(),
    )?;
    write!(out, "{:<20}", "  requests")?;
    for name in LANE_NAMES {
        write!(out, "{name:>12}")?;
    }
    writeln!(out, "{:>12}", "all")?;
    for (kind, name) in KIND_NAMES.iter().enumerate() {
        sums(out, name, |lane| stats.requests[kind][lane].iter().sum())?;
    }
    for (result, name) in RESULT_NAMES.iter().enumerate() {
        sums(out, name, |lane| {
            stats.requests.iter().map(|kind| kind[lane][result]).sum()
        })?;
    }
    sums(out, "KiB read", |lane| stats.lane[lane].bytes_read / 1024)?;
    sums(out, "KiB written", |lane| {
        stats.lane[lane].bytes_written / 1024
    })?;
    if stats.lane.iter().any(|lane| lane.timed > 0) {
        writeln!(out, "  latency, us")?;
        times(out, "mean", stats, |lane| lane.mean_ns)?;
        times(out, "50 %", stats, |lane| lane.p50_ns)?;
        times(out, "90 %", stats, |lane| lane.p90_ns)?;
        times(out, "99 %", stats, |lane| lane.p99_ns)?;
        times(out, "99.9 %", stats, |lane| lane.p999_ns)?;
        times(out, "longest", stats, |lane| lane.longest_ns)?;
    }
    writeln!(
        out,
        "  in flight {}, at most {}; refused at submission {}",
        stats.in_flight, stats.peak_in_flight, stats.refused
    )?;
    let [cancelled, not_cancelled, all_done] = stats.cancel_calls;
    if cancelled + not_cancelled + all_done > 0 {
        writeln!(
            out,
            "  aio_cancel: {cancelled} cancelled, {not_cancelled} not cancelled, {all_done} all done"
        )?;
    }
    writeln!(
        out,
        "  notifications {}, deferred by full queues {}",
        stats.notifications, stats.notifications_deferred
    )?;
    writeln!(
        out,
        "  system calls: io_uring_enter {}, transfers by workers {}, engine {}, callers {}; wakes {}",
        stats.ring_enters, stats.worker_calls, stats.engine_calls, stats.inline_calls, stats.wakes
    )?;
    if stats.fallbacks > 0 {
        writeln!(out, "  io_uring refused {} times", stats.fallbacks)?;
    }
    Ok(())
}

/// A row of sums by lane, if there is anything in it.
fn sums(out: &mut dyn Write, name: &str, value: impl Fn(usize) -> u64) -> fmt::Result {
    let values: [u64; LANE_NAMES.len()] = core::array::from_fn(value);
    let all: u64 = values.iter().sum();
    if all == 0 {
        return Ok(());
    }
    write!(out, "    {name:<16}")?;
    for value in values {
        write!(out, "{value:>12}")?;
    }
    writeln!(out, "{all:>12}")
}

/// A row of times by lane.
fn times(
    out: &mut dyn Write,
    name: &str,
    stats: &aio_shim_stats,
    value: fn(&aio_shim_stats_lane) -> u64,
) -> fmt::Result {
    write!(out, "    {name:<16}")?;
    for lane in &stats.lane {
        if lane.timed == 0 {
            write!(out, "{:>12}", "-")?;
        } else {
            let ns = value(lane);
            write!(out, "{:>10}.{}", ns / 1000, ns / 100 % 10)?;
        }
    }
    writeln!(out)
}
