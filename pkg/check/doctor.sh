#!/bin/sh
# aio-shim --doctor says who refuses io_uring, what a program calls, and what to
# do; its exit status tells scripts. Refusals are made with a seccomp filter
# (deny), with an interposed syscall(3) (refuse.so) and with a sysctl file bound
# over the kernel's in a mount namespace of its own.
# shellcheck disable=SC2016,SC2086,SC2154 # quoted for a later shell; $as_nobody is a list
set -u
. pkg/check/lib.sh

AIO_SHIM_LIBRARY=$LIB
export AIO_SHIM_LIBRARY
doctor="sh bin/aio-shim --doctor"
deny=$scratch/deny
"$CC" -std=c11 -D_GNU_SOURCE -Wall -Wextra -Werror -o "$deny" pkg/check/deny.c || exit
"$CC" -std=gnu11 -Wall -Wextra -Werror -shared -fPIC -o "$scratch/refuse.so" pkg/check/refuse.c || exit

# What this machine allows, found without the library.
if "$deny" ask; then
	here=0
	try "io_uring" 0 'requests run on io_uring' $doctor
	try "features" 0 'DEFER_TASKRUN (yes|no), FUTEX_WAIT (yes|no), registered ring (yes|no)' $doctor
else
	here=1
	skip "io_uring is refused on this machine: the cases that want it work"
	try "refused here" 1 'problem .*io_uring is refused' $doctor
fi

# A seccomp filter, by errno and by killing; on the set-up and later.
for verdict in 1 13 22 38 95 kill trap; do
	try "seccomp, $verdict" 1 'seccomp filter.*workers serve' "$deny" $verdict setup $doctor
	try "seccomp, $verdict, verdict" 1 'verdict +requests run on the worker pool' "$deny" $verdict setup $doctor
done
if [ $here -eq 0 ]; then
	try "seccomp on io_uring_enter" 1 'refused: io_uring_enter: EPERM' "$deny" 1 enter $doctor
	try "seccomp kills by io_uring_enter" 1 'io_uring_enter ends with signal 31' "$deny" kill enter $doctor
fi
try "remedy" 1 'remedy +.*io_uring_setup, io_uring_enter and io_uring_register' "$deny" 1 setup $doctor
try "remedy in Kubernetes" 1 'securityContext.seccompProfile' env KUBERNETES_SERVICE_HOST=x "$deny" 1 setup $doctor
try "container hint" $here 'container: kubernetes' env KUBERNETES_SERVICE_HOST=x $doctor
try "insisting on io_uring" 2 'AIO_SHIM_BACKEND=uring allows nothing else' \
	env AIO_SHIM_BACKEND=uring "$deny" 1 setup $doctor
try "asking for workers" 1 'AIO_SHIM_BACKEND=threads asks for it' sh bin/aio-shim --backend threads --doctor
try "switched off" 1 'AIO_SHIM_WITHOUT=io_uring' env AIO_SHIM_WITHOUT=io_uring $doctor
try "a feature switched off" $here 'DEFER_TASKRUN off|refused' env AIO_SHIM_WITHOUT=defer_taskrun $doctor

# The sysctl, as the kernel shows it.
if unshare -m sh -c "mount --bind '$0' /proc/sys/kernel/io_uring_disabled" 2>/dev/null; then
	echo 2 >"$scratch/sysctl2"
	echo 1 >"$scratch/sysctl1"
	for value in 1 2; do
		try "kernel.io_uring_disabled=$value" 1 "io_uring_disabled=$value refuses" unshare -m sh -c "
			mount --bind '$scratch/sysctl$value' /proc/sys/kernel/io_uring_disabled &&
			REFUSE=1 LD_PRELOAD='$scratch/refuse.so' $doctor"
		try "kernel.io_uring_disabled=$value, remedy" 1 'remedy +.*sysctl kernel.io_uring_disabled=0' unshare -m sh -c "
			mount --bind '$scratch/sysctl$value' /proc/sys/kernel/io_uring_disabled &&
			REFUSE=1 LD_PRELOAD='$scratch/refuse.so' $doctor"
	done
else
	skip "no mount namespace to be had: kernel.io_uring_disabled is not simulated"
fi
refused() { # ERRNO PATTERN
	try "errno $1" 1 "$2" env REFUSE="$1" LD_PRELOAD="$scratch/refuse.so" $doctor
}
refused 38 'this kernel has no io_uring'
refused 38 'Linux 5.5 or later'
refused 12 'RLIMIT_MEMLOCK'
refused 12 'ulimit -l'
refused 24 'ulimit -n'
refused 13 'security module'
refused 5 'strace'

try "signal queue" $here 'RLIMIT_SIGPENDING.*none is lost' prlimit --sigpending=64 $doctor
try "signal queue, remedy" $here 'ulimit -i 16384' prlimit --sigpending=64 $doctor
try "signal queue, figures" $here 'signals +[0-9]+ of 64 queued' prlimit --sigpending=64 $doctor

