# shellcheck shell=sh disable=SC2154 # sourced by aio-shim, whose variables and functions it uses
# aio-shim --doctor: what would serve a program here, and what to do about each
# problem. Nothing of the program runs, nothing is written but the answer.
#
# Facts are lines key=value: those of the library (AIO_SHIM_DOCTOR=1), then ours.
# They are printed for people, or as one flat JSON object of strings.

# imports FILE: a line "symbol version user provider" for each AIO function that
# the program or a library it is linked with calls, as the dynamic linker binds
# it under our preload. Nothing of the program runs.
imports() {
	(
		unset LD_DEBUG_OUTPUT
		LD_TRACE_LOADED_OBJECTS=1 LD_WARN=yes LD_BIND_NOW=yes LD_DEBUG=bindings \
			LD_PRELOAD=$preload LC_ALL=C "$1" 2>&1 </dev/null
	) | grep -E "symbol [\`'](aio_[a-z0-9_]*|lio_listio(64)?)'" |
		sed -n "s/^.*binding file \(.*\) \[[0-9]*\] to \(.*\) \[[0-9]*\]: [a-z]* symbol .\([a-z0-9_]*\)' *\[\{0,1\}\([A-Za-z0-9_.]*\)\]\{0,1\}.*$/\3|\4|\1|\2/p" |
		grep -v -F "|$library|" | grep -v -E '\|[^|]*/(libc|librt)[.-][^|]*\|[^|]*$' | sort -u
}

problems=0

# fact KEY VALUE
fact() {
	facts="$facts$1=$(printf '%s' "$2" | tr '\n' ' ')
"
}

# problem TEXT REMEDY
problem() {
	problems=$((problems + 1))
	fact "problem.$problems" "$1"
	[ -n "$2" ] && fact "remedy.$problems" "$2"
}

doctor() {
	facts='' findings='' remedy='' verdict=2
	if ! find_library || ! set_preload || ! ask_library "${1:-}"; then
		problem "$why" "$remedy"
		show
		return
	fi
	fact library "$library"
	facts="$facts$findings
"
	case $(finding backend) in
	uring) verdict=0 ;;
	threads) verdict=1 ;;
	esac
	examine_kernel
	examine_signals
	[ $# -gt 0 ] && examine_program "$1"
	show
}

examine_kernel() {
	case $(finding cause) in
	none | requested) return ;;
	switched_off) remedy="unset AIO_SHIM_WITHOUT, which is for tests" ;;
	sysctl)
		remedy="as root: sysctl kernel.io_uring_disabled=0 (or =1, and put the user into kernel.io_uring_group)" ;;
	seccomp)
		case $(finding container) in
		docker | podman) remedy="run the container with --security-opt seccomp=PROFILE, where PROFILE allows io_uring_setup, io_uring_enter and io_uring_register" ;;
		kubernetes) remedy="give the pod a securityContext.seccompProfile that allows io_uring_setup, io_uring_enter and io_uring_register" ;;
		*) remedy="allow io_uring_setup, io_uring_enter and io_uring_register in the filter (systemd: SystemCallFilter=)" ;;
		esac
		;;
	security_module) remedy="look for a denial of io_uring in the audit log (SELinux, AppArmor, Landlock)" ;;
	kernel) remedy="use Linux 5.5 or later with CONFIG_IO_URING; gVisor and some sandboxes have none" ;;
	memlock) remedy="raise the limit: ulimit -l 65536" ;;
	descriptors) remedy="raise the limit: ulimit -n" ;;
	*) remedy="ask with strace -e io_uring_setup what it answers" ;;
	esac
	if [ "$(finding backend)" = none ]; then
		problem "io_uring is refused: $(finding reason); AIO_SHIM_BACKEND=uring allows nothing else" "use --backend auto, or: $remedy"
	else
		problem "io_uring is refused: $(finding reason); workers serve instead, with the same results" "$remedy"
	fi
}

examine_signals() {
	used=$(finding sigpending.used) limit=$(finding sigpending.limit)
	case $used$limit in
	*[!0-9]* | '') return ;;
	esac
	if [ $((used * 5)) -ge $((limit * 4)) ] || [ "$limit" -lt 256 ]; then
		problem "the signal queue of this user is small or nearly full ($used of $limit, RLIMIT_SIGPENDING): notifications may arrive late; none is lost" \
			"raise the limit: ulimit -i $((limit < 4096 ? 16384 : limit * 4))"
	fi
}

