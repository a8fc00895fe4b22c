//! The report in both forms, from counters that are known.

use super::area::Area;
use super::report::{End, Header};
use super::*;

fn filled() -> aio_shim_stats {
    let area = Area::map(false).unwrap();
    let shard = area.shard();
    add(&shard.count[0][0][0], 5);
    add(&shard.count[1][1][1], 7);
    add(&shard.count[5][2][2], 2);
    add(&shard.bytes[0][0], 20_480);
    add(&shard.queued, 12);
    add(&area.verdicts[1], 3);
    area.latency[1].record(1_500);
    summary::read(area)
}

const HEADER: Header = Header {
    version: "1.2.3",
    program: "a \"b\\\n",
    pid: 42,
    started: 77,
    end: End::Gone,
};

#[test]
fn sums_are_sums() {
    let stats = filled();
    assert_eq!((stats.succeeded, stats.failed, stats.cancelled), (5, 7, 2));
    // Queued, and not complete: inline requests are never queued.
    assert_eq!(stats.in_flight, 12 - 7 - 2);
    assert_eq!(stats.bytes_read, 20_480);
    assert_eq!(stats.lane[1].timed, 1);
    assert_eq!(stats.lane[1].p50_ns, 1_500);
    assert_eq!(stats.inline_calls, 5);
    assert_eq!(stats.cancel_calls, [0, 3, 0]);
}

#[test]
fn json_is_balanced_and_escaped() {
    let mut out = String::new();
    json::write(&mut out, &HEADER, &filled()).unwrap();
    assert!(out.starts_with(
        "{\"aio_shim\":\"1.2.3\",\"pid\":42,\"started\":77,\"program\":\"a \\\"b\\\\\\u000a\""
    ));
    assert!(out.ends_with("}\n"));
    assert_eq!(out.matches('{').count(), out.matches('}').count());
    assert!(out.contains("\"read\":{\"inline\":{\"succeeded\":5,\"failed\":0,\"cancelled\":0}"));
    assert!(!out[..out.len() - 1].contains('\n'));
}

#[test]
fn the_table_has_a_row_for_what_happened_only() {
    let mut out = String::new();
    text::write(&mut out, &HEADER, &filled()).unwrap();
    assert!(out.contains("process 42 started 77, "));
    assert!(out.contains("datasync"));
    assert!(!out.contains("writev"));
    let row = out.lines().find(|line| line.contains("KiB read")).unwrap();
    assert_eq!(
        row.split_whitespace().collect::<Vec<_>>(),
        ["KiB", "read", "20", "0", "0", "0", "20"]
    );
    // What holds the tables together: no line is longer than a terminal.
    assert!(out.lines().all(|line| line.len() <= 120), "{out}");
}