# Programs. One leaves a mark if it is ever run.
cat >"$scratch/caller.c" <<'END'
#include <aio.h>
#include <stdio.h>
#ifdef OWN
int aio_write(struct aiocb *request) { return request == 0; }
#endif
int through_library(struct aiocb *);
__attribute__((constructor)) static void mark(void) { FILE *f = fopen(MARK, "w"); if (f) fclose(f); }
int main(int argc, char **argv)
{
	static struct aiocb request;
	(void)argv;
#ifdef LIBRARY
	return through_library(&request) + argc;
#else
	return aio_read(&request) + aio_error(&request) + argc;
#endif
}
END
printf '#include <aio.h>\nint through_library(struct aiocb *r) { return aio_write(r); }\n' >"$scratch/library.c"
program() { # NAME FLAGS...
	program_name=$1
	shift
	"$CC" -DMARK="\"$scratch/mark\"" "$@" -o "$scratch/$program_name" "$scratch/caller.c" ${LIBRARY:-} || exit
}
program calls
program calls64 -D_FILE_OFFSET_BITS=64
program static -static
"$CC" -shared -fPIC -o "$scratch/libthrough.so" "$scratch/library.c"
LIBRARY="$scratch/libthrough.so -Wl,-rpath,$scratch"
program through -DLIBRARY
program own -DLIBRARY -DOWN -rdynamic
printf '#!%s\n' "$scratch/calls" >"$scratch/script"
printf 'exit 0\n' >"$scratch/bare"
chmod +x "$scratch/script" "$scratch/bare"

try "imports" $here 'calls aio_read \(GLIBC_2[.0-9]+\)' $doctor "$scratch/calls"
try "imports, 64 bit" $here 'calls aio_error64 \(GLIBC_2[.0-9]+\)' $doctor "$scratch/calls64"
try "imports of a library" $here 'calls aio_write of libthrough.so \(GLIBC' $doctor "$scratch/through"
try "imports of a script's interpreter" $here 'run by .*/calls' $doctor "$scratch/script"
try "no imports" 3 'call no AIO function' $doctor true
try "a script of sh" 3 'run by /bin/sh' $doctor "$scratch/bare"
try "its own aio_read" 2 "do not reach this library: aio_write; they go to .*/own" $doctor "$scratch/own"
try "static" 2 'statically linked' $doctor "$scratch/static"
try "not found" 2 'not found in PATH' $doctor no-such-program-here
try "two programs" 125 'one PROGRAM' $doctor true false
try "no library" 2 'no such file' env AIO_SHIM_LIBRARY=/none $doctor
if [ -e "$scratch/mark" ]; then fail "the doctor ran the program"; else pass; fi
if root; then
	cp "$scratch/calls" "$scratch/capable"
	cp bin/aio-shim bin/doctor.sh "$LIB" "$scratch"
	export AIO_SHIM_LIBRARY="$scratch/${LIB##*/}"
	setcap cap_net_raw+ep "$scratch/capable" &&
		try "file capabilities" 2 'file capabilities' $as_nobody sh "$scratch/aio-shim" --doctor "$scratch/capable"
	cp "$scratch/calls" "$scratch/setuid" && chmod 4755 "$scratch/setuid"
	try "setuid" 2 'setuid' $as_nobody sh "$scratch/aio-shim" --doctor "$scratch/setuid"
	export AIO_SHIM_LIBRARY="$LIB"
else
	skip "setuid, file capabilities: only as root"
fi

# JSON that a parser takes, whatever the names are.
json() { # NAME STATUS KEY VALUE COMMAND...
	json_name=$1 json_status=$2 json_key=$3 json_value=$4
	shift 4
	"$@" >"$scratch/out.json"
	json_got=$?
	if [ $json_got -ne "$json_status" ]; then
		fail "$json_name: status $json_got"
	elif ! said=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$scratch/out.json" "$json_key"); then
		fail "$json_name: no JSON, or no $json_key: $(cat "$scratch/out.json")"
	elif [ "$said" != "$json_value" ]; then
		fail "$json_name: $json_key is $said, not $json_value"
	else
		pass
	fi
}
cp "$scratch/calls" "$scratch/a \"quoted\" \\name="
json "JSON" $here status $here $doctor --json
json "JSON, program" $here program.aio yes $doctor --json "$scratch/calls"
json "JSON, names" $here program "$scratch/a \"quoted\" \\name=" $doctor --json "$scratch/a \"quoted\" \\name="
json "JSON, cause" 1 cause seccomp "$deny" 1 setup $doctor --json
json "JSON, no library" 2 status 2 env AIO_SHIM_LIBRARY=/none $doctor --json
for shell in dash bash 'busybox sh'; do
	command -v "${shell%% *}" >/dev/null || continue
	json "JSON, $shell" $here program.aio yes $shell bin/aio-shim --doctor --json "$scratch/calls"
	try "$shell" $here 'calls aio_read \(GLIBC' $shell bin/aio-shim --doctor "$scratch/calls"
done

# A program in secure-execution mode that is linked with the library does not
# let the caller turn it into a report.
if root; then
	cp "$LIB" "$scratch/libaio_shim.so.0"
	"$CC" -DMARK='"/dev/null"' -o "$scratch/secure" "$scratch/caller.c" "$scratch/libaio_shim.so.0" -Wl,-rpath,"$scratch" &&
		chmod 4755 "$scratch/secure"
	try "secure execution ignores AIO_SHIM_DOCTOR" 0 '^said nothing$' $as_nobody env AIO_SHIM_DOCTOR=1 sh -c "
		said=\$('$scratch/secure'); [ -z \"\$said\" ] && echo said nothing"
	try "the same program without the bit answers" 0 'backend=' sh -c "
		cp '$scratch/secure' '$scratch/insecure' && chmod 755 '$scratch/insecure' && AIO_SHIM_DOCTOR=1 '$scratch/insecure'"
else
	skip "secure execution: only as root"
fi
finish
