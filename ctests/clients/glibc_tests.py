# SPDX-License-Identifier: MIT OR Apache-2.0
"""glibc's own AIO tests (rt/tst-aio*.c, nptl/tst-cancel17.c), compiled from Debian's package of its source."""
import shutil
import subprocess

from place import HERE, Case, ClientMissing

NAME = "glibc"


def source(place):
    archives = list(place.unpacked("glibc-source").glob("usr/src/glibc/glibc-*.tar.xz"))
    if not archives:
        raise ClientMissing("the package glibc-source holds no glibc-*.tar.xz")
    folder = place.out / "glibc"
    if not folder.exists():
        half = place.out / "glibc-half"
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir()
        done = subprocess.run(["tar", "-xJf", archives[0], "-C", half, "--strip-components=1", "--wildcards",
                               "*/tst-aio*.c", "*/nptl/tst-cancel17.c"], text=True, capture_output=True)
        if done.returncode != 0:
            raise ClientMissing(f"tar: {done.stderr}")
        half.rename(folder)
    # They include it by "../test-skeleton.c" and by <test-skeleton.c>.
    shutil.copy(HERE / "glibc/test-skeleton.c", folder / "test-skeleton.c")
    return folder


def cases(place):
    folder = source(place)
    tests = sorted([*folder.glob("*/tst-aio*.c"), *folder.glob("nptl/tst-cancel17.c")])
    tests = [t for t in tests if "time64" not in t.name]  # the same test for 32-bit machines
    if len(tests) < 10:
        raise ClientMissing(f"only {len(tests)} AIO tests in this glibc's source")
    for test in tests:
        program = place.build(f"glibc-{test.stem}", [test], "-D_GNU_SOURCE", "-I", folder)
        yield Case(f"glibc/{test.stem}", [program], limit=40, inline=test.stem == "tst-aio7")
