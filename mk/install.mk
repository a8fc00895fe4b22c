# install, uninstall, deb, and the checks of what a user meets: the launcher,
# the installation, the documentation.
#
#   make install PREFIX=/usr/local DESTDIR=    (BINDIR LIBDIR INCLUDEDIR DATADIR MANDIR too)

PREFIX ?= /usr/local
DESTDIR ?=
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DATADIR ?= $(PREFIX)/share
MANDIR ?= $(DATADIR)/man

install_env = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' BINDIR='$(BINDIR)' LIBDIR='$(LIBDIR)' \
	INCLUDEDIR='$(INCLUDEDIR)' DATADIR='$(DATADIR)' MANDIR='$(MANDIR)' TARGET='$(dir $(LIB))'

.PHONY: install uninstall deb man compat check-install check-docs

# Does not build: "make && sudo make install" must not run cargo as root.
install:
	@test -f '$(LIB)' || { echo "run make first: $(LIB) is not there" >&2; exit 1; }
	@$(install_env) sh pkg/install install

uninstall:
	@$(install_env) sh pkg/install uninstall

deb: all
	@TARGET='$(dir $(LIB))' sh pkg/deb target/deb

# Brings the table of variables in aio_shim(7) up to date.
man: all
	@sh man/generate '$(LIB)'

# COMPATIBILITY.md from the last record of the C tests, or from a fresh one.
RECORD ?= target/ctests/record.json
$(RECORD):
	@mkdir -p $(dir $@)
	ctests/run --lib '$(LIB)' --record $@
compat: all $(RECORD)
	python3 man/compat.py $(RECORD) -o COMPATIBILITY.md

check-install: all
	@LIB='$(LIB)' CC='$(CC)' sh pkg/check/run

# Without man and mandoc their part is skipped, and said so; the pasted commands use fio.
check-docs: all
	@sh pkg/check/tools cc:gcc python3 git
	@sh pkg/check/tools man:man-db mandoc fio || :
	@CC='$(CC)' python3 man/check.py --lib '$(LIB)'
