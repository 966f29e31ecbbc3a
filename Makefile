# Everything runs from here. `make demo` shows what imgwriter does; `make test` proves it.
# Written for a fresh Debian 12 with Python 3.11. Where there is no root, apt-get is run through sudo.

PYTHON  ?= $(shell scripts/find-python 3.11 || scripts/find-python 3.12 || scripts/find-python 3.13 || echo python3)
VENV    := .venv
BIN     := $(VENV)/bin
CACHE   := .cache
DEMO    := demo-images

# Further versions to run the quick tests on: those of these that are installed.
FURTHER := $(foreach v,3.12 3.13,$(if $(shell scripts/find-python $(v)),$(v)))

# The judges, and what builds their material. No compiler is among them.
PACKAGES := e2fsprogs gdisk parted fdisk dosfstools mtools xfsprogs btrfs-progs acl attr libcap2-bin \
            qemu-system-x86 qemu-system-arm qemu-utils qemu-user-static busybox-static mmdebstrap uidmap zstd xz-utils lz4 libarchive-tools \
            genext2fs bmap-tools git rsync nix-bin chromium ovmf qemu-efi-aarch64 grub-common grub-pc-bin grub-efi-amd64-bin sleuthkit

.PHONY: help demo setup lint types test test-further format bench clean

help:
	@echo 'make demo    build three images of examples/tree (legacy, efi, none) and show what was made'
	@echo 'make test    set up what the tests need, then lint, types and all tests'
	@echo 'make setup   only the setting up: Debian packages, $(VENV), the guest kernel, a Debian root'
	@echo 'make lint    ruff            make types   mypy --strict        make format   ruff format'
	@echo 'make bench   imgwriter beside mke2fs -d, tar, a loop mount with cp, and qemu-img'
	@echo 'make clean   remove everything that was made here'

# --- Environments. Each stamp is newer than pyproject.toml when its environment is up to date. ---

$(VENV)/.runtime: pyproject.toml
	scripts/make-venv $(PYTHON) $(VENV) -e .
	@touch $@

$(VENV)/.dev: pyproject.toml
	scripts/make-venv $(PYTHON) $(VENV) -e '.[dev]'
	@touch $(VENV)/.runtime $@

.venv-%/.dev: pyproject.toml
	scripts/make-venv $$(scripts/find-python $*) .venv-$* -e '.[dev]'
	@touch $@

# The `ext4` package wants another crcmod than imgwriter does: an environment of its own.
.venv-ext4/.ready: tests/oracles/ext4_requirements.txt
	scripts/make-venv $(PYTHON) .venv-ext4 -r $<
	@touch $@

# --- What the tests look at ---

$(CACHE)/guest/.ready: scripts/fetch-guest-kernel | packages
	scripts/fetch-guest-kernel $(@D)
	@touch $@

$(CACHE)/debian-root.tar: scripts/fetch-debian-root | packages
	scripts/fetch-debian-root $@

# What boots: a system of one program, for two architectures, and a Debian.
$(CACHE)/boot-tree/.ready: scripts/fetch-boot-tree $(CACHE)/guest/.ready | packages
	scripts/fetch-boot-tree $(@D)/root $(CACHE)/guest
	@touch $@

$(CACHE)/arm64-boot-tree/.ready: scripts/fetch-arm64-boot-tree scripts/fetch-boot-tree scripts/fetch-guest-kernel | packages
	scripts/fetch-arm64-boot-tree $(@D)/root
	@touch $@

$(CACHE)/debian-boot-root.tar: scripts/fetch-debian-boot-root | packages
	scripts/fetch-debian-boot-root $@

# An interpreter and codecs for another architecture, to be emulated.
$(CACHE)/arm64/.ready: scripts/fetch-arm64-python $(VENV)/.dev | packages
	scripts/fetch-arm64-python $(@D) $(BIN)/python
	@touch $@

.PHONY: packages
packages:
	@scripts/apt-install $(PACKAGES)

setup: packages $(VENV)/.dev $(FURTHER:%=.venv-%/.dev) .venv-ext4/.ready $(CACHE)/guest/.ready $(CACHE)/debian-root.tar \
       $(CACHE)/arm64/.ready $(CACHE)/boot-tree/.ready $(CACHE)/arm64-boot-tree/.ready $(CACHE)/debian-boot-root.tar

# --- Checks ---

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(VENV)/.dev
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(VENV)/.dev
	$(BIN)/mypy

test-further: $(FURTHER:%=test-%)

test-%: .venv-%/.dev
	.venv-$*/bin/python -m pytest -q -n 2 --dist loadscope tests/unit tests/property tests/test_architecture.py

# The complete run comes last, so that the output ends with its summary.
test: setup
	@$(MAKE) --no-print-directory lint types test-further
	$(BIN)/python -m pytest -q -n 2 --dist loadscope

bench: $(VENV)/.runtime packages
	$(BIN)/python benchmarks/bench.py

# --- To see it ---

demo: $(VENV)/.runtime
	@for table in legacy efi none; do \
	    echo; echo "== imgwriter build --partition-table $$table"; \
	    $(BIN)/imgwriter build --tree examples/tree --overrides examples/overrides.txt --exclude .keep \
	        --partition-table $$table --additional-space 64M --output $(DEMO)/$$table || exit; \
	done
	@echo; ls -ls --block-size=1 $(DEMO)/*/nixos.img

clean:
	rm -rf $(VENV) .venv-* $(CACHE) $(DEMO) nixos-disk-image build dist *.egg-info \
	    .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
