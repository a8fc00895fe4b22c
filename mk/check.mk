# SPDX-License-Identifier: MIT OR Apache-2.0
# make check: everything that must hold, in about ten minutes; its last line is "N passed, M failed".
# A part that wants to be in it adds a target that ends with such a line to CHECKS.
#
#   make c-check C_CHECK_OPTS='--backend ring --filter "suspend.*"'    part of the C tests; ctests/run --help
#   make check-valgrind                                               the C tests under memcheck (half an hour)
#   make check-load                                                   the C tests beside stress-ng, REPEAT times

CHECKS += rust-check c-check symbols-check header-check trace-check unaware-check
C_CHECK_OPTS ?=
REPEAT ?= 20
script_env = LIB='$(LIB)' CC='$(CC)' CARGO='$(CARGO)'

.PHONY: check check-tools c-check symbols-check header-check trace-check unaware-check check-valgrind check-load

check: check-tools all
	@MAKE='$(MAKE)' bash ctests/check $(CHECKS)

check-tools:
	@bash ctests/tools cc python3 objdump readelf strace

c-check: all
	@CC='$(CC)' ctests/run --lib '$(LIB)' --record target/ctests/record.json $(C_CHECK_OPTS)

symbols-check: all
	@$(script_env) bash ctests/symbols.sh

header-check: all
	@$(script_env) bash ctests/header.sh

trace-check: all
	@$(script_env) bash ctests/trace.sh

unaware-check: all
	@$(script_env) bash ctests/unaware.sh

check-valgrind: all
	@bash ctests/tools valgrind
	@CC='$(CC)' ctests/run --lib '$(LIB)' --valgrind --jobs 2 $(C_CHECK_OPTS)

check-load: all
	@bash ctests/tools stress-ng
	@CC='$(CC)' ctests/run --lib '$(LIB)' --load --repeat $(REPEAT) --backend ring,workers $(C_CHECK_OPTS)
