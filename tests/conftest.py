"""What every test gets, and the table of levels at the end of a run."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from playwright.sync_api import expect
from pytest_django import DjangoDbBlocker

from tests import levels, migrated, settings
from tests.emptying import empty_quickly

# Without libvirt's module the level is reported as not run, and the rest runs.
pytest_plugins = ["tests.kvm", "tests.lab"] if importlib.util.find_spec("libvirt") else []

TALLY = levels.Tally()
# Milliseconds that a page may take where a test does not say otherwise: machines are busy.
PATIENCE = 20_000


def pytest_configure() -> None:
    """Browsers are given time."""
    expect.set_options(timeout=PATIENCE)


def _marked(item: pytest.Item) -> set[str]:
    names = (mark.name for mark in item.iter_markers())
    return levels.marks_of(names, getattr(item, "fixturenames", ()))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Sort tests into levels, browsers last, slow ones first; leave out what cannot run here.

    A run on PostgreSQL takes the tests that ask for it (`postgres`,
    `both_databases`); a run on SQLite takes all but those marked `postgres`.
    """
    on_postgres = connection.vendor == "postgresql"
    kept: list[pytest.Item] = []
    left_out: list[pytest.Item] = []
    for item in items:
        marks = _marked(item)
        wanted = marks & {"postgres", "both_databases"} if on_postgres else "postgres" not in marks
        (kept if wanted else left_out).append(item)
        item.user_properties.append(("levels", _of(item, marks, on_postgres=on_postgres)))
        for mark in marks & set(levels.OF_MARKER):
            # `-m` sees the level of a fixture, too.
            item.add_marker(getattr(pytest.mark, mark))
            if reason := levels.missing(mark):
                item.add_marker(pytest.mark.skip(reason=reason))
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = kept
    if hasattr(config, "workerinput"):
        # Files with slow tests first: a long one that begins last leaves the other workers idle.
        slow = {item.path for item in items if "slow" in _marked(item)}
        items.sort(key=lambda item: item.path not in slow)
    # Playwright leaves an event loop running in this thread, beside which neither the ORM nor
    # an asyncio test can run: so its tests come last.
    items.sort(key=lambda item: "browser" in _marked(item))


def _of(item: pytest.Item, marks: set[str], *, on_postgres: bool) -> list[str]:
    if on_postgres:
        return ["PostgreSQL"]
    return sorted(levels.levels_of(marks, getattr(item, "fixturenames", ())))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    request: pytest.FixtureRequest,
    django_db_modify_db_settings_parallel_suffix: None,
    django_db_blocker: DjangoDbBlocker,
) -> None:
    """The test database begins as a copy of a migrated one."""
    if connection.vendor == "postgresql":
        empty_quickly(connection)
    if request.config.getoption("create_db"):
        return
    test = connection.settings_dict["TEST"]
    if connection.vendor == "sqlite":
        migrated.copy_to(Path(test["NAME"]))
        return
    with django_db_blocker.unblock():
        test["TEMPLATE"] = migrated.template(connection)


@pytest.fixture(scope="session")
def django_db_keepdb() -> bool:
    """On SQLite the file is there before Django looks; it goes with the run's directory."""
    return connection.vendor == "sqlite"


@pytest.fixture(scope="session")
def browser_type_launch_args(
    browser_type_launch_args: dict[str, Any], django_db_setup: None
) -> dict[str, Any]:
    """Debian's own Chromium, which root may start only without its sandbox.

    The database comes first: beside Playwright's event loop it cannot be made.
    """
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {**browser_type_launch_args, "executable_path": found, "args": arguments}


@pytest.fixture(autouse=True)
def _orm_beside_playwright(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright keeps an event loop in the test's thread, so Django would refuse the ORM there."""
    if "browser" in _marked(request.node):
        monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count each test once: its call if it passed, any phase in which it failed.

    What is known of a test comes with its report, which a parallel run sends
    from the process that ran it.
    """
    known: dict[str, Any] = dict(report.user_properties)
    for level in known.get("levels", ()):
        if report.failed:
            TALLY.failed[level] += 1
        elif report.when == "call" and report.passed:
            TALLY.passed[level] += 1
        elif report.skipped and isinstance(report.longrepr, tuple):
            TALLY.not_run[level] = str(report.longrepr[2]).removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table: `level: N passed`, or why it did not run."""
    if connection.vendor != "postgresql":
        TALLY.not_run["PostgreSQL"] = "run again with DATABASE_URL=postgres://…"
    terminalreporter.section("levels")
    for line in TALLY.lines():
        terminalreporter.write_line(line)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Hand the counts to `make test`, which adds up its runs."""
    if hasattr(session.config, "workerinput"):
        return
    if file := os.environ.get("VPSPANEL_LEVELS_FILE"):
        TALLY.add_to(Path(file))


def pytest_unconfigure() -> None:
    """Remove this run's directory."""
    settings.remove_var()
