# SPDX-License-Identifier: MIT OR Apache-2.0
"""fio watched by strace: the ring belongs to one thread, and that is the library's."""
import collections
import re

from place import HERE, Case

NAME = "strace"


def one_engine(output, work):
    callers = collections.defaultdict(set)
    lines = (work / "trace").read_text().splitlines()
    # A child process of the library asks what the kernel can do, with a ring of its own that it gives nothing to: it is
    # no thread of this process. Whoever hands requests over is looked at below, whatever it is.
    submitters = {m[1] for line in lines if (m := re.match(r"(\d+)<[^>]*> .*io_uring_enter\([^,]*, ([1-9]\d*)", line))}
    for line in lines:
        caller = re.match(r"(\d+)<([^>]*)> .*io_uring_(enter|setup|register)\(", line)
        if caller and (caller[1] in submitters or caller[2].startswith("aio-shim")):
            callers[caller[3]].add((caller[1], caller[2]))
    if not callers["enter"]:
        return "no io_uring_enter was seen"
    everyone = set().union(*callers.values())
    if len(callers["enter"]) != 1:
        return f"{len(callers['enter'])} threads called io_uring_enter: {sorted(callers['enter'])}"
    if any(not comm.startswith("aio-shim-engin") for _, comm in everyone):
        return f"the ring was touched by {sorted(everyone)}"


def cases(place):
    place.need_programs("fio")
    place.need_programs("strace")
    job = ["fio", "--name=traced", "--ioengine=posixaio", "--rw=randrw", "--bs=4k", "--iodepth=32", "--direct=1",
           "--size=4m", "--verify=crc32c", "--verify_fatal=1", "--output=/dev/null"]
    trace = ["strace", "-f", "-qq", "-Y", "-o", "trace", "-e", "trace=io_uring_enter,io_uring_setup,io_uring_register"]

    def command(preload):
        # strace itself and what it starts with must not load the library.
        return [*trace, *[word for k, v in preload.items() for word in ("-E", f"{k}={v}")], *job]

    yield Case("strace/one-engine-thread", command, one_engine, backends=("ring",))
