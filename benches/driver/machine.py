"""The machine: what it is, and the directories the files are in."""

import os
import platform
import shutil
import subprocess
import tempfile


def first_line(path):
    try:
        with open(path) as f:
            return f.readline().strip()
    except OSError:
        return ""


def describe(directories, runner):
    model = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "unknown")
    memory = int(next(l.split()[1] for l in open("/proc/meminfo") if l.startswith("MemTotal"))) // 1024
    out = {
        "cpu": model,
        "cpus": len(os.sched_getaffinity(0)),
        "virtual": "hypervisor" in next((l for l in open("/proc/cpuinfo") if l.startswith("flags")), ""),
        "memory_mib": memory,
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "clocksource": first_line("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "governor": first_line("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "not visible",
        "io_uring_disabled": first_line("/proc/sys/kernel/io_uring_disabled") or "no such setting",
        "load_at_start": os.getloadavg()[0],
        "file_systems": {name: filesystem(d) for name, d in directories.items()},
    }
    try:
        out["library"] = subprocess.run(
            [runner.bench, "version"], env=runner.environment("ring"), capture_output=True, text=True).stdout.strip()
    except OSError:
        pass
    return out


def filesystem(directory):
    found = ("", "unknown")
    real = os.path.realpath(directory)
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, point, kind = line.split()[:3]
            inside = real == point or real.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= len(found[0]):
                found = (point, kind)
    return found[1]


class Directories:
    """Makes the files; unmounts and removes at the end what was only for this run."""

    def __init__(self, disk, say):
        self.paths, self.missing, self._say = {}, {}, say
        self._loop = self._tmpfs = None
        os.makedirs(disk, exist_ok=True)
        self.paths["disk"] = os.path.abspath(disk)
        if filesystem(disk) == "tmpfs":
            raise SystemExit(f"run.py: {disk} is on tmpfs; give a directory on a disk with --dir")
        if shutil.disk_usage(disk).free < 5 << 30:
            raise SystemExit(f"run.py: {disk}: less than 5 GiB free")

    def add_tmpfs(self):
        if filesystem("/dev/shm") != "tmpfs":
            self._without("tmpfs", "/dev/shm is not a tmpfs")
        elif shutil.disk_usage("/dev/shm").free < 1 << 30:
            self._without("tmpfs", "/dev/shm has less than 1 GiB free")
        else:
            self.paths["tmpfs"] = self._tmpfs = tempfile.mkdtemp(prefix="aio_shim-bench-", dir="/dev/shm")

    def add_xfs(self):
        if os.geteuid() != 0:
            return self._without("xfs", "mounting an image needs root")
        if shutil.which("mkfs.xfs") is None:
            return self._without("xfs", "no mkfs.xfs (package xfsprogs)")
        image, point = os.path.join(self.paths["disk"], "xfs.img"), os.path.join(self.paths["disk"], "xfs")
        os.makedirs(point, exist_ok=True)
        if os.path.ismount(point):
            return self._without("xfs", f"{point} is mounted already (another run?)")
        for command in (["fallocate", "-l", "1280M", image], ["mkfs.xfs", "-q", "-f", image],
                        ["mount", "-o", "loop", image, point]):
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode != 0:
                if os.path.exists(image):
                    os.unlink(image)
                why = (done.stderr.strip() or done.stdout.strip() or "failed").splitlines()[-1]
                return self._without("xfs", f"{command[0]}: {why}")
        self.paths["xfs"], self._loop = point, (image, point)

    def _without(self, name, why):
        self.missing[name] = why
        self._say(f"without {name}: {why}")

    def close(self):
        if self._tmpfs:
            shutil.rmtree(self._tmpfs, ignore_errors=True)
        if self._loop:
            image, point = self._loop
            if subprocess.run(["umount", point]).returncode == 0:
                os.unlink(image)
