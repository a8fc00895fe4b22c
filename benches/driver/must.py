"""The "must reach" table: what was asked, what was seen."""

from dataclasses import dataclass, field
from statistics import median

from . import stats
from .cells import Cell
from .contestants import BATCH, GLIBC, RING, SYNC, TITLES, URING, WORKERS

MET, NEAR, NOT_MET, NOT_MEASURED = "met", "near", "NOT MET", "not measured"


@dataclass
class Row:
    what: str
    asked: str
    seen: str = ""
    verdict: str = NOT_MEASURED
    details: list = field(default_factory=list)


def judge(ratios, limit, at_most=False):
    """met: the median; near: it misses by less than a tenth, and the limit lies inside the middle half of the repetitions."""
    if not ratios:
        return NOT_MEASURED
    low, high = stats.middle_half(ratios)
    if at_most:
        return MET if median(ratios) <= limit else NEAR if low <= limit and median(ratios) <= limit * 1.1 else NOT_MET
    return MET if median(ratios) >= limit else NEAR if high >= limit and median(ratios) >= limit * 0.9 else NOT_MET


def number(x):
    return f"{x:.2f}" if x < 10 else f"{x:.1f}" if x < 100 else f"{x:.0f}"


def ratio_row(what, results, metric, above, below, limit, at_most=False, results_below=None):
    r = stats.ratios(results or {}, metric, above, below, results_below)
    row = Row(what, f"{'≤' if at_most else '≥'} {limit:g}", verdict=judge(r, limit, at_most))
    if r:
        row.seen = f"{number(median(r))}  ({number(min(r))} .. {number(max(r))})"
    return row


# cell, contestant, against, limit, metric
CELLS = [
    ("direct-read/4k/d1/f1", GLIBC, 1.2), ("direct-read/4k/d1/f1", URING, 0.9),
    ("direct-read/4k/d32/f1", GLIBC, 2.5), ("direct-read/4k/d32/f1", "cpu", 0.5), ("direct-read/4k/d32/f1", URING, 0.95),
    ("direct-read/4k/d128/f1", GLIBC, 2.5), ("direct-read/4k/d128/f1", URING, 1.0),
    ("direct-write/4k/d32/f1", GLIBC, 2.5), ("direct-write/4k/d32/f1", URING, 0.95),
    ("hot-read/4k/d1/f1", GLIBC, 6), ("hot-read/4k/d1/f1", SYNC, 0.65), ("hot-read/4k/d1/f1", URING, 0.9),
    ("hot-read/4k/d32/f1", GLIBC, 2), ("hot-read/4k/d32/f1", URING, 0.9),
    ("disk-write/4k/d1/f1", GLIBC, 1.2), ("disk-write/4k/d1/f1", URING, 1.0),
    ("disk-write/4k/d32/f1", GLIBC, 1.05), ("disk-write/4k/d32/f1", SYNC, 0.9), ("disk-write/4k/d32/f1", URING, 1.0),
    ("tmpfs-read/4k/d1/f1", GLIBC, 5), ("tmpfs-read/4k/d1/f1", URING, 5),
    ("tmpfs-write/4k/d1/f1", GLIBC, 3), ("tmpfs-write/4k/d1/f1", URING, 3),
]


def every_row(what, cells, wanted, above, below, limit, name):
    """One row for many cells: the worst one speaks for them."""
    found = []
    for key, results in cells.items():
        r = stats.ratios(results, "iops", above, below) if wanted(Cell.parse(key)) else []
        if r:
            found.append((median(r), key, judge(r, limit)))
    row = Row(what, f"≥ {limit:g}")
    if found:
        worst, key, _ = min(found)
        verdicts = [v for _, _, v in found]
        row.verdict = NOT_MET if NOT_MET in verdicts else NEAR if NEAR in verdicts else MET
        row.seen = f"{number(worst)} in the worst of {len(found)} ({name(key)}); {verdicts.count(MET)} met"
        row.details = [f"{name(k)}: {number(m)} ({v})" for m, k, v in sorted(found) if v != MET]
    return row


def table(cells, extras, name):
    rows = []
    for key, against, limit in CELLS:
        results = cells.get(key, {})
        if against == "cpu":
            rows.append(ratio_row(f"{name(key)}: CPU an operation / glibc", results, "cpu_us_per_op", RING, GLIBC, limit, True))
        else:
            rows.append(ratio_row(f"{name(key)}: ring / {TITLES[against]}", results, "iops", RING, against, limit))

    big = lambda c: c.size == "1M" and c.files == 1
    rows.append(every_row("1M reads and writes, any: ring / glibc", cells, big, RING, GLIBC, 1.0, name))
    rows.append(every_row("1M reads and writes, any: ring / io_uring port", cells, big, RING, URING, 0.95, name))
    rows.append(every_row("every cell: workers / glibc", cells, lambda c: c.files == 1, WORKERS, GLIBC, 1.0, name))
    rows.append(ratio_row("O_DIRECT 4k read, depth 32: workers / glibc", cells.get("direct-read/4k/d32/f1"), "iops",
                          WORKERS, GLIBC, 2))
    return rows + more(extras)


