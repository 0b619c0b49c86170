"""The simulated host fails, and changes behind the panel's back, as it is told to."""

from __future__ import annotations

import asyncio
import hashlib
import io
import threading
import time
from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest

from hosts.virt.errors import (
    AgentUnavailable,
    CallTimeout,
    DiskFull,
    HostDegraded,
    HostUnreachable,
    NotFound,
    Unsupported,
    VirtError,
)
from hosts.virt.fake import FakeDriver, Fault
from hosts.virt.fake_faults import CALLS
from hosts.virt.fake_store import reset_memory
from hosts.virt.spec import DomainEvent, DomainSpec, EventKind, Power
from tests.hosts.contract import wait_until

GIB = 1024**3


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    name = uuid4().hex[:8]
    made = FakeDriver(f"fake:///{name}?shutdown_s=0.1&timeout_s=0.4&disk_gib=1")
    made.ensure_pool("pool", "/var/lib/vps")
    yield made
    made.close()
    reset_memory(name)


def guest(driver: FakeDriver, name: str = "guest", *, start: bool = True) -> UUID:
    spec = DomainSpec(
        uuid=uuid4(),
        name=name,
        vcpus=1,
        memory_mib=64,
        disks=(),
        nics=(),
        virt_type="kvm",
        metadata={"server": "1"},
    )
    driver.define(spec)
    if start:
        driver.start(spec.uuid)
    return spec.uuid


# --- faults -------------------------------------------------------------------------


def test_an_injected_error_is_raised_once_and_without_effect(driver: FakeDriver) -> None:
    driver.inject("create_overlay", DiskFull)
    driver.inject("start", VirtError("QEMU did not start", code="qemu", retryable=True))
    uuid = guest(driver, start=False)
    with pytest.raises(VirtError, match="QEMU did not start") as caught:
        driver.start(uuid)
    assert (caught.value.code, caught.value.retryable) == ("qemu", True)
    assert driver.domain(uuid).power is Power.OFF  # type: ignore[union-attr]
    driver.start(uuid)
    with pytest.raises(DiskFull):
        driver.create_overlay("pool", "disk", base="base", capacity_bytes=1)


def test_after_and_times_choose_which_calls_fail(driver: FakeDriver) -> None:
    driver.inject("domains", NotFound, times=2, after=1)
    outcomes = []
    for _ in range(5):
        try:
            driver.domains()
            outcomes.append("ok")
        except NotFound:
            outcomes.append("failed")
    assert outcomes == ["ok", "failed", "failed", "ok", "ok"]


def test_a_star_means_any_call_and_none_means_for_ever(driver: FakeDriver) -> None:
    driver.inject("*", Unsupported, times=None)
    for call in (driver.probe, driver.domains, driver.filters, driver.stats):
        with pytest.raises(Unsupported):
            call()
    driver.clear_faults()
    assert driver.domains() == []


def test_a_hang_ends_at_the_deadline_without_effect(driver: FakeDriver) -> None:
    uuid = guest(driver, start=False)
    driver.inject("start", Fault.HANG)
    started = time.monotonic()
    with pytest.raises(CallTimeout):
        driver.start(uuid)
    assert 0.4 <= time.monotonic() - started < 1
    assert driver.domain(uuid).power is Power.OFF  # type: ignore[union-attr]


def test_a_lost_reply_leaves_the_effect(driver: FakeDriver) -> None:
    uuid = guest(driver, start=False)
    driver.inject("start", Fault.LOST)
    with pytest.raises(CallTimeout):
        driver.start(uuid)
    assert driver.domain(uuid).power is Power.RUNNING  # type: ignore[union-attr]


def test_a_delay_is_a_delay(driver: FakeDriver) -> None:
    driver.inject("domains", None, delay=0.2)
    driver.inject("domains", None, delay=9)
    started = time.monotonic()
    assert driver.domains() == []
    assert time.monotonic() - started >= 0.2
    with pytest.raises(CallTimeout):
        driver.domains()
    assert time.monotonic() - started < 2


def test_every_call_of_the_contract_can_fail() -> None:
    assert {"probe", "upload_volume", "define", "open_serial", "watch", "pool"} <= CALLS
    assert "close" not in CALLS


