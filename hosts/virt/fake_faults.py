"""How a simulated host is made to fail, and what it remembers of each call.

Faults are rows of the host's database, so a test can plan them for a worker in
another process. Each names a call of the contract, or "*" for every call.
"""

from __future__ import annotations

import enum
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from hosts.virt import errors
from hosts.virt.driver import Driver
from hosts.virt.errors import CallTimeout, HostUnreachable, VirtError
from hosts.virt.fake_guest import settle
from hosts.virt.fake_store import Store, moment, record_call, setting
from hosts.virt.spec import DomainSpec, FilterSpec, NetworkSpec

CALLS = frozenset(
    name
    for name, value in vars(Driver).items()
    if callable(value) and not name.startswith("_") and name != "close"
)
FOREVER = 2**31


class Fault(enum.StrEnum):
    """What can happen to a call besides an error of its own."""

    DELAY = "delay"  # only slower
    HANG = "hang"  # nothing happens until the deadline, then CallTimeout
    LOST = "lost"  # the effect happens, the reply is lost: CallTimeout
    KILL = "kill"  # the calling process gets SIGKILL before the effect
    KILL_AFTER = "kill_after"  # … right after the effect


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call as the host saw it; `outcome` is "ok", an error code, or "" if it never ended."""

    name: str
    args: tuple[str, ...]
    pid: int
    at: datetime
    outcome: str


@dataclass(frozen=True, slots=True)
class _Plan:
    call_id: int
    fault: dict[str, Any]
    delay: float


class Gate:
    """Every call of a `FakeDriver` passes through here."""

    def __init__(self, store: Store, *, latency: float, closing: threading.Event) -> None:
        self._store = store
        self._latency = latency
        self._closing = closing

    @contextmanager
    def call(self, name: str, args: list[str], timeout: float) -> Iterator[None]:
        """Around the effect of one call: log it, and let planned faults happen."""
        plan = self._begin(name, args)
        try:
            self._before(name, plan, timeout)
            yield
            self._after(name, plan)
        except BaseException as error:
            self._record(plan, error.code if isinstance(error, VirtError) else repr(error))
            raise
        self._record(plan, "ok")

    def _begin(self, name: str, args: list[str]) -> _Plan:
        with self._store.transaction() as db:
            settle(db)
            call_id = record_call(db, name, args)
            if setting(db, "reachable", "1") != "1":
                return _Plan(call_id, _describe(HostUnreachable("The host does not answer")), 0.0)
            row = _next_fault(db, name)
            if row is None:
                return _Plan(call_id, {"what": Fault.DELAY}, 0.0)
            return _Plan(call_id, json.loads(row["fault"]), row["delay"])

    def _before(self, name: str, plan: _Plan, timeout: float) -> None:
        what = plan.fault["what"]
        wait = timeout if what == Fault.HANG else min(timeout, self._latency + plan.delay)
        if wait > 0:
            self._closing.wait(wait)
        if wait >= timeout:
            raise CallTimeout(f"{name} did not end within {timeout:g} s")
        if what == Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if what == "error":
            raise _rebuild(plan.fault)

    def _after(self, name: str, plan: _Plan) -> None:
        if plan.fault["what"] == Fault.KILL_AFTER:
            os.kill(os.getpid(), signal.SIGKILL)
        if plan.fault["what"] == Fault.LOST:
            raise CallTimeout(f"The reply to {name} was lost")

    def _record(self, plan: _Plan, outcome: str) -> None:
        with self._store.transaction() as db:
            db.execute("UPDATE call SET outcome = ? WHERE id = ?", (outcome, plan.call_id))


def _next_fault(db: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The first planned fault whose turn it is; counts this call against each plan for it."""
    chosen: sqlite3.Row | None = None
    rows = db.execute("SELECT * FROM fault WHERE call IN (?, '*') ORDER BY id", (name,)).fetchall()
    for row in rows:
        if row["skip"] > 0:
            db.execute("UPDATE fault SET skip = skip - 1 WHERE id = ?", (row["id"],))
        elif chosen is None:
            chosen = row
            db.execute("UPDATE fault SET remaining = remaining - 1 WHERE id = ?", (row["id"],))
    db.execute("DELETE FROM fault WHERE remaining <= 0")
    return chosen


# --- planning ---------------------------------------------------------------------


def plan_fault(
    store: Store,
    call: str,
    error: VirtError | type[VirtError] | Fault | None,
    times: int,
    after: int,
    delay: float,
) -> None:
    """See `FakeDriver.inject`."""
    if call != "*" and call not in CALLS:
        raise ValueError(f"No such call: {call!r}. Calls: {', '.join(sorted(CALLS))}")
    if error is None:
        fault: dict[str, Any] = {"what": Fault.DELAY}
    elif isinstance(error, Fault):
        fault = {"what": error}
    else:
        if isinstance(error, type):
            error = error(f"Injected {error.__name__} at {call}")
        fault = _describe(error)
    with store.transaction() as db:
        db.execute(
            "INSERT INTO fault (call, fault, skip, remaining, delay) VALUES (?, ?, ?, ?, ?)",
            (call, json.dumps(fault), after, times, delay),
        )


def call_log(store: Store, name: str | None = None) -> list[CallRecord]:
    """What was called, oldest first; only calls named `name` if it is given."""
    rows = store.read("SELECT * FROM call WHERE ? IS NULL OR name = ? ORDER BY id", (name, name))
    return [
        CallRecord(
            name=row["name"],
            args=tuple(json.loads(row["args"])),
            pid=row["pid"],
            at=moment(row["at"]),
            outcome=row["outcome"],
        )
        for row in rows
    ]


def describe_args(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[str]:
    """Arguments for the call log: short, and without secrets."""
    if name == "set_password":
        args, kwargs = args[:2], {key: kwargs[key] for key in ("uuid", "user") if key in kwargs}
    return [_short(value) for value in args] + [f"{k}={_short(v)}" for k, v in kwargs.items()]


def _short(value: object) -> str:
    if isinstance(value, DomainSpec):
        return f"{value.uuid} {value.name}"
    if isinstance(value, FilterSpec | NetworkSpec):
        return value.name
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, str | int | float | bool | UUID) or value is None:
        return str(value)[:200]
    return type(value).__name__


def _describe(error: VirtError) -> dict[str, Any]:
    return {
        "what": "error",
        "class": type(error).__name__,
        "message": str(error),
        "code": error.code,
        "retryable": error.retryable,
    }


def _rebuild(fault: dict[str, Any]) -> VirtError:
    kind = getattr(errors, fault["class"], VirtError)
    error: VirtError = kind(fault["message"], code=fault["code"], retryable=fault["retryable"])
    return error