def more(extras):
    rows = []
    e = lambda key: extras.get(key, {})

    for metric, what in (("enters_per_list", "io_uring_enter"), ("per_list", "all system calls")):
        calls = [x for x in stats.values(e("list-syscalls"), RING, metric) if x is not None]
        rows.append(Row(f"lio_listio of 64 direct reads, by the engine for a list (strace): {what}", "≤ 2",
                        f"{calls[0]:.2f}" if calls else "", judge([round(x, 1) for x in calls], 2, True)))
    for kind in ("hot", "direct"):
        for c in (RING, WORKERS):
            rows.append(ratio_row(f"lio_listio of 64 {kind} reads: {c} / glibc", e(f"list-{kind}"), "iops", c, GLIBC, 3))
    for c in (RING, WORKERS):
        rows.append(ratio_row(f"64 waiting threads / 8: {c}", e("waiters-64"), "iops", c, c, 0.9, False, e("waiters-8")))

    p50 = stats.values(e("call-direct"), RING, "call_ns.p50")
    p99 = stats.values(e("call-direct"), RING, "call_ns.p99")
    wake = stats.summary(e("wake"), SYNC, "wake_ns.p50")
    pairs = [(a, b) for a, b in zip(p50, p99) if a and b]
    row = Row("aio_read on the ring lane: p99 of the call / (3 medians + one wake)", "≤ 1")
    if pairs and wake:
        r = [b / (3 * a + wake[0]) for a, b in pairs]
        row.verdict = judge(r, 1, True)
        row.seen = (f"{number(median(r))}  (p50 {median(a for a, _ in pairs):.0f} ns, "
                    f"p99 {median(b for _, b in pairs):.0f} ns, wake {wake[0]:.0f} ns)")
    rows.append(row)

    for how, metric, what in (("file", "us_per_op", "reads of a file"), ("waiting", "us_per_op", "reads that wait"),
                              ("waiting", "file_us_per_op", "file reads beside waiting ones")):
        for c in (RING, WORKERS):
            rows.append(ratio_row(f"an operation at 100 000 outstanding / at 1 000: {what}, {c}",
                                  e(f"outstanding-{how}-100000"), metric, c, c, 1.3, True, e(f"outstanding-{how}-1000")))

    base = stats.summary(e("memory-none"), SYNC, "before_kib")
    for what, key, metric, limit in (("after 1 000 reads", "idle", "idle_kib", 2), ("100 000 outstanding", "outstanding",
                                                                                   "outstanding_kib", 16)):
        for c in (RING, WORKERS):
            v = [(x - base[0]) / 1024 for x in stats.values(e(f"memory-{key}"), c, metric) if x is not None] if base else []
            rows.append(Row(f"resident memory over the program's own, MiB: {what}, {c}", f"< {limit}",
                            number(median(v)) if v else "", judge(v, limit, True)))
    start = e("start-up")
    for metric, what in (("wall_us", "time"), ("cpu_us", "CPU")):
        rows.append(ratio_row(f"start-up of an unaware process: {what}, aio_shim / empty library", start, metric,
                              "aio_shim", "empty library", 1.05, True))

    for c in (RING, WORKERS):
        rows.append(ratio_row(f"RT signals a second: {c} / glibc", e("notify-signal"), "iops", c, GLIBC, 1))
        rows.append(ratio_row(f"SIGEV_THREAD callbacks a second: {c} / glibc", e("notify-thread"), "iops", c, GLIBC, 5))
        rows.append(ratio_row(f"completion rate with signal / without, O_DIRECT reads: {c}", e("notify-direct-signal"), "iops", c, c,
                              0.8, False, e("notify-direct-none")))
        for how, title in (("ignored", "a signal that the program ignores"), ("signal", "a signal that it takes"),
                           ("eventfd", "eventfd")):
            rows.append(ratio_row(f"completion rate with {title} / without, cached reads: {c}", e(f"notify-{how}"), "iops", c, c, 0.8,
                                  False, e("notify-none")))
    return rows


def preview(cells, name):
    """How glibc stands to the ported program: what there is to win, also before the library is built."""
    rows = []
    for key in sorted({k for k, _, _ in CELLS}, key=[k for k, _, _ in CELLS].index):
        for c in (URING, BATCH):
            row = ratio_row(f"{name(key)}: {TITLES[c]} / glibc", cells.get(key), "iops", c, GLIBC, 0)
            rows.append(Row(row.what, "", row.seen, "" if row.seen else NOT_MEASURED))
    return rows
