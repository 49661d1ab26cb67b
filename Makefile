# Two commands do everything on a fresh Debian machine: `make demo` and `make test`. The others are for
# people who work on cenotaph. Needs GNU make; the recipes are POSIX sh.

# COMMAND:PACKAGE, the one list of Debian packages. `make demo` needs the first, `make test` the second too.
# Tests that want one of the third skip where it is missing, and say so.
APT_RUN = $(PYTHON):python3 $(PYTHON)+ensurepip:python3-venv
APT_TEST = git:git grep:grep gzip:gzip zip:zip
APT_OPTIONAL = setfattr:attr sqlite3:sqlite3 mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs \
    blkls:sleuthkit photorec:testdisk scalpel:scalpel foremost:foremost unzip:unzip zstd:zstd lz4:lz4 \
    ext4magic:ext4magic extundelete:extundelete strings:binutils chromium:chromium node:nodejs \
    gcc:gcc python3-config:python3-dev qpdf:qpdf pdfinfo:poppler-utils pg_lsclusters:postgresql pg_filedump:postgresql-filedump /usr/share/fonts/opentype/noto/NotoSerifCJK-Bold.ttc:fonts-noto-cjk

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
TESTS ?= tests
WORKERS ?= 2
RECORDS ?= 1000000000
SERVERS ?= $(patsubst %/initdb,%,$(wildcard /usr/lib/postgresql/*/bin/initdb))
PARSERS ?= canonical envelope statement signed notekey policy request inclusion key secret trust http asked parts copy \
    token cmap drawing paper proof

BIN = $(VENV)/bin
KERNEL = $(wildcard kernel/*.py kernel/*.toml kernel/c/* kernel/src/cenotaph_kernel/*.py)
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST = $(BIN)/python -m pytest
ALONG = -n $(WORKERS) --dist worksteal # tests of one file mostly stay together, and share what took long to make

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test slow lint check format crash attacks volume postgres scale versions sanitize bench fuzz vectors web lock clean

help: ## say what there is
	@sed -n 's/^\([a-z]*\):.* ## \(.*\)/  make \1	\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

demo: $(VENV)/run.stamp $(VENV)/kernel.stamp ## build a small city, destroy its data, prove it (ARGS="--residents 500")
	@$(BIN)/cenotaph demo $(ARGS)

test: lint ## pass every check, and every test but the slow ones (TESTS=tests/stores WORKERS=4)
	$(PYTEST) $(ALONG) $(TESTS)

slow: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## the proofs that take longer: whole cases on volumes, a ceremony of many machines
	$(PYTEST) -m slow $(ALONG) $(TESTS)
	CENOTAPH_COMMANDS=real $(PYTEST) $(ALONG) tests/cli tests/acceptance # each from its script

lint: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## style, types, and who may import whom
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	PYTHONPATH=kernel/src $(BIN)/lint-imports --no-logo

format: $(VENV)/dev.stamp ## let ruff lay out the code
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

crash: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## kill a full case at every change it makes to the disk, resume, compare
	CENOTAPH_CRASH=every $(PYTEST) -m "" $(ALONG) -v tests/crash
	CENOTAPH_CRASH=every $(PYTEST) -m "" $(ALONG) -v tests/stores -k killed_anywhere
	CENOTAPH_CRASH=every $(PYTEST) -m "" -v -s tests/stages/test_sealed_the_same.py -k killed

attacks: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## let a lying operator try every lie we know
	$(PYTEST) -m "" $(ALONG) -v tests/attacks

volume: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## wipe volumes of 1 GiB and let outside tools look for what is left (root, loop devices)
	CENOTAPH_VOLUME_MIB=1024 CENOTAPH_VOLUME_PEOPLE=1000 $(PYTEST) -m "" -v -s $(wildcard tests/acceptance/test_volume_*.py)

sanitize: $(VENV)/dev.stamp ## run the kernel's tests with gcc's sanitizers looking on
	kernel/sanitize.sh $(BIN)/python

postgres: $(VENV)/dev.stamp ## destroy 100,000 persons on a PostgreSQL server, look for them in every place (root, loop devices)
	CENOTAPH_PG_PEOPLE=100000 $(PYTEST) -m "" -v -s tests/acceptance/test_postgres_estate.py

scale: $(VENV)/run.stamp $(VENV)/kernel.stamp ## take a billion records through one case, print what it took; goes on where it stopped (RECORDS="10000000 100000000")
	$(BIN)/python bench/scale.py $(RECORDS)

versions: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## try PostgreSQL's tests with every server there is (SERVERS="/opt/pg17/bin /opt/pg18/bin")
	@for server in $(SERVERS); do \
	    echo "== $$("$$server/postgres" --version)"; \
	    CENOTAPH_POSTGRES="$$server" $(PYTEST) -n $(WORKERS) $(wildcard tests/stores/test_postgres_*.py tests/acceptance/test_postgres_*.py) \
	        tests/residue/test_pg_dump.py tests/stages/test_probe_of_servers.py tests/stages/test_one_server.py || exit; \
	done

spark: $(VENV)/spark.stamp ## seal on clusters of this machine: Sail, Spark with two workers (0.7 GB of packages, Java)
	$(PYTEST) -m "" -v tests/engines

fuzz: $(VENV)/dev.stamp ## look for bytes that a parser does not bear, ten minutes each (PARSERS="proof token")
	@$(PIP) install atheris
	@for parser in $(PARSERS); do \
	    $(BIN)/python fuzz/run.py $$parser -max_total_time=600 || exit; \
	done

bench: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## answer each question in bench/ with a figure of this machine
	@for script in bench/[a-z]*.py; do \
	    test -e "$$script" || { echo "cenotaph: error: no script in bench/" >&2; exit 1; }; \
	    echo "== $$script"; $(BIN)/python "$$script" || exit; \
	done

vectors: $(VENV)/dev.stamp $(VENV)/kernel.stamp ## write the test vectors anew and show what changed
	$(BIN)/python vectors/generate.py
	git diff --stat -- vectors

web: ## put web/verify.html together from its parts
	$(PYTHON) web/build.py

lock: ## choose newer dependencies and write requirements/*.txt (needs uv)
	requirements/lock.sh

clean: ## remove the environment, caches and the demo
	rm -rf $(VENV) demo dist build kernel/build kernel/src/*.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -prune -exec rm -rf {} +

# A stamp is written last: an interrupted set-up starts again. Both packages of Python are installed as links to
# this folder, so a change in the code needs no new set-up; a change in the lock does, and one in the kernel's C.
$(VENV)/run.stamp: requirements/run.txt pyproject.toml proof/pyproject.toml
	@requirements/apt.sh $(APT_RUN)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "cenotaph: error: Python 3.11 or newer is needed, and $(PYTHON) is $$($(PYTHON) -V 2>&1)" >&2; \
	    echo "cenotaph: hint: name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "cenotaph: setting up $(VENV), once" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements/run.txt
	@$(PIP) install --no-deps --no-build-isolation --editable proof --editable .
	@touch $@

$(VENV)/dev.stamp: requirements/dev.txt requirements/apt.sh $(VENV)/run.stamp
	@requirements/apt.sh $(APT_TEST) -- $(APT_OPTIONAL)
	@$(PIP) install --require-hashes -r requirements/dev.txt
	@touch $@

$(VENV)/spark.stamp: requirements/spark.txt $(VENV)/dev.stamp $(VENV)/kernel.stamp
	@$(PIP) install --require-hashes -r requirements/spark.txt
	@touch $@

# Where gcc and Python's headers are; else it says what is slower, each time. After dev.stamp, which may bring them.
$(VENV)/kernel.stamp: $(KERNEL) kernel/install.sh $(VENV)/run.stamp
	@kernel/install.sh $(BIN)/python $@
