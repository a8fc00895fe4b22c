# SPDX-License-Identifier: MIT OR Apache-2.0
"""fio's posixaio engine: the jobs in fio-jobs/, every block verified by fio."""
import json

from place import HERE, Case

NAME = "fio"


def check(output, work):
    jobs = json.loads((work / "result.json").read_text())["jobs"]
    for job in jobs:
        if job["error"] or job.get("total_err"):
            return f"job {job['jobname']}: error {job['error']}"
        if job["read"]["total_ios"] == 0 or job["write"]["total_ios"] == 0:
            return f"job {job['jobname']} did not both write and read: nothing was verified"
    return None if jobs else "no job ran"


def cases(place):
    place.need_programs("fio")
    for job in sorted((HERE / "fio-jobs").glob("*.fio")):
        yield Case(f"fio/{job.stem}", ["fio", "--output-format=json", "--output=result.json", job], check)
