"""fio's posixaio engine, a program no one here wrote, under glibc and the library; its io_uring engine beside it."""

import json
import os
import shutil

from . import stats
from .contestants import GLIBC, RING, URING, WORKERS, Failed

# name: rw, direct, depth, bytes of the file
JOBS = {
    "randread 4k O_DIRECT, depth 1": ("randread", 1, 1, "512m"),
    "randread 4k O_DIRECT, depth 32": ("randread", 1, 32, "512m"),
    "randwrite 4k O_DIRECT, depth 32": ("randwrite", 1, 32, "512m"),
    "randread 4k hot, depth 32": ("randread", 0, 32, "64m"),
    "randwrite 4k buffered, depth 32": ("randwrite", 0, 32, "256m"),
}
CONTESTANTS = [GLIBC, RING, WORKERS, URING]


def run_all(runner, directories, repetitions, say, wanted):
    fio = shutil.which("fio")
    if fio is None:
        say("fio is not installed: its cells are left out")
        return {}
    out = {}
    for name, (rw, direct, depth, size) in JOBS.items():
        if not wanted("fio " + name):
            continue
        say("fio " + name)
        results = {c: [] for c in CONTESTANTS if c not in runner.absent}
        file = os.path.join(directories["disk"], f"fio-{size}")
        try:  # laid out, and in the page cache, before anybody is measured
            runner.run([fio, "--name=layout", f"--filename={file}", f"--size={size}", "--rw=write", "--bs=1m", "--end_fsync=1",
                        "--output-format=json"], runner.environment(GLIBC), 120)
        except Failed as why:
            runner.note(f"fio {name}: laying out {file}: {why}")
            continue
        for repetition in range(repetitions):
            for c in results if repetition % 2 == 0 else reversed(results):
                argv = [fio, "--name=job", f"--filename={file}", f"--size={size}", f"--rw={rw}", "--bs=4k", f"--direct={direct}",
                        f"--iodepth={depth}", f"--ioengine={'io_uring' if c == URING else 'posixaio'}", "--time_based",
                        "--runtime=2", "--ramp_time=0", "--invalidate=0", "--randrepeat=0", "--norandommap", "--overwrite=1",
                        "--output-format=json"]
                results[c].append(one(runner, argv, c, rw, name))
        out[name] = results
    return out


def one(runner, argv, contestant, rw, name):
    try:
        stdout, _, cpu, _ = runner.run(argv, runner.environment(contestant), 60)
        job = json.loads(stdout[stdout.index("{"):])["jobs"][0]
        if job["error"] != 0:
            raise Failed(f"error {job['error']}")
        side = job["read" if "read" in rw else "write"]
        if side["total_ios"] == 0:
            raise Failed("no operation completed")
        return {"iops": side["iops"], "cpu_us_per_op": cpu / side["total_ios"],
                "latency_ns": {"mean": side["lat_ns"]["mean"], "p99": side["clat_ns"].get("percentile", {}).get("99.000000")}}
    except (Failed, ValueError, KeyError, IndexError) as why:
        runner.note(f"fio {name}: {contestant}: {why}")
        return None


def rows(results):
    """[(name, {contestant: (IOPS, CPU µs an operation)})]"""
    out = []
    for name, r in results.items():
        values = {}
        for c in CONTESTANTS:
            iops, cpu = stats.summary(r, c, "iops"), stats.summary(r, c, "cpu_us_per_op")
            if iops and cpu:
                values[c] = (iops, cpu)
        out.append((name, values))
    return out
