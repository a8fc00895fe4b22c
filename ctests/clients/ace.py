# SPDX-License-Identifier: MIT OR Apache-2.0
"""ACE's two proactors over POSIX AIO: files and sockets, completion by aio_suspend and by real-time signals."""
import pathlib
import shutil

from place import HERE, Case

NAME = "ace"


def check(output, work):
    if "512 blocks copied right, 4194304 bytes streamed" not in output:
        return "the program's last line is missing"


def cases(place):
    place.need(lambda: shutil.which("g++") and pathlib.Path("/usr/include/ace/Proactor.h").exists(), "g++", "libace-dev")
    program = place.build("ace-proactor", [HERE / "ace_proactor.cpp"], "-lACE", compiler=["g++", "-std=c++17"])
    for kind in ("aiocb", "sig"):
        yield Case(f"ace/{kind}-proactor", [program, kind], check)
