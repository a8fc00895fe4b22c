# SPDX-License-Identifier: MIT OR Apache-2.0
"""Run a command and say what its whole process tree cost."""

import dataclasses
import os
import pathlib
import subprocess
import tempfile
import threading
import time

SAMPLE_SECONDS = 0.02


@dataclasses.dataclass
class Cost:
    status: int  # exit status, or minus the signal
    ending: str
    stderr: str
    seconds: float
    cpu_seconds: float
    switches: int
    peak_threads: int


def threads_of_tree(pid):
    """Threads of a process and of all that descend from it, now."""
    total = 0
    waiting = [pid]
    while waiting:
        tasks = pathlib.Path(f"/proc/{waiting.pop()}/task")
        try:
            for task in tasks.iterdir():
                total += 1
                waiting += (task / "children").read_text().split()
        except OSError:
            pass  # it ended meanwhile
    return total


class ThreadSampler(threading.Thread):
    """Remembers the highest thread count seen."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.peak = 0
        self.done = threading.Event()

    def run(self):
        while not self.done.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, threads_of_tree(self.pid))


def run_measured(command, environment, folder, limit):
    """`limit` in seconds is against hangs: the process is then killed."""
    with tempfile.TemporaryFile() as errors:
        start = time.monotonic()
        process = subprocess.Popen(command, env=environment, cwd=folder, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True)
        sampler = ThreadSampler(process.pid)
        sampler.start()
        # The whole session: fio's jobs are processes of their own.
        killer = threading.Timer(limit, lambda: os.killpg(process.pid, 9))
        killer.start()
        # wait4 counts the children that the process itself has waited for.
        _, status, usage = os.wait4(process.pid, 0)
        killer.cancel()
        seconds = time.monotonic() - start
        process.returncode = code = os.waitstatus_to_exitcode(status)
        sampler.done.set()
        sampler.join()
        errors.seek(0)
        stderr = errors.read().decode(errors="replace")
    ending = f"exit status {code}" if code >= 0 else f"killed by signal {-code}"
    if seconds >= limit:
        ending += f", no end within {limit} s"
    return Cost(code, ending, stderr, seconds, usage.ru_utime + usage.ru_stime,
                usage.ru_nvcsw + usage.ru_nivcsw, sampler.peak)
