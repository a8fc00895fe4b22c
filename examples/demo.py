#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""The demo: the same programs on glibc's AIO, on the ring and on the workers.

First the example programs, unmodified, with and without the preload; then fio's
posixaio engine with crc32c verification of every block. Prints one table, writes
demo.json and table.md. Exit status 1 when anything failed.
"""

import argparse
import json
import os
import pathlib
import platform
import re
import shlex
import statistics
import subprocess
import sys

from measure import run_measured

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent

PLAIN = ["busy_wait", "suspend", "listio", "sigio", "sigev_thread"]
LOSING = "full_queue"  # right with the library only
INLINE = ["busy_wait"]  # may never need a backend
LINKED = ["waitcomplete", "epoll_loop", "readv_writev"]

DIRECT_READ = ["--rw=randread", "--filename=read.dat", "--direct=1"]
# (title, operations counted for IOPS and latency, fio options)
WORKLOADS = [
    ("random read 4 KiB, O_DIRECT, depth 32", "read", DIRECT_READ + ["--iodepth=32", "--size=160m"]),
    ("random read 4 KiB, O_DIRECT, depth 1", "read", DIRECT_READ + ["--iodepth=1", "--size=48m"]),
    ("random write 4 KiB, O_DIRECT, depth 32", "write",
     ["--rw=randwrite", "--filename=write.dat", "--direct=1", "--iodepth=32", "--size=64m"]),
    ("random read 4 KiB, page cache, depth 32", "read",
     ["--rw=randread", "--filename=read.dat", "--direct=0", "--invalidate=0", "--iodepth=32", "--size=160m"]),
]
COMMON = ["--name=demo", "--ioengine=posixaio", "--bs=4k", "--verify=crc32c", "--verify_fatal=1",
          "--group_reporting", "--output-format=json"]
FILE_SIZE = "160m"


class Demo:
    def __init__(self, options):
        self.library = pathlib.Path(options.library).resolve() if options.library else None
        self.out = pathlib.Path(options.out).resolve()
        self.compiler = shlex.split(os.environ.get("CC") or "cc")
        self.repeats = options.repeats
        self.failures = []
        self.out.mkdir(parents=True, exist_ok=True)
        self.contestants = {"glibc": {}}
        self.refused = None

    def fail(self, message):
        self.failures.append(message)
        print(f"FAILED: {message}")

    def environment(self, contestant):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AIO_SHIM_")}
        environment.pop("LD_PRELOAD", None)
        environment["TMPDIR"] = str(self.out)
        environment.update(self.contestants[contestant])
        return environment

    def find_backends(self):
        """Which contestants can run here: the library says itself what serves."""
        if not self.library:
            return
        if not self.library.exists():
            raise SystemExit(f"demo: no library at {self.library}: run make first")
        preload = {"LD_PRELOAD": str(self.library), "AIO_SHIM_VERBOSE": "1"}
        self.contestants["auto"] = preload
        said = subprocess.run([self.out / "suspend"], env=self.environment("auto"), text=True,
                              stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, timeout=60).stderr
        del self.contestants["auto"]
        line = next((l for l in said.splitlines() if "aio_shim: backend=" in l), None)
        if not line:
            raise SystemExit(f"demo: {self.library} does not say which backend serves; is it loaded at all?\n{said}")
        print(line)
        if "backend=uring" in line:
            self.contestants["ring"] = {**preload, "AIO_SHIM_BACKEND": "uring"}
        else:
            self.refused = line
        self.contestants["workers"] = {**preload, "AIO_SHIM_BACKEND": "threads"}

    def served_by(self, contestant, said, inline=False):
        """Without this a library that failed to load would be measured as glibc.

        `inline`: small cached reads only, which can all be served in the caller; no backend starts
        then and none is named. That the library loads has been seen in find_backends().
        """
        if contestant == "glibc":
            return "aio_shim:" not in said
        wanted = {"ring": "uring", "workers": "threads"}[contestant]
        named = re.findall(r"aio_shim: backend=(\w+)", said)
        return set(named) == {wanted} or (inline and not named and "cannot be preloaded" not in said)

    # The example programs

    def compile(self, name, *link):
        command = self.compiler + ["-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(self.out / name),
                                   str(HERE / f"{name}.c"), *link, "-pthread", "-lrt"]
        built = subprocess.run(command, text=True, stderr=subprocess.PIPE)
        if built.returncode != 0:
            self.fail(f"{shlex.join(command)}\n{built.stderr}")
        return built.returncode == 0

    def run_example(self, name, contestant):
        try:
            run = subprocess.run([self.out / name], env=self.environment(contestant), text=True,
                                 capture_output=True, timeout=60)
        except subprocess.TimeoutExpired:
            return "no end within 60 s", False
        if not self.served_by(contestant, run.stderr, name in INLINE):
            return f"served by another backend: {run.stderr.strip()}", False
        words = [l for l in run.stderr.splitlines() if not l.startswith(("aio_shim: backend=", "aio_shim: overflow"))]
        if run.returncode != 0 and not run.stdout:
            words.append(f"exit status {run.returncode}")
        return "\n".join([run.stdout.strip()] + words), run.returncode == 0

    def examples(self):
        print("\n== Programs against <aio.h>, compiled once with plain cc; the preload is the only difference ==")
        for name in PLAIN:
            results = {who: self.run_example(name, who) for who in self.contestants}
            for who, (said, good) in results.items():
                if not good:
                    self.fail(f"{name} on {who}: {said}")
            if len({said for said, _ in results.values()}) == 1:
                same = f"same on {', '.join(results)}" if len(results) > 1 else "glibc only"
                print(f"  {results['glibc'][0]:<52} [{same}]")
            else:
                self.fail(f"{name} differs: {results}")

        print("\n== The kernel's signal queue full (room for 8 signals) ==")
        for who in self.contestants:
            said, good = self.run_example(LOSING, who)
            print(f"  {who:<8} {said}")
            if not good and who != "glibc":
                self.fail(f"{LOSING} on {who}: {said}")

    def linked_examples(self):
        if not self.library:
            return
        print("\n== Programs linked with -laio_shim, for what POSIX has no name for ==")
        folder = self.out / "lib"
        folder.mkdir(exist_ok=True)
        for link in ("libaio_shim.so", "libaio_shim.so.0"):
            (folder / link).unlink(missing_ok=True)
            (folder / link).symlink_to(self.library)
        for name in LINKED:
            if not self.compile(name, f"-I{ROOT / 'include'}", f"-L{folder}", "-laio_shim", f"-Wl,-rpath,{folder}"):
                continue
            results = {}
            for who in self.contestants:
                if who == "glibc":
                    continue
                results[who] = self.run_example(name, who)
                if not results[who][1]:
                    self.fail(f"{name} on {who}: {results[who][0]}")
            lines = " / ".join(sorted({said for said, _ in results.values()}))
            print(f"  {lines:<52} [{', '.join(results)}]")

    # fio

    def prepare_files(self):
        try:
            probe = self.out / "probe"
            os.close(os.open(probe, os.O_CREAT | os.O_RDWR | os.O_DIRECT))
            self.direct = True
        except OSError:
            self.direct = False
            print("this file system refuses O_DIRECT: buffered instead, so every row is a page-cache row")
        finally:
            probe.unlink(missing_ok=True)
        # Both are written once before, so that no contestant pays for allocating blocks.
        for name in ("read.dat", "write.dat"):
            command = ["fio", *COMMON, "--ioengine=psync", "--rw=write", "--do_verify=0", f"--size={FILE_SIZE}",
                       f"--filename={name}", "--end_fsync=1", "--output=prepare.json"]
            subprocess.run(command, cwd=self.out, check=True, timeout=120)

    def fio(self, contestant, options):
        """One run: the parsed job and what it cost, or None when anything was wrong."""
        if not self.direct:
            options = [o.replace("--direct=1", "--direct=0") for o in options]
        command = ["fio", *COMMON, *options, "--output=fio.json"]
        (self.out / "fio.json").unlink(missing_ok=True)
        cost = run_measured(command, self.environment(contestant), self.out, limit=120)
        where = f"fio on {contestant}: {shlex.join(command)}"
        if cost.status != 0:
            self.fail(f"{where}: {cost.ending}\n{cost.stderr.strip()}")
            return None
        if not self.served_by(contestant, cost.stderr, "--direct=0" in options):
            self.fail(f"{where}: served by another backend than asked for\n{cost.stderr.strip()}")
            return None
        job = json.loads((self.out / "fio.json").read_text())["jobs"][0]
        if job["error"] or job.get("total_err"):
            self.fail(f"{where}: error {job['error']}")
            return None
        return job, cost

    def start_up_cpu(self):
        """fio's own CPU seconds before and after the I/O, to be taken off each run."""
        runs = [self.fio("glibc", [*DIRECT_READ, "--size=4k"]) for _ in range(3)]
        return statistics.median([cost.cpu_seconds for _, cost in filter(None, runs)] or [0.0])

    def measure(self):
        print(f"\n== fio posixaio, crc32c of every block verified, {self.repeats} interleaved repetitions, medians ==")
        self.prepare_files()
        idle = self.start_up_cpu()
        names = list(self.contestants)
        rows = []
        for title, counted, options in WORKLOADS:
            seen = {who: [] for who in names}
            for turn in range(self.repeats):
                for who in names[turn % len(names):] + names[:turn % len(names)]:
                    result = self.fio(who, options)
                    if result is None:
                        continue
                    job, cost = result
                    operations = job["read"]["total_ios"] + job["write"]["total_ios"]
                    seen[who].append({
                        "iops": job[counted]["iops"],
                        "latency_us": job[counted]["lat_ns"]["mean"] / 1000,
                        "cpu_us_per_op": max(cost.cpu_seconds - idle, 0) * 1e6 / operations,
                        "switches_per_op": cost.switches / operations,
                        "threads": cost.peak_threads,
                    })
            if not self.direct:
                title = title.replace("O_DIRECT", "buffered")
            row = {"workload": title, "options": options, "contestants": {}}
            for who, runs in seen.items():
                if runs:
                    row["contestants"][who] = {k: statistics.median(r[k] for r in runs) for k in runs[0]}
                    row["contestants"][who]["iops_of_each_run"] = [round(r["iops"]) for r in runs]
            rows.append(row)
            print_row(row)
        for leftover in ("read.dat", "write.dat", "fio.json", "prepare.json"):
            (self.out / leftover).unlink(missing_ok=True)
        return rows


