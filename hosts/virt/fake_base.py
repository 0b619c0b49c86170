"""What every part of the simulated host shares: its address, its options, its gate."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from sqlite3 import Connection
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import parse_qsl, urlsplit

from hosts.virt.fake_faults import Gate, describe_args
from hosts.virt.fake_guest import settle
from hosts.virt.fake_store import Store, memory_store

GIB = 1024**3

P = ParamSpec("P")
R = TypeVar("R")
Base = TypeVar("Base", bound="FakeBase")


@dataclass(frozen=True, slots=True)
class FakeOptions:
    """`fake:///NAME?dir=/path&cpus=4&…`: each option below, by its name, in the query."""

    name: str
    dir: str = ""  # where the state file lives; empty: in this process
    cpus: int = 4
    memory_mib: int = 8192
    disk_gib: float = 100
    virt_type: str = "kvm"  # what `probe` says; "qemu" refuses domains of type "kvm"
    shutdown_s: float = 0.3  # how long a guest takes to power off or reboot when asked
    move_s: float = 0  # how long a guest takes to another host
    latency_ms: float = 0  # added to every call
    timeout_s: float = 30  # the deadline of every call that names none


def parse_uri(uri: str) -> FakeOptions:
    """The options in a `fake:` URI. Raises `ValueError` with a sentence that says what is wrong."""
    parts = urlsplit(uri)
    name = parts.path.strip("/")
    if parts.scheme != "fake" or parts.netloc or not name or "/" in name:
        raise ValueError(f"A simulated host is addressed as fake:///NAME?option=value, not {uri!r}")
    values: dict[str, str | int | float] = {}
    for key, text in parse_qsl(parts.query, keep_blank_values=True):
        if key == "name" or key not in FakeOptions.__slots__:
            raise ValueError(f"Unknown option {key!r} in {uri!r}")
        try:
            values[key] = _convert(key, text)
        except ValueError:
            raise ValueError(f"Option {key!r} in {uri!r} must be a number") from None
    return FakeOptions(name, **values)  # type: ignore[arg-type]


def _convert(key: str, text: str) -> str | int | float:
    kind = FakeOptions.__annotations__[key]
    if kind == "str":
        return text
    return int(text) if kind == "int" else float(text)


class FakeBase:
    """The state of one simulated host and the gate to it."""

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.options = parse_uri(uri)
        self.sharing: list[FakeBase] = []  # hosts that see the same storage
        self._closing = threading.Event()
        if self.options.dir:
            self._store = Store(Path(self.options.dir) / f"{self.options.name}.sqlite3")
        else:
            self._store = memory_store(self.options.name)
        self._gate = Gate(
            self._store, latency=self.options.latency_ms / 1000, closing=self._closing
        )

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A write transaction on a state in which everything due has happened."""
        with self._store.transaction() as db:
            settle(db)
            yield db
        for other in self.sharing:
            _copy_volumes(self._store, other._store)


def host_call(
    method: Callable[Concatenate[Base, P], R],
) -> Callable[Concatenate[Base, P], R]:
    """A call of the contract: logged, delayed, and failed when that was planned."""
    name = method.__name__

    @functools.wraps(method)
    def through_the_gate(self: Base, /, *args: P.args, **kwargs: P.kwargs) -> R:
        timeout = kwargs.get("timeout", self.options.timeout_s)
        described = describe_args(name, args, kwargs)
        with self._gate.call(name, described, float(str(timeout))):
            return method(self, *args, **kwargs)

    return through_the_gate


def _copy_volumes(source: Store, target: Store) -> None:
    """What one host has written is there for the other one, too."""
    rows = source.read("SELECT * FROM volume", ())
    with target.transaction() as db:
        db.execute("DELETE FROM volume")
        for row in rows:
            marks = ", ".join("?" * len(row))
            db.execute(f"INSERT INTO volume VALUES ({marks})", tuple(row))  # noqa: S608
