# SPDX-License-Identifier: MIT OR Apache-2.0
# make demo: the example programs and fio, with and without the library.
# Results stay in target/demo (demo.json, table.md).

.PHONY: demo
demo: all
	@LIB='$(LIB)' CC='$(CC)' sh examples/demo.sh
