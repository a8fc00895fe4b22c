# SPDX-License-Identifier: MIT OR Apache-2.0
# make check-clients: real programs that use POSIX AIO, on the ring and on the workers, each with its own verification.
# CLIENTS: only some of them, e.g. CLIENTS='fio/* nix/*'.  CLIENTS_OPTS: e.g. --backend glibc, --no-install, --verbose.
CLIENTS      ?=
CLIENTS_OPTS ?=

.PHONY: check-clients
check-clients: all
	@LIB='$(LIB)' CC='$(CC)' CARGO='$(CARGO)' python3 ctests/clients/run $(CLIENTS_OPTS) $(foreach name,$(CLIENTS),'$(name)')
