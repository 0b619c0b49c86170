"""What the contract's suite does not look at: seeds under a running guest, phantoms, errors."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID, uuid4

import libvirt
import pytest

from hosts.virt import domains
from hosts.virt.errors import (
    AgentUnavailable,
    AlreadyExists,
    ConsoleBusy,
    DiskFull,
    HostDegraded,
    HostUnreachable,
    InvalidState,
    NotFound,
    Unsupported,
    VirtError,
)
from hosts.virt.events import lifecycle_event
from hosts.virt.seed import build_seed
from hosts.virt.spec import DiskSpec, EventKind, Power
from hosts.virt.translate import translate
from tests.hosts.contract import MIB
from tests.hosts.real_guests import Guests, guests
from tests.kvm import kvm_host

__all__ = ["guests", "kvm_host"]


@pytest.mark.qemu
def test_a_seed_loses_its_secrets_while_the_guest_has_it(guests: Guests) -> None:
    seed = build_seed({"meta-data": b"instance-id: 1\n", "user-data": b"password: hunter2\n"})
    guests.driver.write_volume(guests.prefix, "seed.iso", seed, capacity_bytes=MIB)
    spec = guests.spec()
    disks = (*spec.disks, DiskSpec(guests.prefix, "seed.iso", "vdb", "raw", readonly=True))
    spec = guests.running(disks=disks)
    inode = (guests.pool_path / "seed.iso").stat().st_ino
    empty = build_seed({"meta-data": b"instance-id: 1\n", "user-data": b""})
    guests.driver.write_volume(guests.prefix, "seed.iso", empty, capacity_bytes=MIB)
    assert b"hunter2" not in (guests.pool_path / "seed.iso").read_bytes()
    assert (guests.pool_path / "seed.iso").stat().st_ino == inode
    assert guests.power(spec.uuid) is Power.RUNNING


@pytest.mark.qemu
def test_many_lifecycles_leave_nothing_behind(guests: Guests) -> None:
    spec = guests.spec()
    for _ in range(5):
        guests.driver.define(spec)
        guests.driver.start(spec.uuid)
        guests.driver.destroy(spec.uuid)
        assert guests.driver.undefine(spec.uuid) is True
    assert guests.driver.domain(spec.uuid) is None
    assert spec.name not in guests.host.qemu_pids()


@pytest.mark.qemu
def test_a_base_that_stands_on_another_file_is_no_base(guests: Guests) -> None:
    base = guests.spec().disks[0].volume
    guests.driver.create_overlay(guests.prefix, "one", base=base, capacity_bytes=MIB)
    with pytest.raises(InvalidState, match="no base"):
        guests.driver.create_overlay(guests.prefix, "two", base="one", capacity_bytes=MIB)


@pytest.mark.qemu
def test_a_half_uploaded_base_is_not_there(guests: Guests) -> None:
    """What a panel killed in the middle of an upload leaves on the host."""
    (guests.pool_path / ".upload-base").touch()
    (guests.pool_path / "base").write_bytes(bytes(4096))
    assert [volume.name for volume in guests.driver.volumes(guests.prefix)] == [".upload-base"]
    with pytest.raises(NotFound):
        guests.driver.create_overlay(guests.prefix, "disk", base="base", capacity_bytes=MIB)
    assert guests.driver.delete_volume(guests.prefix, ".upload-base") is True
    assert list(guests.pool_path.iterdir()) == []


# --- phantoms ---------------------------------------------------------------------


class FakeDomain:
    """A libvirt domain that goes through `states`, and stays in the last."""

    def __init__(self, *states: tuple[int, int]) -> None:
        self.uuid = uuid4()
        self._states = list(states)

    def UUID(self) -> bytes:  # noqa: N802 (libvirt's name)
        return self.uuid.bytes

    def state(self, _flags: int) -> tuple[int, int]:
        return self._states.pop(0) if len(self._states) > 1 else self._states[0]


STARTING = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_STARTING_UP)
RUNNING = (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_BOOTED)
PAUSED = (libvirt.VIR_DOMAIN_PAUSED, libvirt.VIR_DOMAIN_PAUSED_USER)


def test_a_guest_that_starts_is_waited_for() -> None:
    domain = FakeDomain(STARTING, STARTING, RUNNING)
    assert domains.Phantoms().settled(domain) == RUNNING


def test_a_guest_that_never_gets_there_is_a_phantom() -> None:
    domain = FakeDomain(STARTING)
    phantoms = domains.Phantoms(patience=0.2)
    started = time.monotonic()
    with pytest.raises(HostDegraded):
        phantoms.settled(domain)
    assert 0.15 < time.monotonic() - started < 1
    started = time.monotonic()
    with pytest.raises(HostDegraded):
        phantoms.settled(domain)
    assert time.monotonic() - started < 0.05
    assert phantoms.note(domain.uuid, *STARTING)
    assert not phantoms.note(domain.uuid, *PAUSED)
    assert not phantoms.note(domain.uuid, *STARTING)


@pytest.mark.parametrize(
    ("state", "power"),
    [
        (RUNNING, Power.RUNNING),
        (PAUSED, Power.PAUSED),
        (STARTING, Power.UNKNOWN),
        ((libvirt.VIR_DOMAIN_SHUTDOWN, 0), Power.RUNNING),
        ((libvirt.VIR_DOMAIN_SHUTOFF, 0), Power.OFF),
        ((libvirt.VIR_DOMAIN_CRASHED, 0), Power.CRASHED),
        ((libvirt.VIR_DOMAIN_NOSTATE, 0), Power.UNKNOWN),
        ((99, 0), Power.UNKNOWN),
    ],
)
def test_power_says_what_libvirts_state_means(state: tuple[int, int], power: Power) -> None:
    assert domains.power_of(*state) is power


# --- events -------------------------------------------------------------------------

SOMEBODY = UUID(int=7)


@pytest.mark.parametrize(
    ("event", "detail", "kind", "words"),
    [
        (
            libvirt.VIR_DOMAIN_EVENT_STOPPED,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN,
            EventKind.STOPPED,
            "shutdown",
        ),
        (
            libvirt.VIR_DOMAIN_EVENT_STOPPED,
            libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED,
            EventKind.CRASHED,
            "crashed",
        ),
        (
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR,
            EventKind.PAUSED,
            "io_error",
        ),
        (libvirt.VIR_DOMAIN_EVENT_DEFINED, 0, EventKind.DEFINED, ""),
        (libvirt.VIR_DOMAIN_EVENT_CRASHED, 0, EventKind.CRASHED, ""),
    ],
)
def test_lifecycle_events_are_told_in_our_words(
    event: int, detail: int, kind: EventKind, words: str
) -> None:
    told = lifecycle_event(SOMEBODY, event, detail)
    assert told is not None
    assert (told.kind, told.uuid, told.detail) == (kind, SOMEBODY, words)


def test_the_announcement_of_a_stop_is_not_told_twice() -> None:
    assert lifecycle_event(SOMEBODY, libvirt.VIR_DOMAIN_EVENT_SHUTDOWN, 0) is None
    assert lifecycle_event(SOMEBODY, 99, 0) is None


# --- errors -------------------------------------------------------------------------


def error(code: int, message: str = "", *, domain: int = 0, errno: int = 0) -> Any:
    made = libvirt.libvirtError("")
    made.err = (code, domain, message, 2, None, None, None, errno, -1)
    return made


@pytest.mark.parametrize(
    ("raised", "kind", "code", "retryable"),
    [
        (error(libvirt.VIR_ERR_NO_DOMAIN, "x already exists"), NotFound, "not_found", False),
        (
            error(libvirt.VIR_ERR_OPERATION_FAILED, "domain 'x' already exists with uuid y"),
            AlreadyExists,
            "already_exists",
            False,
        ),
        (
            error(libvirt.VIR_ERR_SYSTEM_ERROR, "cannot write: No space left on device", errno=28),
            DiskFull,
            "disk_full",
            True,
        ),
        (
            error(libvirt.VIR_ERR_OPERATION_FAILED, "Active console session exists for this"),
            ConsoleBusy,
            "console_busy",
            False,
        ),
        (
            error(libvirt.VIR_ERR_SYSTEM_ERROR, "refused", domain=libvirt.VIR_FROM_RPC),
            HostUnreachable,
            "host_unreachable",
            True,
        ),
        (
            error(libvirt.VIR_ERR_INTERNAL_ERROR, "client socket is closed"),
            HostUnreachable,
            "host_unreachable",
            True,
        ),
        (
            error(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected"),
            AgentUnavailable,
            "agent_unavailable",
            False,
        ),
        (error(libvirt.VIR_ERR_NO_SUPPORT, "no"), Unsupported, "unsupported", False),
        (error(libvirt.VIR_ERR_XML_INVALID_SCHEMA, "bad"), VirtError, "bad_definition", False),
        (error(libvirt.VIR_ERR_RESOURCE_BUSY, "busy"), VirtError, "resource_busy", True),
        (error(libvirt.VIR_ERR_INTERNAL_ERROR, "boom"), VirtError, "host_error", False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_libvirts_errors_have_one_meaning_each(
    raised: Any, kind: type[VirtError], code: str, retryable: bool
) -> None:
    meant = translate(raised)
    assert type(meant) is kind
    assert (meant.code, meant.retryable) == (code, retryable)