@pytest.mark.parametrize("call", sorted(CALLS - {"watch"}))
async def test_a_fault_reaches_each_call(driver: FakeDriver, call: str) -> None:
    driver.inject(call, HostDegraded)
    arguments: dict[str, tuple[object, ...]] = {
        "ensure_pool": ("pool", "/var/lib/vps"),
        "upload_volume": ("pool", "v", io.BytesIO()),
        "create_overlay": ("pool", "v"),
        "write_volume": ("pool", "v", b""),
        "delete_volume": ("pool", "v"),
        "set_password": (uuid4(), "root", "secret"),
        "open_vnc": (uuid4(), asyncio.Protocol()),
    }
    values: dict[str, dict[str, object]] = {
        "upload_volume": {"length": 0, "format": "raw", "capacity_bytes": 0},
        "write_volume": {"capacity_bytes": 0},
        "create_overlay": {"base": "base", "capacity_bytes": 0},
    }
    nothing = {"probe", "filters", "domains", "stats", "load"}
    default: tuple[object, ...] = () if call in nothing else (uuid4(),)
    method = getattr(driver, call)

    async def use() -> None:
        answer = method(*arguments.get(call, default), **values.get(call, {}))
        if call in ("open_serial", "open_vnc"):
            await answer

    with pytest.raises(HostDegraded):
        await use()


def test_an_unknown_call_cannot_be_injected(driver: FakeDriver) -> None:
    with pytest.raises(ValueError, match="No such call"):
        driver.inject("strat", DiskFull)


# --- reachability ---------------------------------------------------------------------


def test_an_unreachable_host_is_told_to_watchers(driver: FakeDriver) -> None:
    events: list[DomainEvent] = []
    uuid = guest(driver)
    stop = driver.watch(events.append)

    def kinds() -> list[EventKind]:
        return [event.kind for event in events]

    wait_until(lambda: kinds() == [EventKind.CONNECTED], 2, "connected")
    driver.set_reachable(False)
    wait_until(lambda: kinds()[-1] is EventKind.DISCONNECTED, 2, "disconnected")
    with pytest.raises(HostUnreachable):
        driver.domains()
    driver.outside_destroy(uuid)
    time.sleep(0.1)
    driver.set_reachable(True)
    wait_until(lambda: kinds()[-1] is EventKind.CONNECTED, 2, "connected again")
    assert EventKind.STOPPED not in kinds()  # what happens meanwhile is lost
    assert driver.domain(uuid).power is Power.OFF  # type: ignore[union-attr]
    driver.outside_start(uuid)
    wait_until(lambda: kinds()[-1] is EventKind.STARTED, 2, "events come again")
    stop()


async def test_a_restarted_daemon_ends_consoles_and_watches_go_on(driver: FakeDriver) -> None:
    events: list[DomainEvent] = []
    stream = await driver.open_serial(guest(driver))
    stop = driver.watch(events.append)
    wait_until(lambda: events, 2, "connected")
    driver.drop_connections()
    while await stream.read():
        pass
    wait_until(lambda: len(events) == 3, 2, "disconnected and connected")
    assert [event.kind for event in events][1:] == [EventKind.DISCONNECTED, EventKind.CONNECTED]
    stop()


# --- behind the panel's back --------------------------------------------------------------


def test_a_guest_may_ignore_the_power_button(driver: FakeDriver) -> None:
    uuid = guest(driver)
    driver.configure_guest(uuid, ignore_acpi=True)
    driver.shutdown(uuid)
    driver.reboot(uuid)
    time.sleep(0.3)
    assert driver.domain(uuid).power is Power.RUNNING  # type: ignore[union-attr]
    assert [event.kind for event in driver.event_log()] == [EventKind.DEFINED, EventKind.STARTED]


def test_an_agent_takes_a_password_and_no_log_keeps_it(driver: FakeDriver) -> None:
    uuid = guest(driver)
    with pytest.raises(AgentUnavailable):
        driver.set_password(uuid, "root", "hunter2")
    driver.configure_guest(uuid, has_agent=True)
    driver.set_password(uuid, "root", "hunter2")
    assert set(driver.guest_record(uuid).passwords) == {"root"}
    assert "hunter2" not in repr(driver.call_log()) + repr(driver.guest_record(uuid))


@pytest.mark.parametrize(
    ("happens", "kind", "power"),
    [
        ("guest_poweroff", EventKind.STOPPED, Power.OFF),
        ("guest_reboot", EventKind.REBOOTED, Power.RUNNING),
        ("guest_crash", EventKind.CRASHED, Power.CRASHED),
        ("guest_io_error", EventKind.PAUSED, Power.PAUSED),
        ("outside_destroy", EventKind.STOPPED, Power.OFF),
        ("outside_kill", EventKind.STOPPED, Power.OFF),
        ("outside_pause", EventKind.PAUSED, Power.PAUSED),
    ],
)
def test_what_happens_by_itself_is_seen_and_told(
    driver: FakeDriver, happens: str, kind: EventKind, power: Power
) -> None:
    uuid = guest(driver)
    getattr(driver, happens)(uuid)
    assert driver.domain(uuid).power is power  # type: ignore[union-attr]
    assert driver.event_log()[-1].kind is kind
    driver.start(uuid)
    assert driver.domain(uuid).power is Power.RUNNING  # type: ignore[union-attr]


