# SPDX-License-Identifier: MIT OR Apache-2.0
"""Where the clients are built and run, and how they get what they need."""
import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess
import typing

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent


class ClientMissing(Exception):
    """A client cannot be had on this machine; says what is missing."""


@dataclasses.dataclass
class Case:
    name: str
    # A command, or a function from the preload's settings to a command, for programs that start others
    # and must not hand the preload to all of them.
    command: typing.Union[list, typing.Callable]
    # Looks at the output of a run that ended with status 0; returns what is wrong, or nothing.
    check: typing.Callable = lambda output, work: None
    limit: int = 60  # seconds, against hangs
    environment: dict = dataclasses.field(default_factory=dict)
    backends: tuple = ("glibc", "ring", "workers")
    inline: bool = False  # only small cached reads: all may be served in the caller, and no backend is named then


class Place:
    def __init__(self, library, out, may_install):
        self.library = pathlib.Path(library).resolve() if library else None
        self.out = pathlib.Path(out or TOP / "target/clients").resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.compiler = shlex.split(os.environ.get("CC") or "cc")
        self.cargo = os.environ.get("CARGO") or "cargo"
        self.may_install = may_install and os.geteuid() == 0 and shutil.which("apt-get") is not None
        self.lists_fresh = False
        self.refusal = None

    def clean_environment(self, work):
        environment = {k: v for k, v in os.environ.items() if not k.startswith("AIO_SHIM_")}
        environment.pop("LD_PRELOAD", None)
        environment["TMPDIR"] = str(work)
        return environment

    def preload(self, name, backend):
        if not backend:
            return {}
        return {"LD_PRELOAD": str(self.library), "AIO_SHIM_BACKEND": backend, "AIO_SHIM_VERBOSE": "1"}

    def ring_refused(self):
        """Why io_uring cannot be had here, in the library's own words; empty if it can."""
        if self.refusal is None:
            probe = self.build("probe", [HERE / "probe.c"])
            environment = self.clean_environment(self.out)
            environment.update({"LD_PRELOAD": str(self.library), "AIO_SHIM_VERBOSE": "1", "AIO_SHIM_BACKEND": "auto"})
            said = subprocess.run([probe], env=environment, text=True, capture_output=True, timeout=60).stderr
            # Only the library's plain word counts: silence is no refusal, its cases run and fail.
            self.refusal = said.strip() if "aio_shim: backend=threads" in said else ""
        return self.refusal

    # What a client needs

    def apt(self, *arguments, cwd=None):
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        if not self.lists_fresh:
            subprocess.run(["apt-get", "-qq", "update"], env=environment, check=False, timeout=300)
            self.lists_fresh = True
        return subprocess.run(["apt-get", "-qq", "-y", *arguments], env=environment, cwd=cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600)

    def need(self, present, *packages):
        """`present()` says whether the client is there; else its Debian packages are installed."""
        if present():
            return
        wanted = " ".join(packages)
        if not self.may_install:
            raise ClientMissing(f"not installed; as root: apt-get install {wanted}")
        print(f"installing {wanted}", flush=True)
        done = self.apt("install", "--no-install-recommends", *packages)
        if done.returncode != 0 or not present():
            raise ClientMissing(f"apt-get install {wanted} did not help:\n{done.stdout[-1500:]}")

    def need_programs(self, *programs, package=None):
        self.need(lambda: all(shutil.which(p) for p in programs), *(package.split() if package else programs))

    def unpacked(self, package):
        """A Debian package's files without installing it: for sources, and for what starts a service."""
        folder = self.out / package
        if not (folder / "usr").exists():
            if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
                raise ClientMissing(f"needs the Debian package {package}, and apt-get to fetch it")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done = self.apt("download", package, cwd=folder)
            archives = list(folder.glob("*.deb"))
            if not archives:
                raise ClientMissing(f"apt-get download {package} failed:\n{done.stdout[-1500:]}")
            subprocess.run(["dpkg-deb", "-x", archives[0], folder], check=True)
        return folder

    def build(self, name, sources, *options, compiler=None):
        target = self.out / name
        command = (compiler or self.compiler) + ["-O1", "-g", "-w", "-o", str(target), *map(str, sources),
                                                 *map(str, options), "-pthread", "-lrt"]
        built = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300)
        if built.returncode != 0:
            raise ClientMissing(f"does not compile: {shlex.join(command)}\n{built.stdout[-1500:]}")
        return target
