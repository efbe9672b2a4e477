# What people and CI use. `make` alone lists it.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory

# Terraform's AWS provider from this folder instead of the internet; empty: from the internet.
TF_PLUGIN_DIR ?= $(firstword $(wildcard $(addsuffix /tf-plugins,/opt /usr/local /usr/local/share $(HOME))))
export TF_PLUGIN_DIR
# Settings that are not there would make Terraform warn at every command.
ifeq ($(wildcard $(TF_CLI_CONFIG_FILE)),)
unexport TF_CLI_CONFIG_FILE
endif
PYTHON := .venv/bin/python
INSTALLED := .venv/installed
UV := .cache/uv/bin/uv
UV_VERSION := 0.13.8

# The jobs' library, as Glue gets it by --extra-py-files.
export PYTHONPATH := glue_jobs

.PHONY: help
help:
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@ / { printf "%s%s\n", separator, substr($$0, 5); separator = "\n" } \
	  /^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 } \
	  /^#  / { printf "                %s\n", substr($$0, 4) }' $(MAKEFILE_LIST)

##@ Run it here

.PHONY: run
run: $(INSTALLED) ## Source to lake to warehouse, then a month of business, then again
#  SEED=7 SIZE=10     other data, ten times as many
#  QUICK=1            all jobs in one process, on one Spark session
#  SOURCE_URL=postgresql://user:password@host:port/database [WAREHOUSE_URL=…]
#                     once, on databases that are there already; [?sslmode=disable]
	@$(PYTHON) -m local.run # what is said to make reaches it by the environment

.PHONY: rehearse
rehearse: $(INSTALLED) ## The deployment on a simulated AWS: run, crawled, queried, compared
#  SEED=7 SIZE=1      other data, twenty times as many
	@$(PYTHON) -m local.rehearsal

.PHONY: query
query: $(INSTALLED) ## One query in Athena's SQL on the lake: SQL="select …" or NAME=best_designs
#  TO=rows.csv        into a file, .csv or .parquet; a $ in SQL is written $$
	@$(PYTHON) -m local.query

.PHONY: sql
sql: $(INSTALLED) ## A prompt for Athena's SQL on the lake
	@$(PYTHON) -m local.sql_prompt

.PHONY: compact
compact: $(INSTALLED) ## Write closed batches of the lake together: queries then read fewer files
#  OPEN=100           leaves so many of the newest batches alone
	@$(PYTHON) -m local.compact

.PHONY: notebooks
notebooks: $(INSTALLED) ## Run the notebooks on the lake, into pages in .state/notebooks
#  ATHENA_WORKGROUP=name ATHENA_DATABASE=name     on Athena instead
	@$(PYTHON) -m local.notebooks

.PHONY: reconcile
reconcile: $(INSTALLED) ## Compare source, lake and warehouse of the runs here, row by row
	@$(PYTHON) -m local.reconcile

.PHONY: replay
replay: $(INSTALLED) ## Processed zone and warehouse anew from the raw zone, in a new place
#  TO=name            what the new place is called
#  FROM=batch         batches before this one stay as they are
#  SWITCH=1           when all agrees, the new place takes the old one's
	@$(PYTHON) -m local.replay

.PHONY: clean
clean: $(if $(wildcard .state),$(INSTALLED)) ## Remove what runs left behind; the next one starts over
	@$(if $(wildcard .state),$(PYTHON) -m local.clean)

##@ Check it

# A process a core, up to four: each has a Spark and a PostgreSQL of its own. Quick files first.
TEST := $(PYTHON) -m pytest -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder \
  --cov --cov-fail-under=90 --durations=10

.PHONY: test
test: $(INSTALLED) ## All tests but the slow ones; 90 % of glue_jobs has to be covered
#  With Terraform, the deployment on a simulated AWS too;
#  TF_PLUGIN_DIR=/folder  offline, with the provider from there
	@$(TEST)

.PHONY: soak
soak: $(INSTALLED) ## Kill each job at each of its effects; histories at random, as long as you like
#  MINUTES=60         of random histories; each failure names the seed that repeats it
	@$(PYTHON) -m pytest -s tests/soak

.PHONY: test-all
test-all: $(INSTALLED) tf-ready ## These and the slow ones: network, warehouse, rehearsal
	@$(TEST) -m ''

.PHONY: check
check: lint audit ## Style, types and security

.PHONY: lint
lint: $(INSTALLED) ## Style, format and types
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@$(PYTHON) -m mypy glue_jobs local

.PHONY: audit
audit: $(INSTALLED) ## Insecure code, packages with known vulnerabilities
#  STRICT=1           fails on packages that the index knows nothing of, too
	@$(PYTHON) -m bandit --quiet --recursive --configfile pyproject.toml glue_jobs local
	@$(PYTHON) -m local.audit $(if $(STRICT),--strict)

