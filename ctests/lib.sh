# What the shell tests share; sourced by them. SPDX-License-Identifier: MIT OR Apache-2.0
#
# LIB is the built library, CC the compiler, OUT a directory to work in. A test calls pass, fail or skip once for
# each thing it looks at and ends with finish, which prints the closing line and gives the exit status.
set -u
here=$(cd "$(dirname "$0")" && pwd)
top=$(dirname "$here")
LIB=${LIB:-$top/target/release/libaio_shim.so}
CC=${CC:-cc}
OUT=${OUT:-$top/target/ctests/$(basename "$0" .sh)}
mkdir -p "$OUT"
passed=0 failed=0 skipped=0

pass() { passed=$((passed + 1)); [ -z "${VERBOSE:-}" ] || echo "ok   $1"; }
# fail WHAT [TEXT]: the text is shown indented
fail() {
	failed=$((failed + 1))
	echo "FAIL $1"
	[ -z "${2:-}" ] || printf '%s\n' "$2" | head -30 | sed 's/^/     /'
}
skip() { skipped=$((skipped + 1)); echo "skip $1"; }
# expect WHAT COMMAND...: its output is shown when it fails
expect() {
	what=$1
	shift
	if text=$("$@" 2>&1); then pass "$what"; else fail "$what" "$text"; fi
}
# equal WHAT GOT WANTED
equal() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "got:      $2
expected: $3"; fi; }
need() {
	for tool; do
		command -v "$tool" >/dev/null || { echo "$(basename "$0"): $tool is not installed" >&2; exit 2; }
	done
}
finish() {
	if [ "$skipped" -gt 0 ]; then echo "$passed passed, $failed failed, $skipped skipped"; else echo "$passed passed, $failed failed"; fi
	[ "$failed" -eq 0 ]
	exit
}
[ -f "$LIB" ] || { echo "$LIB does not exist: run make first" >&2; exit 2; }
