# SPDX-License-Identifier: MIT OR Apache-2.0
"""Copies files to and from an XRootD server whose storage runs on POSIX AIO, several at a time, and compares them.

    xrootd_copy.py [--full-queue] [NAME=VALUE...]     the names are set in the server's environment

As root the server runs as XRootD's own user, in a folder of its own that this user can reach, with a copy of what is
preloaded. --full-queue leaves it one queued signal (RLIMIT_SIGPENDING); each of its transfers sends a real-time one.
"""
import contextlib
import ctypes
import os
import pathlib
import pwd
import re
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time

USER = "xrootd"
CLIENTS = 4
BYTES = 16 << 20
CLONE_NEWUTS = 0x04000000  # <linux/sched.h>; of the module os only since Python 3.12

# Debug: by itself the storage says that it wants no AIO. nosf: no sendfile in its place.
CONFIGURATION = """\
xrd.port {port}
xrd.network nodnr
all.role server
all.export /data
oss.localroot {folder}/files
all.adminpath {folder}/admin
all.pidpath {folder}/admin
xrootd.async Debug force nosf
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def name_host():
    """The server does not start where the host's name has no address: there it gets another name, which only it sees."""
    try:
        socket.getaddrinfo(socket.gethostname(), None)
    except socket.gaierror:
        if ctypes.CDLL(None).unshare(CLONE_NEWUTS) == 0:
            socket.sethostname("localhost")


@contextlib.contextmanager
def server(folder, port, settings, full_queue):
    """Runs the server; ends it."""
    user = pwd.getpwnam(USER) if os.geteuid() == 0 else None

    def become():
        name_host()
        if user:
            os.setgroups([])
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
        if full_queue:
            # What other programs of this user have queued counts, too.
            queued = int(re.search(r"^SigQ:\s*(\d+)", pathlib.Path("/proc/self/status").read_text(), re.M)[1])
            resource.setrlimit(resource.RLIMIT_SIGPENDING, (queued + 1, queued + 1))

    for name in "files/data", "admin":
        (folder / name).mkdir(parents=True)
        if user:
            os.chown(folder / name, user.pw_uid, user.pw_gid)
    if user:
        os.chown(folder, user.pw_uid, user.pw_gid)
    (folder / "configuration").write_text(CONFIGURATION.format(port=port, folder=folder))
    if "LD_PRELOAD" in settings:
        settings = {**settings, "LD_PRELOAD": shutil.copy(settings["LD_PRELOAD"], folder)}
    process = subprocess.Popen(["xrootd", "-c", folder / "configuration", "-l", folder / "log"], cwd=folder,
                               env={**os.environ, **settings}, preexec_fn=become)
    try:
        until = time.monotonic() + 30
        while True:
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the server did not start")
            with contextlib.suppress(OSError), socket.create_connection(("localhost", port), 1):
                break
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()
        # Its standard error is there, and so is what the library says; of an ended process it tells a moment later.
        until = time.monotonic() + 10
        while True:
            log = (folder / "log").read_text(errors="replace")
            if "AIO_SHIM_STATS" not in settings or "system calls: " in log or time.monotonic() > until:
                break
            time.sleep(0.1)
        print(log, flush=True)


def copy(pairs):
    """All at the same time."""
    running = [subprocess.Popen(["xrdcp", "-f", "-s", source, target]) for source, target in pairs]
    try:
        for process in running:
            if process.wait(40) != 0:
                raise RuntimeError(f"{' '.join(map(str, process.args))}: exit status {process.returncode}")
    finally:
        for process in running:
            process.kill()


def main():
    settings = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
    port = free_port()
    wrong = 0
    with tempfile.TemporaryDirectory(prefix="aio-shim-xrootd-", dir="/tmp") as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        originals = [os.urandom(BYTES - 4095 * i) for i in range(CLIENTS)]
        sent = [folder / f"sent{i}" for i in range(CLIENTS)]
        received = [folder / f"received{i}" for i in range(CLIENTS)]
        remote = [f"root://localhost:{port}//data/{i}" for i in range(CLIENTS)]
        for path, data in zip(sent, originals):
            path.write_bytes(data)
        with server(folder, port, settings, "--full-queue" in sys.argv):
            copy(zip(sent, remote))
            copy(zip(remote, received))
        for path, data in zip(received, originals):
            got = path.read_bytes()
            wrong += abs(len(got) - len(data)) + sum(a != b for a, b in zip(got, data)) if got != data else 0
    print(f"xrootd_copy: {CLIENTS} clients, {wrong} bytes wrong")


main()
