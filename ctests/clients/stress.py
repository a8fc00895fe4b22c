# SPDX-License-Identifier: MIT OR Apache-2.0
"""stress-ng's aio stressor: it calls neither aio_return nor waits in the usual way, and verifies its data."""
import re

from place import Case

NAME = "stress-ng"


def check(output, work):
    if not re.search(r"^stress-ng: metrc: \[\d+\] aio +[1-9]", output, re.M):
        return "no operation of the aio stressor was counted"
    if re.search(r"\b(fail|error):", output):
        return "stress-ng names a failure"


def cases(place):
    place.need_programs("stress-ng")
    yield Case("stress-ng/aio", ["stress-ng", "--aio", "2", "--aio-requests", "16", "--verify", "--timeout", "10",
                                 "--metrics-brief", "--temp-path", "."], check)
