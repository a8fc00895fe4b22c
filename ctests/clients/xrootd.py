# SPDX-License-Identifier: MIT OR Apache-2.0
"""XRootD, the file server of particle physics. The server's reads and writes each end by a real-time signal, which one
thread takes with sigwaitinfo: with one place in the signal queue glibc loses most of them, and every copy hangs. The
client library's requests on local files call a function."""
import pathlib
import re
import shutil
import sys

from place import HERE, Case

NAME = "xrootd"
HEADERS = pathlib.Path("/usr/include/xrootd")


def check(output, work):
    if not re.search(r"^xrootd_copy: [1-9]\d* clients, 0 bytes wrong$", output, re.M):
        return "the files that came back are not those that were sent"
    if "aio_shim: backend=" in output:
        # It also says what it served: of 64 MiB each way, in requests of 64 KiB, those that XRootD had AIO buffers for.
        counts = [re.search(rf"^ +{kind} .* (\d+)$", output, re.M) for kind in ("read", "write")]
        if not all(count and int(count[1]) > 100 for count in counts):
            return "the server did not read and write by AIO"


def check_overflow(output, work):
    deferred = re.search(r"deferred by full queues (\d+)", output)
    if deferred and deferred[1] == "0":
        return "the signal queue was never full"
    return check(output, work)


def check_local(output, work):
    if "xrootd_local: 8 rounds of 256 requests, 0 wrong" not in output:
        return "the program's last line is missing"


def cases(place):
    place.need_programs("xrootd", "xrdcp", package="xrootd-server xrootd-client")
    place.need(lambda: shutil.which("g++") and HEADERS.exists(), "g++", "libxrootd-client-dev")
    local = place.build("xrootd-local", [HERE / "xrootd_local.cpp"], "-I", HEADERS, "-lXrdCl", compiler=["g++"])

    def copy(*options):
        # The preload is the server's alone. Its statistics come when it is ended, on standard error.
        def command(preload):
            statistics = {"AIO_SHIM_STATS": "1"} if preload else {}
            return [sys.executable, HERE / "xrootd_copy.py", *options,
                    *(f"{k}={v}" for k, v in {**preload, **statistics}.items())]
        return command

    yield Case("xrootd/server", copy(), check)
    yield Case("xrootd/full-queue", copy("--full-queue"), check_overflow)
    yield Case("xrootd/local-file", [local], check_local)
