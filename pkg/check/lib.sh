# shellcheck shell=sh
# For the scripts in this folder: counts, a scratch directory, tries.
# They are given LIB (the built library) and CC, and run at the top of the tree.

passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
chmod 755 "$scratch"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM

pass() { passed=$((passed + 1)); }
fail() {
	failed=$((failed + 1))
	printf 'FAIL %s\n' "$*"
}
skip() {
	skipped=$((skipped + 1))
	printf 'SKIP %s\n' "$*"
}

# try NAME STATUS PATTERN COMMAND...: the command ends with that status and says
# something that matches the extended regular expression (on either stream),
# within TRY_SECONDS.
try() {
	try_name=$1 try_status=$2 try_pattern=$3
	shift 3
	try_said=$(timeout "${TRY_SECONDS:-60}" "$@" 2>&1 </dev/null)
	try_got=$?
	if [ "$try_got" -ne "$try_status" ]; then
		fail "$try_name: status $try_got, not $try_status: $try_said"
	elif ! printf '%s\n' "$try_said" | grep -q -E -e "$try_pattern"; then
		fail "$try_name: no /$try_pattern/ in: $try_said"
	else
		pass
	fi
}

# $as_nobody COMMAND...: as a user without rights; only for root.
# shellcheck disable=SC2034 # used by who sources this
as_nobody='setpriv --reuid=65534 --regid=65534 --clear-groups'
root() { [ "$(id -u)" -eq 0 ]; }

# Leaves the counts where run collects them.
finish() {
	printf '%s passed, %s failed%s\n' "$passed" "$failed" "$([ "$skipped" -eq 0 ] || echo ", $skipped skipped")"
	[ -z "${COUNTS:-}" ] || echo "$passed $failed $skipped" >>"$COUNTS"
	[ "$failed" -eq 0 ]
	exit
}
