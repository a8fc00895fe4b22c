//! The report as one JSON object, for programs.

use core::fmt::{self, Write};

use super::report::Header;
use super::summary::{aio_shim_stats, aio_shim_stats_lane};
use super::{KIND_NAMES, LANE_NAMES, RESULT_NAMES};

/// What names the process in the object.
pub fn mark(out: &mut dyn Write, header: &Header) -> fmt::Result {
    write!(
        out,
        "\"pid\":{},\"started\":{},",
        header.pid, header.started
    )
}

/// Writes the object, on one line.
pub fn write(out: &mut dyn Write, header: &Header, stats: &aio_shim_stats) -> fmt::Result {
    write!(out, "{{\"aio_shim\":\"{}\",", header.version)?;
    mark(out, header)?;
    out.write_str("\"program\":")?;
    string(out, header.program)?;
    write!(
        out,
        ",\"end\":\"{}\",\"elapsed_ns\":{}",
        header.end.as_key(),
        stats.elapsed_ns
    )?;
    out.write_str(",\"requests\":{")?;
    members(out, &KIND_NAMES, |out, kind| {
        out.write_char('{')?;
        members(out, &LANE_NAMES, |out, lane| {
            out.write_char('{')?;
            members(out, &RESULT_NAMES, |out, result| {
                write!(out, "{}", stats.requests[kind][lane][result])
            })
        })
    })?;
    for (name, value) in [
        ("succeeded", stats.succeeded),
        ("failed", stats.failed),
        ("cancelled", stats.cancelled),
        ("refused", stats.refused),
        ("bytes_read", stats.bytes_read),
        ("bytes_written", stats.bytes_written),
        ("in_flight", stats.in_flight),
        ("peak_in_flight", stats.peak_in_flight),
    ] {
        write!(out, ",\"{name}\":{value}")?;
    }
    let [cancelled, not_cancelled, all_done] = stats.cancel_calls;
    write!(
        out,
        ",\"cancel_calls\":{{\"cancelled\":{cancelled},\"not_cancelled\":{not_cancelled},\"all_done\":{all_done}}}"
    )?;
    for (name, value) in [
        ("notifications", stats.notifications),
        ("notifications_deferred", stats.notifications_deferred),
        ("fallbacks", stats.fallbacks),
    ] {
        write!(out, ",\"{name}\":{value}")?;
    }
    write!(
        out,
        ",\"system_calls\":{{\"ring_enters\":{},\"workers\":{},\"engine\":{},\"inline\":{},\"wakes\":{}}}",
        stats.ring_enters, stats.worker_calls, stats.engine_calls, stats.inline_calls, stats.wakes
    )?;
    out.write_str(",\"lanes\":{")?;
    members(out, &LANE_NAMES, |out, index| lane(out, &stats.lane[index]))?;
    out.write_str("}\n")
}

fn lane(out: &mut dyn Write, lane: &aio_shim_stats_lane) -> fmt::Result {
    write!(
        out,
        "{{\"requests\":{},\"bytes_read\":{},\"bytes_written\":{},\"latency_ns\":{{\"timed\":{},\
         \"mean\":{},\"p50\":{},\"p90\":{},\"p99\":{},\"p99.9\":{},\"longest\":{}}}}}",
        lane.requests,
        lane.bytes_read,
        lane.bytes_written,
        lane.timed,
        lane.mean_ns,
        lane.p50_ns,
        lane.p90_ns,
        lane.p99_ns,
        lane.p999_ns,
        lane.longest_ns
    )
}

/// `"name":value` for each name, and the closing brace.
fn members(
    out: &mut dyn Write,
    names: &[&str],
    mut value: impl FnMut(&mut dyn Write, usize) -> fmt::Result,
) -> fmt::Result {
    for (index, name) in names.iter().enumerate() {
        if index > 0 {
            out.write_char(',')?;
        }
        write!(out, "\"{name}\":")?;
        value(out, index)?;
    }
    out.write_char('}')
}

/// A string of bytes that may be anything.
fn string(out: &mut dyn Write, text: &str) -> fmt::Result {
    out.write_char('"')?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(out, "\\{letter}")?,
            letter if (letter as u32) < 0x20 => write!(out, "\\u{:04x}", letter as u32)?,
            letter => out.write_char(letter)?,
        }
    }
    out.write_char('"')
}
