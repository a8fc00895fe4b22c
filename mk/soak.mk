# SPDX-License-Identifier: MIT OR Apache-2.0
# make soak: everything at once on verified data, ten minutes in all, half of them on each backend; ends with a summary.
# SOAK_SECONDS=N for another time. Not part of make check. Run as root it is a user of its own with a small signal queue.

SOAK_SECONDS ?= 600
SOAK_DIR = $(BUILD)/soak

.PHONY: soak

$(SOAK_DIR)/soak: ctests/soak.c ctests/exercise.h ctests/hostile.h ctests/harness.h
	@mkdir -p '$(SOAK_DIR)'
	$(CC) -std=c11 -O1 -g -pthread -Wall -Wextra -o '$@' ctests/soak.c

# The time limit is for hangs: a request that never ends fails by itself after a minute.
soak: all $(SOAK_DIR)/soak
	@status=0; half=$$(( $(SOAK_SECONDS) / 2 )); \
	for backend in ring:uring workers:threads; do \
		AIO_TEST_BACKEND=$${backend%:*} AIO_SHIM_BACKEND=$${backend#*:} AIO_TEST_DIR='$(SOAK_DIR)' LD_PRELOAD='$(LIB)' \
			timeout -k 5 $$(( half + 180 )) '$(SOAK_DIR)/soak' $$half \
			|| { status=$$?; echo "soak on $${backend%:*} failed with status $$status"; }; \
	done; \
	[ $$status = 0 ] && echo "soak passed: $(SOAK_SECONDS) s, 0 faults, 0 lost" || { echo "soak failed"; exit 1; }
