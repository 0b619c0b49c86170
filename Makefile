# make run     the whole panel on this machine: http://127.0.0.1:8000/
#              PORT=8080 another port, BIND=0.0.0.0 reachable from outside, DRIVER=fake simulated hosts
# make lab     the same on N=3 real hosts of its own, each reached over SSH, all gone at its end (root)
# make lint    style, types, templates, migrations
# make test    all levels of tests, with a table of what ran; ARGS="-k name" for some of them
# make bench   how fast it is, each figure beside a peer of the same run; ARGS="pages live" for some

export DRIVER PORT BIND N
PYTHON := .venv/bin/python

.PHONY: help run lab lint test bench

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

run:
	@deploy/setup run
	@VPSPANEL_DRIVER=$${DRIVER:-$${VPSPANEL_DRIVER:-libvirt}} exec deploy/as-libvirt $(PYTHON) manage.py serve

lab:
	@deploy/setup dev
	@exec deploy/lab run

lint:
	@deploy/setup dev
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -m djlint --quiet --lint templates
	$(PYTHON) manage.py makemigrations --check --dry-run
	$(PYTHON) manage.py check --fail-level WARNING
	bash -n deploy/setup deploy/test deploy/libvirt-host deploy/as-libvirt deploy/lab .ci/run

test:
	@deploy/setup dev
	@deploy/test $(ARGS)

bench:
	@deploy/setup dev
	@$(PYTHON) -m tests.bench $(ARGS)
