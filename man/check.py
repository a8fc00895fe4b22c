#!/usr/bin/env python3
"""Checks the documentation against the library: make check-docs.

- manual pages are free of warnings (man, and mandoc where there is one), and
  every function of aio_shim.h has one;
- the table of variables is fresh, and only variables that exist are named;
- C examples in pages, Markdown and the header compile, and whole programs run;
- links between Markdown files lead somewhere; COMPATIBILITY.md has every line;
- shell examples run, as a new user would paste them, in a clean copy of the
  tree: blocks after '.\\" check: sh' in pages, blocks fenced with ```sh in
  Markdown. Each document is one shell session that stops at the first failure.

As root, sessions run in a mount namespace where /usr, /etc, /var and /opt are
overlays, so that "sudo make install" means what it says and changes nothing.
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parent.parent
SESSION_SECONDS = 900
passed = failed = skipped = 0


def result(good, name, message=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAIL {name}: {message.strip()}", flush=True)


def skip(name, why):
    global skipped
    skipped += 1
    print(f"SKIP {name}: {why}", flush=True)


def run(command, **more):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          stdin=subprocess.DEVNULL, **more)


def pages():
    return sorted((TOP / "man").glob("*.[1-8]"))


def markdown():
    return sorted(TOP.glob("*.md"))


# ---- Blocks of code ---------------------------------------------------------

def page_blocks(path, kind):
    """Literal blocks marked with a comment, as the reader sees them."""
    out = []
    for match in re.finditer(r'^\.\\" check: (\w+)\n\.Bd[^\n]*\n(.*?)^\.Ed$', path.read_text(), re.S | re.M):
        if match.group(1) == kind:
            out.append(re.sub(r"^\\&", "", match.group(2).replace("\\e", "\\").replace("\\-", "-")
                              .replace("\\(aq", "'"), flags=re.M))
    return out


def markdown_blocks(path, kind):
    return re.findall(rf"^```{kind}\n(.*?)^```$", path.read_text(), re.S | re.M)


def header_blocks():
    """Examples in the comments of the header, fenced with ```c or indented as <pre> is not."""
    text = (TOP / "include/aio_shim.h").read_text()
    text = re.sub(r"^[ \t]*\* ?", "", text, flags=re.M)
    return re.findall(r"^```c\n(.*?)^```$", text, re.S | re.M)


# ---- Checks -----------------------------------------------------------------

def check_pages():
    env = dict(os.environ, MANROFFOPT="", LC_ALL="C.UTF-8")
    for page in pages():
        if shutil.which("man"):
            said = subprocess.run(["man", "--warnings", "-E", "UTF-8", "-P", "cat", "-l", page], env=env,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            result(said.returncode == 0 and not said.stderr, f"man {page.name}", said.stderr)
        else:
            skip(f"man {page.name}", "no man")
        if shutil.which("mandoc"):
            said = run(["mandoc", "-T", "lint", "-W", "warning", page]).stdout
            said = "".join(l for l in said.splitlines(True) if "mandoc.db" not in l)
            result(not said, f"mandoc {page.name}", said)
    if not shutil.which("mandoc"):
        skip("mandoc", "not installed")


def check_names(library):
    header = (TOP / "include/aio_shim.h").read_text()
    declared = set(re.findall(r"\b(aio_shim_\w+|aio_readv|aio_writev|aio_waitcomplete|aio_waitn)\s*\(", header))
    documented = set()
    for page in pages():
        if page.suffix == ".3":
            documented |= set(re.findall(r"^\.Fn (\w+)", page.read_text(), re.M))
    internal = {"aio_shim_doctor"}
    missing = sorted(declared - documented - internal)
    result(not missing, "every function has a page", str(missing))
    missing = sorted(documented - declared - {"aio_init", "main", "pthread_exit"})
    result(not missing, "every documented function exists", str(missing))

    options = run(["/bin/true"], env=dict(os.environ, AIO_SHIM_DOCTOR="options", LD_PRELOAD=library)).stdout
    known = {line.split("\t")[0] for line in options.splitlines()}
    known |= {"AIO_SHIM_LIBRARY", "AIO_SHIM_DOCTOR", "AIO_SHIM_DOCTOR_PROGRAM", "AIO_SHIM_KIND_RT", "AIO_SHIM_KIND_STANDARD",
              "AIO_SHIM_KIND_THREAD", "AIO_SHIM_KIND_LIST", "AIO_SHIM_EVENTFD", "AIO_SHIM_"}
    for path in pages() + markdown():
        text = re.sub(r"^\.Dt .*$", "", path.read_text(), flags=re.M)
        named = set(re.findall(r"\bAIO_SHIM_[A-Z_]*", text))
        strange = sorted(n for n in named if n not in known)
        result(not strange, f"variables named in {path.name}", str(strange))
    stale = run(["sh", TOP / "man/generate", library, "--check"])
    result(stale.returncode == 0, "table of variables", stale.stdout)


def check_links():
    for path in markdown():
        links = re.findall(r"\]\(([^)#: ]+)(?:#[^)]*)?\)", path.read_text())
        broken = sorted({link for link in links if not (TOP / link).exists()})
        result(not broken, f"links in {path.name}", str(broken))
    table = TOP / "COMPATIBILITY.md"
    if table.exists():
        lines = run([sys.executable, TOP / "man/compat.py", "--lines", table])
        result(lines.returncode == 0, "COMPATIBILITY.md", lines.stdout)
        record = TOP / "target/ctests/record.json"
        if record.exists():
            fresh = run([sys.executable, TOP / "man/compat.py", record, "--check", table])
            if fresh.returncode == 77:
                skip("COMPATIBILITY.md is fresh", fresh.stdout.strip())
            else:
                result(fresh.returncode == 0, "COMPATIBILITY.md is fresh", fresh.stdout)
        else:
            skip("COMPATIBILITY.md is fresh", "no record of the C tests (make compat)")
    else:
        result(False, "COMPATIBILITY.md", "not there; run: make compat")


def check_c(compiler, library):
    whole = r"\bint main\("
    blocks = [("aio_shim.h", i, b) for i, b in enumerate(header_blocks(), 1)]
    for path in pages():
        blocks += [(path.name, i, b) for i, b in enumerate(page_blocks(path, "c"), 1)]
    for path in markdown():
        blocks += [(path.name, i, b) for i, b in enumerate(markdown_blocks(path, "c"), 1)]
    result(blocks != [], "there are C examples")
    with tempfile.TemporaryDirectory() as scratch:
        for name, number, text in blocks:
            name = f"C example {number} of {name}"
            if not re.search(whole, text):
                # A fragment: statements, with what they name declared around them.
                text = ("#include <aio_shim.h>\n#include <errno.h>\n#include <fcntl.h>\n#include <stdio.h>\n"
                        "#include <stdlib.h>\n#include <string.h>\n#include <sys/epoll.h>\n#include <sys/eventfd.h>\n"
                        "#include <sys/uio.h>\n#include <unistd.h>\n"
                        "int fragment(int fd);\nint fragment(int fd)\n{\n(void)fd;\n" + text + "\nreturn 0;\n}\n"
                        "int main(void) { return 0; }\n")
            source, program = pathlib.Path(scratch, "example.c"), pathlib.Path(scratch, "example")
            source.write_text(text)
            said = run([*compiler.split(), "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-pthread",
                        f"-I{TOP / 'include'}", "-o", program, source, library, "-ldl"])
            if said.returncode != 0:
                result(False, name, said.stdout)
                continue
            try:
                env = dict(os.environ, LD_LIBRARY_PATH=f"{scratch}/lib")
                os.makedirs(f"{scratch}/lib", exist_ok=True)
                shutil.copy(library, f"{scratch}/lib/libaio_shim.so.0")
                ran = run([program], cwd=scratch, env=env, timeout=60)
                result(ran.returncode == 0, name, f"status {ran.returncode}: {ran.stdout}")
            except subprocess.TimeoutExpired:
                result(False, name, "does not end within 60 s")


OVERLAY = """
for d in usr etc var opt; do
    [ -d "/$d" ] || continue
    mkdir -p "$1/over/$d" "$1/work/$d" &&
    mount -t overlay overlay -o "lowerdir=/$d,upperdir=$1/over/$d,workdir=$1/work/$d" "/$d" || exit 99
done
"""


def clean_copy(where):
    files = subprocess.run(["git", "ls-files", "-z"], cwd=TOP, capture_output=True, text=True)
    if files.returncode != 0:
        sys.exit("check-docs: not a git tree, so what belongs to a clean copy cannot be told")
    for name in filter(None, files.stdout.split("\0")):
        if (TOP / name).exists():
            target = where / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(TOP / name, target, follow_symlinks=False)


def check_sessions(only):
    sessions = [(p.name, markdown_blocks(p, "sh"), False) for p in markdown()]
    sessions += [(p.name, page_blocks(p, "sh"), True) for p in pages()]
    sessions = [s for s in sessions if s[1] and (not only or s[0] in only)]
    if not sessions:
        return
    # The README first: it builds what the others use.
    sessions.sort(key=lambda s: (s[0] != "README.md", s[2], s[0]))
    base = pathlib.Path(tempfile.mkdtemp(prefix="docs-"))
    try:
        copy = base / "clone"
        clean_copy(copy)
        tools = base / "tools"
        tools.mkdir()
        # sudo, on a machine where we are root already.
        (tools / "sudo").write_text("#!/bin/sh\nexec \"$@\"\n")
        (tools / "sudo").chmod(0o755)
        layers = base / "layers"
        layers.mkdir()
        root = os.geteuid() == 0
        isolated = root and run(["unshare", "-m", "sh", "-ec", OVERLAY, "sh", layers]).returncode == 0
        env = {k: v for k, v in os.environ.items() if not k.startswith(("AIO_SHIM_", "MAKE", "MFLAGS", "LD_PRELOAD"))
               and k not in ("CARGO_TARGET_DIR", "LIB", "CC", "DESTDIR", "PREFIX")}
        env["PATH"] = f"{tools}:{env['PATH']}"
        env["LC_ALL"] = "C.UTF-8"
        build = run(["make"], cwd=copy, env=env)
        result(build.returncode == 0, "make in a clean copy", build.stdout[-2000:])
        for name, blocks, needs_installation in sessions:
            script = "set -e\n" + "\n".join(blocks)
            if needs_installation:
                script = "make -s install >/dev/null\n" + script
            if not isolated and re.search(r"\bsudo\b|make install(?!.*DESTDIR)|make -s install", script):
                skip(f"commands of {name}", "not root, or no overlay can be mounted: it would change this machine")
                continue
            inner = f"cd '{copy}'\n{script}"
            if isolated:
                shutil.rmtree(layers)
                layers.mkdir()
                command = ["unshare", "-m", "sh", "-c", f'mount -t tmpfs none "$1" || exit 99\n{OVERLAY}' + inner, "sh", layers]
            else:
                command = ["sh", "-c", inner]
            try:
                said = run(command, env=env, timeout=SESSION_SECONDS)
                result(said.returncode == 0, f"commands of {name}", f"status {said.returncode}:\n{said.stdout[-3000:]}")
            except subprocess.TimeoutExpired:
                result(False, f"commands of {name}", f"do not end within {SESSION_SECONDS} s")
    finally:
        shutil.rmtree(base, ignore_errors=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lib", required=True, help="the built library")
    parser.add_argument("--no-sessions", action="store_true", help="leave the shell examples out")
    parser.add_argument("--session", action="append", help="only the shell examples of this document")
    options = parser.parse_args()
    library = str(pathlib.Path(options.lib).resolve())
    if not options.session:
        check_pages()
        check_names(library)
        check_links()
        check_c(os.environ.get("CC") or "cc", library)
    if not options.no_sessions:
        check_sessions(options.session)
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