def ratio(row, who):
    base = row["contestants"].get("glibc")
    if who == "glibc" or not base or not base["iops"]:
        return ""
    return f"{row['contestants'][who]['iops'] / base['iops']:.1f}x"


def cells(row, who):
    r = row["contestants"][who]
    latency = f"{r['latency_us'] / 1000:.2f} ms" if r["latency_us"] >= 1000 else f"{r['latency_us']:.0f} us"
    return [f"{r['iops']:,.0f}", ratio(row, who), latency, f"{r['cpu_us_per_op']:.1f}",
            f"{r['switches_per_op']:.2f}", f"{r['threads']:.0f}"]


HEADINGS = ["IOPS", "", "mean latency", "CPU us/op", "switches/op", "threads"]
WIDTHS = [9, 6, 13, 10, 12, 8]


def print_row(row):
    print(f"\n{row['workload']}")
    print(" " * 10 + "".join(f"{h:>{w}}" for h, w in zip(HEADINGS, WIDTHS)))
    for who in row["contestants"]:
        print(f"  {who:<8}" + "".join(f"{c:>{w}}" for c, w in zip(cells(row, who), WIDTHS)), flush=True)


def markdown(rows):
    lines = ["| fio posixaio, crc32c verified | AIO by | IOPS | against glibc | mean latency | CPU µs an operation "
             "| context switches an operation | threads |", "|---|---|---:|---:|---:|---:|---:|---:|"]
    for row in rows:
        for who in row["contestants"]:
            title = row["workload"] if who == "glibc" else ""
            lines.append(f"| {title} | {who} | " + " | ".join(cells(row, who)).replace(" us ", " µs ") + " |")
    return "\n".join(lines) + "\n"


