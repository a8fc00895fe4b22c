"""Everything that is not a cell: notifications, lists, waiting threads, the calls themselves, memory, start-up."""

import json
import os
import shutil
import tempfile

from .cells import KINDS, file_arguments
from .contestants import BACKENDS, GLIBC, RING, SYNC, WORKERS, Failed, measure

AIO = [GLIBC, RING, WORKERS]
THROUGH_ENGINE = {"AIO_SHIM_WITHOUT": "inline"}  # the engine's own rate: nothing done in the caller


def run_all(runner, directories, quick, seconds, repetitions, say, wanted):
    """Returns {name: {contestant: [results]}}; names not wanted are left out."""
    hot = file_arguments(directories, KINDS["hot-read"])
    direct = file_arguments(directories, KINDS["direct-read"])
    out = {}

    def add(name, commands, repeat=repetitions):
        if wanted(name):
            say(name)
            out[name] = measure(runner, commands, repeat, name)

    window = ["--seconds", str(seconds)]
    for how in ("none", "ignored", "signal", "thread", "eventfd"):
        who = [RING, WORKERS] if how in ("ignored", "eventfd") else AIO
        add(f"notify-{how}", {c: (["notify", "--how", how, "--depth", "64"] + hot + window, THROUGH_ENGINE) for c in who})
    for how in ("none", "signal"):  # where a device, not a processor, sets the pace
        add(f"notify-direct-{how}", {c: (["notify", "--how", how, "--depth", "32"] + direct + window, None) for c in [RING, WORKERS]})
    for kind, files in (("hot", hot), ("direct", direct)):
        add(f"list-{kind}", {c: (["list", "--depth", "64"] + files + window, None) for c in AIO})
    for threads in (8, 64) if quick else (1, 8, 64):
        arguments = ["waiters", "--threads", str(threads)] + direct + window
        add(f"waiters-{threads}", {c: (arguments, None) for c in AIO})
    add("call-direct", {c: (["rw", "--depth", "32", "--time-calls"] + direct + window, None) for c in AIO})
    if not quick:
        add("call-hot", {c: (["rw", "--depth", "1", "--time-calls"] + hot + window, None) for c in AIO})
    add("wake", {SYNC: (["wake"], None)})
    add("calls", {c: (["calls"] + hot, None) for c in AIO})

    counts = (1000, 100000) if quick else (1000, 10000, 100000)
    for how, who in (("file", AIO), ("waiting", [RING, WORKERS])):
        for n in counts:
            # glibc walks its list for each request: 100 000 would take it minutes, and the quick form has not got them
            contestants = [c for c in who if not (quick and c == GLIBC and n > 1000)]
            limit = ["--seconds", "2" if quick else "6"]
            add(f"outstanding-{how}-{n}",
                {c: (["outstanding", "--how", how, "--count", str(n)] + hot + limit, THROUGH_ENGINE) for c in contestants},
                min(repetitions, 3))

    for how in ("none", "idle", "outstanding"):
        # At rest and under load alike the base is the same program, without the library and before any AIO call.
        who = [SYNC] if how == "none" else [RING, WORKERS] if how == "outstanding" else AIO
        add(f"memory-{how}", {c: (["memory", "--how", how, "--count", "100000"] + hot, None) for c in who},
            min(repetitions, 3))
    if wanted("start-up"):
        say("start-up")
        out["start-up"] = start_up(runner, 150 if quick else 500, repetitions)
    if wanted("list-syscalls"):
        say("list-syscalls")
        out["list-syscalls"] = list_syscalls(runner, direct)
    return out


def start_up(runner, rounds, repetitions):
    names = ["no library", "empty library"] + (["aio_shim"] if runner.library else [])
    # As an installation leaves them: copied. What the linker has written page by page lies in the page cache in pieces of a
    # page each, which are slower to map.
    copies = os.path.join(os.path.dirname(runner.empty), "installed")
    os.makedirs(copies, exist_ok=True)
    libraries = [shutil.copy(it, copies) for it in [runner.empty] + ([runner.library] if runner.library else [])]
    program = shutil.which("true") or "/bin/true"
    results = {n: [] for n in names}
    for _ in range(repetitions):
        try:
            stdout, _, _, _ = runner.run([runner.spawn, str(rounds), program] + libraries, runner.environment(SYNC))
        except Failed as why:
            runner.note(f"start-up: {why}")
            continue
        one = json.loads(stdout)
        for i, n in enumerate(names):
            results[n].append(one[str(i)])
    return results


def list_syscalls(runner, direct):
    """
    System calls of the engine for one lio_listio of 64 O_DIRECT reads, by strace. The engine is the thread that enters the
    ring. strace slows everything, which makes completions come in smaller groups: this is an upper limit.
    """
    results = {RING: []}
    if RING in runner.absent:
        return results
    if shutil.which("strace") is None:
        runner.note("list-syscalls: not measured: no strace")
        return results
    lists = 200
    arguments = [runner.bench, "list", "--depth", "64", "--count", str(lists * 64), "--seconds", "20"] + direct
    preload = f"LD_PRELOAD={runner.library}"
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "log")
        try:
            stdout, _, _, _ = runner.run(
                ["strace", "-f", "-qq", "-o", log, "-E", preload, "-E", f"AIO_SHIM_BACKEND={BACKENDS[RING]}"] + arguments,
                runner.environment(SYNC))
        except Failed as why:
            runner.note(f"list-syscalls: {why}")
            return results
        done = json.loads(stdout)["lists"]
        by_thread = {}
        with open(log) as f:
            for line in f:
                thread, _, call = line.partition(" ")
                name = call.strip().split("(", 1)[0]
                if not name.startswith("<..."):
                    by_thread.setdefault(thread, {}).setdefault(name, 0)
                    by_thread[thread][name] += 1
    # A child that only asks what the kernel can do enters its ring once.
    engines = [calls for calls in by_thread.values() if calls.get("io_uring_enter", 0) > 1]
    if len(engines) != 1:
        runner.note(f"list-syscalls: {len(engines)} threads entered a ring, expected 1")
        return results
    total = sum(engines[0].values())
    results[RING].append({"per_list": total / done, "enters_per_list": engines[0]["io_uring_enter"] / done,
                          "calls": engines[0], "lists": done})
    return results
