# SPDX-License-Identifier: MIT OR Apache-2.0
"""The AIO tests that the crate nix publishes with its source."""
import json
import pathlib
import re
import shutil
import subprocess

from place import Case, ClientMissing

NAME = "nix"
VERSION = "0.31.3"

FETCH = f"""[package]
name = "fetch"
version = "0.0.0"
edition = "2021"
publish = false
[lib]
path = "lib.rs"
[dependencies]
nix = "={VERSION}"
[workspace]
"""


def cargo(place, folder, *arguments):
    command = [place.cargo, *arguments]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=600,
                          env={**place.clean_environment(place.out), "CARGO_TARGET_DIR": str(place.out / "nix-target")})
    if done.returncode != 0:
        raise ClientMissing(f"{' '.join(command)}: {done.stderr[-1500:]}")
    return done.stdout


def source(place):
    """A copy of the published crate: cargo brings it as a dependency of an empty one."""
    copy = place.out / f"nix-{VERSION}"
    if copy.exists():
        return copy
    fetch = place.out / "nix-fetch"
    fetch.mkdir(exist_ok=True)
    (fetch / "Cargo.toml").write_text(FETCH)
    (fetch / "lib.rs").write_text("")
    packages = json.loads(cargo(place, fetch, "metadata", "--format-version", "1"))["packages"]
    found = next(p["manifest_path"] for p in packages if p["name"] == "nix")
    half = place.out / "nix-copy"
    shutil.rmtree(half, ignore_errors=True)
    shutil.copytree(pathlib.Path(found).parent, half)
    # Not a member of the workspace that it happens to lie in.
    with (half / "Cargo.toml").open("a") as manifest:
        manifest.write("\n[workspace]\n")
    half.rename(copy)
    return copy


def at_least(number):
    def check(output, work):
        result = re.search(r"test result: ok\. (\d+) passed; 0 failed", output)
        if not result:
            return "no test result"
        if int(result[1]) < number:
            return f"only {result[1]} tests ran, {number} were expected"
    return check


def cases(place):
    if not shutil.which(place.cargo):
        raise ClientMissing("needs cargo")
    built = cargo(place, source(place), "test", "--all-features", "--test", "test", "--test", "test-aio-drop",
                  "--no-run", "--message-format=json")
    programs = {}
    for line in built.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["kind"] == ["test"]:
            programs[message["target"]["name"]] = message["executable"]
    yield Case("nix/test-aio", [programs["test"], "aio"], at_least(14))
    yield Case("nix/test-aio-drop", [programs["test-aio-drop"]], at_least(1))