def explain(rows):
    deep = next((r["contestants"] for r in rows if "O_DIRECT, depth 32" in r["workload"]), {})
    if "glibc" not in deep or len(deep) < 2:
        return
    print("\nWhere it comes from")
    print("  glibc runs one request at a time per descriptor, so 32 reads of one file keep the disk as busy as one, and")
    print(f"  each is handed to a thread and back: {deep['glibc']['switches_per_op']:.2f} context switches an operation.")
    if "ring" in deep:
        print("  ring: whatever has arrived goes to the kernel with one io_uring_enter() and completions come back in batches:")
        print(f"  {deep['ring']['switches_per_op']:.2f} switches an operation, and the whole depth is on the disk at once.")
    if "workers" in deep:
        print("  workers: several threads serve one descriptor at the same time; no io_uring needed.")
    print("  CPU is that of the whole process tree less fio's own start-up; threads are the peak of the tree, fio's included.")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", default=os.environ.get("LIB"), help="libaio_shim.so; empty: glibc alone")
    parser.add_argument("--out", default=str(ROOT / "target/demo"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-fio", action="store_true", help="the example programs only")
    options = parser.parse_args()

    demo = Demo(options)
    for name in PLAIN + [LOSING]:
        demo.compile(name)
    if demo.failures:
        return 1
    demo.find_backends()
    demo.examples()
    demo.linked_examples()
    rows = []
    if not options.no_fio:
        rows = demo.measure()
        explain(rows)
    if demo.refused:
        print(f"\nio_uring is refused here, so there is no row for the ring: {demo.refused}")

    fio_version = "" if options.no_fio else subprocess.run(["fio", "--version"], text=True, stdout=subprocess.PIPE).stdout.strip()
    model = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    report = {
        "machine": {"kernel": platform.release(), "cpus": os.cpu_count(), "cpu": model.group(1) if model else platform.machine(),
                    "libc": " ".join(platform.libc_ver()), "fio": fio_version},
        "repeats": options.repeats, "failures": demo.failures, "ring_refused": demo.refused, "rows": rows,
    }
    if rows:
        (demo.out / "demo.json").write_text(json.dumps(report, indent=1) + "\n")
        (demo.out / "table.md").write_text(markdown(rows))
        print(f"\nFigures in {os.path.relpath(demo.out / 'demo.json')}, "
              f"as a table in {os.path.relpath(demo.out / 'table.md')}")
    print(f"demo: {len(demo.failures)} failed" if demo.failures else "demo: all right")
    return 1 if demo.failures else 0


if __name__ == "__main__":
    sys.exit(main())