examine_program() {
	remedy=''
	if ! find_program "$1" || ! check_program "$program"; then
		verdict=2
		fact program "$1"
		problem "$why" "$remedy"
		return
	fi
	fact program "$program"
	[ "$image" = "$program" ] || fact program.interpreter "$image"
	used=$(imports "$image")
	if [ -z "$used" ]; then
		[ "$verdict" -eq 2 ] || verdict=3
		fact program.aio no
		problem "$image and the libraries it is linked with call no AIO function: nothing for this library to do" \
			"if it loads plugins or modules later, run it with --verbose and see"
		return
	fi
	fact program.aio yes
	astray='' others=''
	while IFS='|' read -r symbol wanted user provider; do
		case $user in
		"$image" | "${image##*/}" | "$1") user= ;;
		esac
		fact "program.symbol.$symbol${user:+ of ${user##*/}}" "${wanted:-unversioned}"
		if [ "$provider" != "$library" ]; then
			astray="$astray $symbol" others="$others $provider"
		fi
	done <<END
$used
END
	if [ -n "$astray" ]; then
		verdict=2
		problem "these do not reach this library:$astray; they go to $(printf '%s\n' "$others" | tr ' ' '\n' | grep . | sort -u | tr '\n' ' ')" \
			"take what defines them out of LD_PRELOAD or out of the program"
	fi
}

show() {
	fact status "$verdict"
	if [ "$json" = yes ]; then
		# \, " and control characters are what a JSON string cannot have plain.
		echo '{'
		printf '%s' "$facts" | tr '\001-\011\013-\037' ' ' | sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' \
			-e 's/^\([^=]*\)=\(.*\)$/  "\1": "\2",/' -e '$s/,$//'
		echo '}'
		return "$verdict"
	fi
	get() { printf '%s' "$facts" | sed -n "s/^$1=//p"; }
	feature() { printf '%s %s' "$2" "$(get "feature.$1")"; }
	[ -n "$library" ] && printf 'library   %s (%s)\n' "$library" "$(get version)"
	if [ -n "$(get backend)" ]; then
		printf 'kernel    %s %s, container: %s, seccomp: %s, kernel.io_uring_disabled: %s\n' "$(get kernel)" \
			"$(get machine)" "$(get container)" "$(get seccomp)" "$(get sysctl.io_uring_disabled)"
		if [ "$(get io_uring)" = yes ]; then
			printf 'io_uring  works: %s, %s, %s\n' "$(feature defer_taskrun DEFER_TASKRUN)" \
				"$(feature futex_wait FUTEX_WAIT)" "$(feature registered_ring 'registered ring')"
		elif [ "$(get signal)" -ne 0 ]; then
			printf 'io_uring  refused: %s ends with signal %s\n' "$(get refused_call)" "$(get signal)"
		else
			printf 'io_uring  refused: %s: %s (%s)\n' "$(get refused_call)" "$(get errno)" "$(get errno.number)"
		fi
		printf 'backend   %s (%s)\n' "$(get backend)" "$(get reason)"
		printf 'signals   %s of %s queued (RLIMIT_SIGPENDING)\n' "$(get sigpending.used)" "$(get sigpending.limit)"
	fi
	if [ -n "$(get program)" ]; then
		printf 'program   %s%s\n' "$(get program)" "$(get program.interpreter | sed 's/^/, run by /')"
		printf '%s' "$facts" | sed -n 's/^program\.symbol\.\([^=]*\)=\(.*\)/          calls \1 (\2)/p'
	fi
	n=0
	while [ "$n" -lt "$problems" ]; do
		n=$((n + 1))
		printf 'problem   %s\n' "$(get "problem.$n")"
		[ -n "$(get "remedy.$n")" ] && printf '  remedy  %s\n' "$(get "remedy.$n")"
	done
	case $verdict in
	0) echo 'verdict   requests run on io_uring' ;;
	1) echo 'verdict   requests run on the worker pool' ;;
	2) echo 'verdict   this cannot work' ;;
	3) echo 'verdict   nothing to do: no AIO calls were found' ;;
	esac
	return "$verdict"
}

