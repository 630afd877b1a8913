# Two commands do everything on a fresh machine: `make demo` and `make test`.
SHELL := /bin/bash
.PHONY: help build demo test lint bench clean
library := dexgrasp_common dexgrasp_description dexgrasp_perception dexgrasp_planner dexgrasp_control dexgrasp_sim dexgrasp_training

help:        ## what there is
	@grep -E '^[a-z]+: .*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /\1\t/' | column -t -s$$'\t'

build:       ## a ROS 2 workspace from a bare Python 3.11 (or with the ROS 2 that is sourced)
	@setup/build.sh

demo: build  ## the simulated UR5 and LEAP hand clear a table; writes demo_report.json
	@. ./env.sh && dexgrasp demo --report demo_report.json

test: build  ## every test, the slow ones too
	@. ./env.sh && python -m pytest

lint: build  ## ruff and mypy
	@. ./env.sh && ruff check . && ruff format --check . && for package in $(library); do mypy $$package/$$package || exit 1; done

# Scanned meshes are measured where their folder is given: make bench meshes=../shared/data/objects
meshes := $(wildcard ../shared/data/objects)
bench: build ## the figures of this machine; writes bench_report.json, bench_training_report.json
	@. ./env.sh && python -m dexgrasp.bench; dexgrasp-train bench $(if $(meshes),--meshes $(meshes)) --report bench_training_report.json

clean:       ## remove everything that make build made
	rm -rf .venv build install log
