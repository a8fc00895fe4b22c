# SPDX-License-Identifier: MIT OR Apache-2.0
# make check: everything that must hold, in about a quarter of an hour; its last line is "N passed, M failed".
# A part that wants to be in it adds a target that ends with such a line to CHECKS.
#
#   make c-test C_TEST_OPTS='--backend ring --filter "suspend.*"'    part of the C tests; ctests/run --help
#   make check-valgrind                                               the C tests under memcheck (half an hour)
#   make check-load                                                   the C tests beside stress-ng, REPEAT times

CHECKS += rust-check loom c-test perturbed-test symbols-test header-test trace-test unaware-test sanitizer-test
C_TEST_OPTS ?=
REPEAT ?= 20
# Not in the recipe: make would run a line that names it even under -n.
export CHECK_MAKE := $(MAKE)
script_env = LIB='$(LIB)' CC='$(CC)' CARGO='$(CARGO)'

.PHONY: check check-tools c-test perturbed-test symbols-test header-test trace-test unaware-test sanitizer-test check-valgrind check-load

check: check-tools all
	@bash ctests/check $(CHECKS)

check-tools:
	@bash ctests/tools cc python3 objdump readelf strace

c-test: all
	@CC='$(CC)' ctests/run --lib '$(LIB)' --record target/ctests/record.json $(C_TEST_OPTS)

# The library with rare states made common: small bounds, refusals, pauses (src/perturb.rs).
perturbed-test:
	CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 $(CARGO) rustc --release --lib \
		--crate-type cdylib --target-dir $(BUILD)/perturbed -- --cfg perturbed
	@CC='$(CC)' ctests/run --lib $(BUILD)/perturbed/release/libaio_shim.so --perturbed --backend ring,workers --jobs 8 $(C_TEST_OPTS)

symbols-test: all
	@$(script_env) bash ctests/symbols.sh

header-test: all
	@$(script_env) bash ctests/header.sh

trace-test: all
	@$(script_env) bash ctests/trace.sh

unaware-test: all
	@$(script_env) bash ctests/unaware.sh

sanitizer-test: all
	@$(script_env) bash ctests/sanitizer.sh

check-valgrind: all
	@bash ctests/tools valgrind
	@CC='$(CC)' ctests/run --lib '$(LIB)' --valgrind --jobs 2 $(C_TEST_OPTS)

check-load: all
	@bash ctests/tools stress-ng
	@CC='$(CC)' ctests/run --lib '$(LIB)' --load --repeat $(REPEAT) --backend ring,workers $(C_TEST_OPTS)