.PHONY: bench
bench: $(INSTALLED) ## Measure the pipeline
	@$(PYTHON) -m benchmarks.pipeline

##@ Work on it

.PHONY: setup
setup: $(INSTALLED) ## The virtual environment .venv, which the other commands make by themselves

.PHONY: fix
fix: $(INSTALLED) ## Mend what style and format can mend by themselves
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .

.PHONY: docs
docs: $(INSTALLED) ## docs/tables.md from the declared tables
	@$(PYTHON) -m local.catalogue

.PHONY: lock
lock: $(UV) ## Pin requirements*.in anew; UPGRADE=1 takes the newest versions they allow
	@for name in requirements requirements-dev; do \
	  $(UV) pip compile --quiet --python-version 3.11 $(if $(UPGRADE),--upgrade) \
	    --custom-compile-command 'make lock' $$name.in -o $$name.txt; \
	done

##@ Deploy it

TF := terraform -chdir=terraform
TF_INIT := $(TF) init -input=false $(if $(TF_PLUGIN_DIR),-plugin-dir=$(TF_PLUGIN_DIR))
ENV ?= dev
TF_ENV = -var-file=env/$(ENV).tfvars

.PHONY: package
package: $(INSTALLED) ## Library and wheels for Glue, into build/; same input, same bytes
	@$(PYTHON) -m local.package

.PHONY: views
views: $(INSTALLED) ## terraform/views.json and tables.json from the declared tables
	@$(PYTHON) -m local.athena_views

.PHONY: tf-docs
tf-docs: $(INSTALLED) ## terraform/README.md from variables and outputs
	@$(PYTHON) -m local.terraform_docs

.PHONY: tf-program
tf-program:
	@command -v terraform >/dev/null || { \
	  echo "terraform is not on the PATH; all of \`make\` but this works without it, make rehearse too" >&2; exit 1; }

# Apart from a deployment's folder: its state is in AWS, and would want credentials here too.
tf-ready tf-check: export TF_DATA_DIR := .terraform/check

# Says why not when Terraform's provider cannot be had.
.PHONY: tf-ready
tf-ready: tf-program
	@said=$$($(TF_INIT) -backend=false -no-color 2>&1) || { \
	  echo "terraform init cannot have what it needs:" $$(grep -m 1 Error <<<"$$said"); exit 1; }

.PHONY: tf-check
tf-check: $(INSTALLED) tf-ready ## Format, generated files, validate, test with a mocked provider
	@$(TF) fmt -check -recursive -diff
	@$(PYTHON) -m local.athena_views --check
	@$(PYTHON) -m local.terraform_docs --check
	@$(TF) validate
	@$(TF) test

.PHONY: tf-init
tf-init: tf-program
	@test -n "$(STATE_BUCKET)" || { echo "STATE_BUCKET is not set: name the bucket of Terraform's state (docs/deploy.md)"; exit 1; }
	@$(TF_INIT) -reconfigure -backend-config=env/$(ENV).s3.tfbackend -backend-config=bucket=$(STATE_BUCKET)

.PHONY: plan
plan: package tf-init ## What a deployment would change
#  ENV=prod STATE_BUCKET=name
	@$(TF) plan -input=false -out=$(ENV).tfplan $(TF_ENV)

.PHONY: deploy
deploy: package tf-init ## Make AWS what terraform/ says
#  ENV=prod STATE_BUCKET=name
	@$(TF) apply $(if $(CI),-input=false -auto-approve) $(TF_ENV)

.PHONY: destroy
destroy: package tf-init ## Remove what deploy made; data only where protect_data is false
#  ENV=dev STATE_BUCKET=name
	@$(TF) destroy $(if $(CI),-input=false -auto-approve) $(TF_ENV)

# Built anew when the pins change, so that it never holds more or less than they say.
$(INSTALLED): requirements.txt requirements-dev.txt
	@for python in python3.11 python3 ''; do \
	  $${python:-false} -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done || true; \
	if [ -z "$$python" ]; then \
	  echo "Python 3.11 or later is needed, and neither python3.11 nor python3 is that." \
	    "Debian, Ubuntu: apt-get install python3 python3-venv" >&2; exit 1; \
	fi; \
	if ! $$python -c 'import ensurepip, venv' 2>/dev/null; then \
	  echo "$$($$python -V) lacks the module venv. Debian, Ubuntu: apt-get install python3-venv" >&2; \
	  exit 1; \
	fi; \
	echo "Setting up .venv with $$($$python -V), once; a minute or two …"; \
	$$python -m venv --clear .venv
	@# Complete pins need no resolving; what is never imported need not be compiled.
	@$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps --no-compile --use-pep517 \
	  -r requirements.txt -r requirements-dev.txt
	@touch $@

$(UV):
	@$(if $(wildcard $(PYTHON)),$(PYTHON),python3) -m venv .cache/uv
	@.cache/uv/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
