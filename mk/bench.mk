# Benchmarks: make bench (everything, rewrites the generated part of BENCHMARKS.md), make bench-quick (must-reach table).
# BENCH_DIR: where the test files are (about 3 GiB; an ext4 file system, not tmpfs).  BENCH_OPTS: more options for run.py.
BENCH_BUILD ?= target/bench-programs
BENCH_DIR   ?= target/bench-files
BENCH_OPTS  ?=
BENCH_CFLAGS = -std=c11 -O2 -g -Wall -Wextra -Werror -pthread

bench_sources := $(addprefix benches/,main.c measure.c files.c load.c engine_sync.c engine_aio.c engine_uring.c \
                   notify.c list.c waiters.c outstanding.c calls.c memory.c)

.PHONY: bench bench-quick bench-programs bench-liburing

bench: all bench-programs
	python3 benches/run.py --lib $(LIB) --programs $(BENCH_BUILD) --dir $(BENCH_DIR) $(BENCH_OPTS)

bench-quick: all bench-programs
	python3 benches/run.py --quick --lib $(LIB) --programs $(BENCH_BUILD) --dir $(BENCH_DIR) $(BENCH_OPTS)

bench-programs: bench-liburing $(BENCH_BUILD)/bench $(BENCH_BUILD)/spawn $(BENCH_BUILD)/empty.so

# One of the contestants is a program on liburing.
bench-liburing:
	@printf '#include <liburing.h>\n' | $(CC) -E -x c - >/dev/null 2>&1 || { \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    echo 'bench: liburing-dev is missing: installing it'; apt-get install -y -q liburing-dev; \
	  else \
	    echo 'bench: install liburing-dev (Debian, Ubuntu) or liburing-devel (Fedora) first' >&2; exit 1; \
	  fi; }

$(BENCH_BUILD)/bench: $(bench_sources) benches/bench.h | bench-liburing
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $(bench_sources) -luring -ldl

$(BENCH_BUILD)/spawn: benches/spawn.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $<

$(BENCH_BUILD)/empty.so: benches/empty.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -shared -fPIC -o $@ $<