def test_a_guest_can_vanish(driver: FakeDriver) -> None:
    uuid = guest(driver)
    driver.outside_undefine(uuid)
    assert driver.domain(uuid) is None
    assert [e.kind for e in driver.event_log()][-2:] == [EventKind.STOPPED, EventKind.UNDEFINED]


def test_a_phantom_is_shown_and_not_called_into(driver: FakeDriver) -> None:
    uuid = guest(driver, start=False)
    driver.make_phantom(uuid)
    seen = driver.domain(uuid)
    assert seen is not None
    assert (seen.phantom, seen.power) == (True, Power.UNKNOWN)
    for call in (driver.start, driver.destroy, driver.shutdown, driver.reset, driver.undefine):
        with pytest.raises(HostDegraded):
            call(uuid)
    assert driver.stats()[0].cpu_time_ns is None


# --- records ----------------------------------------------------------------------------------


def test_the_call_log_says_what_became_of_each_call(driver: FakeDriver) -> None:
    uuid = guest(driver, start=False)
    driver.inject("start", DiskFull)
    with pytest.raises(DiskFull):
        driver.start(uuid)
    driver.start(uuid)
    starts = driver.call_log("start")
    assert [(call.args, call.outcome) for call in starts] == [
        ((str(uuid),), "disk_full"),
        ((str(uuid),), "ok"),
    ]


def test_volumes_remember_what_was_written(driver: FakeDriver) -> None:
    driver.upload_volume(
        "pool", "base", io.BytesIO(b"ab" * 5), length=10, format="qcow2", capacity_bytes=GIB
    )
    record = driver.volume_record("pool", "base")
    assert record is not None
    assert (record.head, record.length, record.capacity) == (b"ababababab", 10, GIB)
    assert record.sha256 == hashlib.sha256(b"ab" * 5).hexdigest()
    assert driver.volume_record("pool", "none") is None


def test_a_full_disk_refuses_overlays_until_something_is_deleted(driver: FakeDriver) -> None:
    driver.add_foreign_volume("pool", "base", GIB)
    with pytest.raises(DiskFull):
        driver.create_overlay("pool", "disk", base="base", capacity_bytes=GIB)
    assert driver.pool("pool").available_bytes == 0
    uuid = guest(driver, start=False)
    with pytest.raises(DiskFull):
        driver.start(uuid)
    driver.delete_volume("pool", "base")
    driver.start(uuid)
    driver.add_foreign_volume("pool", "base", 1000)
    driver.create_overlay("pool", "disk", base="base", capacity_bytes=GIB)


def test_drivers_of_one_name_share_one_host_and_reset_empties_it() -> None:
    name = uuid4().hex
    one, two = FakeDriver(f"fake:///{name}"), FakeDriver(f"fake:///{name}?latency_ms=1")
    other = FakeDriver(f"fake:///{name}-other")
    uuid = guest(one)
    assert two.domain(uuid) is not None
    assert other.domains() == []
    reset_memory(name)
    assert one.domains() == []


def test_latency_slows_every_call() -> None:
    driver = FakeDriver(f"fake:///{uuid4().hex}?latency_ms=50")
    started = time.monotonic()
    driver.domains()
    assert time.monotonic() - started >= 0.05


def test_closing_a_driver_ends_a_hanging_call(driver: FakeDriver) -> None:
    slow = FakeDriver(driver.uri.replace("timeout_s=0.4", "timeout_s=60"))
    driver.inject("domains", Fault.HANG)
    failed: list[type[BaseException]] = []

    def call() -> None:
        try:
            slow.domains()
        except CallTimeout as error:
            failed.append(type(error))

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.1)
    slow.close()
    thread.join(timeout=2)
    assert failed == [CallTimeout]


@pytest.mark.parametrize(
    "uri", ["fake://host/name", "fake:///", "fake:///a/b", "fake:///a?cpu=4", "fake:///a?cpus=x"]
)
def test_a_wrong_address_is_refused(uri: str) -> None:
    with pytest.raises(ValueError, match="fake"):
        FakeDriver(uri)
