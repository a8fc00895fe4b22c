"""Who competes, and how one run of one of them is made and judged."""

import json
import os
import subprocess
import sys
import tempfile
import time

SYNC, GLIBC, RING, WORKERS, URING, BATCH = "sync", "glibc", "ring", "workers", "uring", "uring-batch"
ALL = [SYNC, GLIBC, RING, WORKERS, URING, BATCH]
TITLES = {
    SYNC: "pread/pwrite loop",
    GLIBC: "glibc AIO",
    RING: "aio_shim, ring",
    WORKERS: "aio_shim, workers",
    URING: "io_uring port, one enter each",
    BATCH: "io_uring port, batched",
}
BACKENDS = {RING: "uring", WORKERS: "threads"}


DISTURBED = 0.2  # share of all CPUs; the kernel counts in hundredths of a second, so short runs are not judged finely


class Failed(Exception):
    pass


class Runner:
    """Starts programs; knows where the library and the benchmark programs are."""

    def __init__(self, programs, library):
        self.bench = os.path.join(programs, "bench")
        self.spawn = os.path.join(programs, "spawn")
        self.empty = os.path.abspath(os.path.join(programs, "empty.so"))
        self.library = os.path.abspath(library) if library and os.path.exists(library) else None
        self.failures = {}  # text -> how often
        self.absent = set()  # contestants that cannot run here
        self.disturbance = []  # of each run: the share of all CPUs that others used, stolen time included
        self.others = 0.0  # the same, of the last run
        self.patience_s = 0.0  # so much time may still go into repeating runs that others disturbed

    def environment(self, contestant, extra=None):
        env = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD" and not k.startswith("AIO_SHIM_")}
        if contestant in BACKENDS:
            env["LD_PRELOAD"] = self.library or ""
            env["AIO_SHIM_BACKEND"] = BACKENDS[contestant]
            env.update(extra or {})
        return env

    def run(self, argv, env, limit=120):
        """Runs argv; returns (stdout, stderr, CPU of it and all its waited children in µs, wall seconds)."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            begin, busy = time.monotonic(), _busy_cpu_s()
            child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
            try:
                _, status, used = _wait4(child.pid, limit)
            except TimeoutError:
                child.kill()
                child.wait()
                raise Failed(f"no end after {limit} s") from None
            wall = time.monotonic() - begin
            others = _busy_cpu_s() - busy - used.ru_utime - used.ru_stime
            self.others = max(0.0, min(1.0, others / wall / (os.cpu_count() or 1)))
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), err.seek(0)
            stdout, stderr = out.read().decode(errors="replace"), err.read().decode(errors="replace")
        if child.returncode != 0:
            why = stderr.strip().splitlines()[-1:] or ["no message"]
            ended = "hung" if child.returncode == -14 else f"ended with {child.returncode}"
            raise Failed(f"{ended}: {why[0]}")
        return stdout, stderr, (used.ru_utime + used.ru_stime) * 1e6, wall

    def trial(self, contestant, arguments, extra=None, label=""):
        """
        One run of the benchmark program for a contestant; its JSON, or None when it failed (and that is noted). A run
        that was much disturbed by others is repeated, and the least disturbed counts.
        """
        best = None
        for _ in range(3):
            result = self._trial(contestant, arguments, extra, label)
            if result is None:
                return None
            if best is None or result["others"] < best["others"]:
                best = result
            if best["others"] <= DISTURBED or self.patience_s <= 0:
                break
            self.patience_s -= result["wall_s"]
        self.disturbance.append(best["others"])
        return best

    def _trial(self, contestant, arguments, extra, label):
        try:
            stdout, _, cpu, wall = self.run([self.bench] + arguments, self.environment(contestant, extra))
            result = json.loads(stdout)
            if "shim" in result and result["shim"] != (contestant in BACKENDS):
                raise Failed("the wrong library answered")
        except (Failed, json.JSONDecodeError) as why:
            self.note(f"{TITLES[contestant]}: {label}: {why}")
            return None
        result["wait4_cpu_us"] = round(cpu)
        result["wall_s"] = round(wall, 4)
        result["others"] = round(self.others, 3)
        return result

    def note(self, text):
        if text not in self.failures:
            print(f"\n  FAILED  {text}", file=sys.stderr)
        self.failures[text] = self.failures.get(text, 0) + 1

    def check_backends(self, arguments):
        """Asks the library which backend serves; one that is not the asked one must not appear under its name."""
        lines = {}
        for contestant, backend in BACKENDS.items():
            if self.library is None:
                self.absent.add(contestant)
                lines[contestant] = "not built"
                continue
            try:
                env = self.environment(contestant, {"AIO_SHIM_VERBOSE": "1"})
                _, stderr, _, _ = self.run([self.bench] + arguments, env)
                lines[contestant] = next((l for l in stderr.splitlines() if "backend=" in l), stderr.strip())
                if f"backend={backend}" not in lines[contestant]:
                    raise Failed(f"asked for {backend}, the library says: {lines[contestant] or 'nothing'}")
            except Failed as why:
                self.absent.add(contestant)
                self.note(f"{TITLES[contestant]}: left out: {why}")
                lines.setdefault(contestant, str(why))
        return lines


def _busy_cpu_s():
    """CPU time of the whole machine that was not idle: user nice system irq softirq steal."""
    with open("/proc/stat") as f:
        t = [int(x) for x in f.readline().split()[1:]]
    return (t[0] + t[1] + t[2] + t[5] + t[6] + (t[7] if len(t) > 7 else 0)) / os.sysconf("SC_CLK_TCK")


def _wait4(pid, limit):
    end, pause = time.monotonic() + limit, 0.0005
    while True:
        done = os.wait4(pid, os.WNOHANG)
        if done[0] == pid:
            return done
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(pause)
        pause = min(pause * 1.5, 0.01)


def measure(runner, commands, repetitions, label):
    """
    Runs {contestant: (arguments, extra environment)} in turn, so often; every second round backwards, so that no
    contestant always follows the same one. Who fails once is out of this cell: a hang costs its time limit once.
    Returns {contestant: [result or None for each repetition]}.
    """
    order = [c for c in commands if c.split("/")[0] not in runner.absent]
    results = {c: [] for c in order}
    for repetition in range(repetitions):
        for name in order if repetition % 2 == 0 else reversed(order):
            if None in results[name]:
                results[name].append(None)
                continue
            arguments, extra = commands[name]
            seed = ["--seed", str(repetition + 1)]
            results[name].append(runner.trial(name.split("/")[0], arguments + seed, extra, label))
    return results
