#!/usr/bin/env python3
"""
Runs the benchmarks: every contestant in turn, several times, and writes what was seen.

  run.py --quick            the must-reach table, under two minutes
  run.py                    everything; rewrites benches/results/ and the generated part of BENCHMARKS.md
  run.py --only REGEX       cells and extras whose name matches (direct-read/4k/d32/f1, notify-signal, ...)

Standard library only. `make bench` and `make bench-quick` build the programs first and call this.
"""

import argparse
import json
import mmap
import os
import re
import signal
import sys
import time

from driver import cells, extras, fio, machine, must, report, stats
from driver.contestants import GLIBC, TITLES, Runner, measure

HERE = os.path.dirname(os.path.abspath(__file__))


def arguments():
    p = argparse.ArgumentParser(description="aio_shim's benchmarks")
    p.add_argument("--lib", help="libaio_shim.so (without it: glibc, pread and io_uring only)")
    p.add_argument("--programs", default="target/bench-programs", help="where bench, spawn and empty.so are")
    p.add_argument("--dir", default="target/bench-files", help="directory for the test files, on a disk")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--only", default="", help="regular expression over names of cells and extras")
    p.add_argument("--repetitions", type=int, default=0)
    p.add_argument("--seconds", type=float, default=0, help="length of one run's window (0.2; quick: 0.1)")
    p.add_argument("--patience", type=float, default=-1,
                   help="seconds that may go into repeating runs disturbed by others (180; quick: 10)")
    p.add_argument("--nice", type=int, default=0, help="run at this priority (negative: needs root); for a machine others use")
    p.add_argument("--json", help="write the results here (default: results/bench.json, for --quick in --programs)")
    p.add_argument("--no-report", action="store_true", help="leave BENCHMARKS.md and the plots alone")
    p.add_argument("--no-fio", action="store_true")
    o = p.parse_args()
    o.seconds = o.seconds or (0.1 if o.quick else 0.2)
    return o


class Progress:
    def __init__(self):
        self.begin = time.monotonic()
        self.live = sys.stderr.isatty()

    def __call__(self, text):
        stamp = f"[{time.monotonic() - self.begin:6.1f} s] {text}"
        if self.live:
            print(f"\r\033[K{stamp}", end="", file=sys.stderr, flush=True)
        else:
            print(stamp, file=sys.stderr, flush=True)

    def end(self):
        if self.live:
            print("\r\033[K", end="", file=sys.stderr)


def verify_contestants(runner, directories, wanted_cells, say):
    """Once for each contestant and kind of file: so many requests, every 4 KiB of them looked at."""
    for kind, files in sorted({(c.kind, c.files) for c in wanted_cells}):
        for size, depth in (("4k", 32), ("64k", 8)):
            cell = cells.Cell(kind, size, depth, files)
            say(f"verify {cell.key}")
            for contestant, (argv, extra) in cell.commands(directories, 5).items():
                if contestant not in runner.absent:
                    count = "4000" if size == "4k" else "400"
                    runner.trial(contestant, argv + ["--verify", "--count", count], extra, f"verification, {cell.key}")


def read_once(directories, kind, files):
    """Reads the files past the page cache: what lies below, a host say, may know them from now on."""
    prefix, buffer = f"{directories[kind.where]}/{kind.file}{files}", mmap.mmap(-1, 1 << 20)
    for number in range(files):
        descriptor = os.open(f"{prefix}.{number}", os.O_RDONLY | os.O_DIRECT)
        while os.readv(descriptor, [buffer]) == len(buffer):
            pass
        os.close(descriptor)


def main():
    o = arguments()
    os.nice(o.nice)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was mounted or made in memory goes away then, too
    say = Progress()
    pattern = re.compile(o.only)
    wanted = lambda name: pattern.search(name) is not None
    runner = Runner(o.programs, o.lib)
    runner.patience_s = o.patience if o.patience >= 0 else 10 if o.quick else 180
    if not os.path.exists(runner.bench):
        raise SystemExit(f"run.py: {runner.bench} is not there: make bench-programs")
    chosen = [c for c in (cells.QUICK if o.quick else cells.full()) if wanted(c.key)]
    places = machine.Directories(o.dir, say)
    try:
        places.add_tmpfs()
        if any(c.kind.startswith("xfs") for c in chosen):
            places.add_xfs()
        chosen = [c for c in chosen if cells.KINDS[c.kind].where in places.paths]
        size = lambda c: c.size if cells.KINDS[c.kind].by_size else "1M"
        needed = {(c.kind, c.files, size(c)) for c in chosen} | {("hot-read", 1, "1M"), ("direct-read", 1, "1M")}
        for kind, files, size in sorted(needed):
            say(f"files for {kind}, {files}")
            runner.run([runner.bench, "prepare"] + cells.file_arguments(places.paths, cells.KINDS[kind], files, size) +
                       ["--block", str(cells.SIZES[size])], runner.environment(GLIBC), 300)
            if cells.KINDS[kind].direct:
                read_once(places.paths, cells.KINDS[kind], files)

        results = {
            "machine": machine.describe(places.paths, runner),
            "without": places.missing,
            "when": time.strftime("%Y-%m-%d %H:%M:%S %z"),
            "quick": o.quick,
            "nice": os.nice(0),
            "seconds": o.seconds,
        }
        probe = ["rw", "--seconds", "0.05", "--direct"] + cells.file_arguments(places.paths, cells.KINDS["direct-read"])
        results["backends"] = runner.check_backends(probe)
        if not o.quick:
            verify_contestants(runner, places.paths, chosen, say)

        results["cells"] = {}
        for i, cell in enumerate(chosen):
            say(f"{i + 1}/{len(chosen)} {cell.key}")
            repetitions = o.repetitions or (3 if cell.files > 1 else 5)
            results["cells"][cell.key] = measure(runner, cell.commands(places.paths, o.seconds), repetitions, cell.key)
        results["extras"] = extras.run_all(runner, places.paths, o.quick, o.seconds, o.repetitions or 5, say, wanted)
        results["fio"] = {} if o.quick or o.no_fio else fio.run_all(runner, places.paths, o.repetitions or 3, say, wanted)
    finally:
        places.close()
    say.end()
    results["took_s"] = round(time.monotonic() - say.begin, 1)
    results["failures"] = runner.failures
    results["others_cpu_share"] = stats.median(runner.disturbance) if runner.disturbance else None

    name = lambda key: cells.title(key, results["machine"]["file_systems"]["disk"])
    rows = must.table(results["cells"], results["extras"], name)
    results["must_reach"] = [vars(r) for r in rows]
    report.to_terminal(results, rows, must.preview(results["cells"], name), name)

    path = o.json or (os.path.join(o.programs, "quick.json") if o.quick or o.only else os.path.join(HERE, "results/bench.json"))
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w") as f:
        json.dump(results, f, indent=1, ensure_ascii=False)
        f.write("\n")
    print(f"\nresults: {path}")
    if not (o.quick or o.only or o.no_report):
        for written in report.to_files(results, rows, name, HERE):
            print(f"written: {written}")
    missing = [TITLES[c] for c in runner.absent]
    if missing:
        print(f"left out: {', '.join(sorted(missing))}")
    return 1 if runner.failures else 0


if __name__ == "__main__":
    sys.exit(main())
