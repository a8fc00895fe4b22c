# SPDX-License-Identifier: MIT OR Apache-2.0
"""The Python package pyaio: its POSIX AIO half, completion by SIGEV_THREAD into the interpreter, its own tests."""
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig

from place import Case, ClientMissing

NAME = "pyaio"
VERSION = "0.5.0rc2"


def run(command):
    done = subprocess.run(list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
    if done.returncode != 0:
        raise ClientMissing(f"{' '.join(map(str, command))}:\n{done.stdout[-1500:]}")


def prepare(place):
    """An environment with pytest, and the package's source with its extension built in place."""
    def usable():
        return subprocess.run([sys.executable, "-c", "import ensurepip, venv"], capture_output=True).returncode == 0 \
            and pathlib.Path(sysconfig.get_path("include"), "Python.h").exists()

    place.need(usable, "python3-venv", "python3-dev")
    python = place.out / "venv/bin/python"
    if not python.exists():
        run([sys.executable, "-m", "venv", place.out / "venv"])
    source = place.out / f"pyaio-{VERSION}"
    if not source.exists():
        run([python, "-m", "pip", "-q", "install", "pytest"])
        run([python, "-m", "pip", "-q", "download", "--no-deps", "--no-binary", ":all:", "-d", place.out, f"pyaio=={VERSION}"])
        half = place.out / "pyaio-half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        run(["tar", "-xzf", place.out / f"pyaio-{VERSION}.tar.gz", "-C", half, "--strip-components=1"])
        half.rename(source)
    # Its other half is a binding of io_uring, which is not our subject and needs liburing.
    place.build(f"pyaio-{VERSION}/pyaio/core.so", [source / "pyaio/core.c"], "-fPIC", "-shared", "-D_FILE_OFFSET_BITS=64",
                f'-DPYAIO_VERSION="{VERSION}"', "-I", sysconfig.get_path("include"))
    return python, source


def check(output, work):
    result = re.search(r"(\d+) passed", output)
    if not result or int(result[1]) < 5:
        return "fewer than its five tests of POSIX AIO ran"


def cases(place):
    python, source = prepare(place)
    # -p no:...: nothing is written into the source; faulthandler stays, it names the line of a crash.
    yield Case("pyaio/callbacks", [python, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-k", "aio_ or callback",
                                   source / "tests/test_pyaio.py"], check,
               environment={"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"})
