"""The monitor on simulated hosts: what reaches its sink, and what it writes of the hosts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from hosts.models import Host, HostStatus, Location
from hosts.monitor import Monitor, Pace, StatusChange
from hosts.virt.errors import HostUnreachable
from hosts.virt.fake import FakeDriver
from hosts.virt.fake_faults import Fault
from hosts.virt.registry import driver_for
from hosts.virt.spec import DomainEvent, DomainSeen, DomainSpec, EventKind

pytestmark = pytest.mark.django_db(transaction=True)

QUICK = Pace(beat=0.2, beat_unreachable=0.1, full_list=0.8, hold=0.4, reread=0.2, phantom=0.5)


@dataclass
class Heard:
    """A sink that keeps everything."""

    lists: list[tuple[int, list[DomainSeen], bool]] = field(default_factory=list)
    events: list[tuple[int, DomainEvent]] = field(default_factory=list)
    hints: list[tuple[int, DomainEvent]] = field(default_factory=list)
    statuses: list[tuple[int, StatusChange, bool]] = field(default_factory=list)
    boots: list[tuple[int, datetime, datetime]] = field(default_factory=list)
    broken: bool = False

    def on_list(
        self, host_id: int, seen: list[DomainSeen], at: datetime, *, gap: bool
    ) -> float | None:
        if self.broken:
            raise RuntimeError("the sink is broken")
        self.lists.append((host_id, seen, gap))
        return None

    def on_event(self, host_id: int, event: DomainEvent) -> None:
        self.events.append((host_id, event))

    def on_hint(self, host_id: int, event: DomainEvent) -> None:
        self.hints.append((host_id, event))

    def on_boot(self, host_id: int, last_up: datetime, at: datetime) -> None:
        self.boots.append((host_id, last_up, at))

    def on_status(self, host_id: int, change: StatusChange, *, changed: bool) -> None:
        self.statuses.append((host_id, change, changed))

    def kinds(self, uuid: UUID) -> list[EventKind]:
        return [event.kind for _, event in self.events if event.uuid == uuid]


def until(condition: Callable[[], object], seconds: float = 5.0) -> bool:
    """Whether it came true in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


@pytest.fixture
def heard() -> Heard:
    return Heard()


@pytest.fixture
def monitor(heard: Heard) -> Iterator[Monitor]:
    """A monitor that runs; it sees hosts that are made later."""
    monitor = Monitor(heard, QUICK)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    yield monitor
    monitor.stop()
    thread.join(10)
    assert not thread.is_alive()


@pytest.fixture
def place() -> Location:
    return Location.objects.create(name="here")


def make_host(place: Location, **options: str) -> tuple[Host, FakeDriver]:
    name = f"monitor-{uuid4().hex[:8]}"
    query = "&".join(f"{key}={value}" for key, value in options.items())
    host = Host.objects.create(name=name, location=place, uri=f"fake:///{name}?{query}")
    driver = driver_for(host.uri)
    assert isinstance(driver, FakeDriver)
    return host, driver


def make_guest(driver: FakeDriver) -> UUID:
    uuid = uuid4()
    driver.define(DomainSpec(uuid, f"vps-{uuid}", 1, 64, (), (), "qemu"))
    driver.start(uuid)
    return uuid


def watched_guest(heard: Heard, driver: FakeDriver) -> UUID:
    """A guest of a host that is watched already; its own start has been told and forgotten."""
    assert until(lambda: heard.lists)
    uuid = make_guest(driver)
    assert until(lambda: EventKind.STARTED in heard.kinds(uuid))
    heard.events.clear()
    heard.hints.clear()
    return uuid


def status_of(host: Host) -> HostStatus:
    host.refresh_from_db()
    return HostStatus(host.status)


def test_new_hosts_are_listed_and_removed_ones_dropped(
    place: Location, heard: Heard, monitor: Monitor
) -> None:
    host, driver = make_host(place)
    uuid = make_guest(driver)
    assert until(lambda: heard.lists)
    host_id, seen, gap = heard.lists[0]
    assert (host_id, [domain.uuid for domain in seen], gap) == (host.pk, [uuid], True)
    assert status_of(host) == HostStatus.REACHABLE
    assert host.status_since is not None
    assert host.seen_at is not None
    host.delete()
    time.sleep(0.6)
    heard.events.clear()
    driver.guest_reboot(uuid)
    time.sleep(0.4)
    assert heard.events == []


def test_periodic_lists_have_no_gap(place: Location, heard: Heard, monitor: Monitor) -> None:
    make_host(place)
    assert until(lambda: len(heard.lists) >= 4)
    assert [gap for _, _, gap in heard.lists][-2:] == [False, False]


def test_a_stop_is_hinted_at_once_and_told_after_the_hold(
    place: Location, heard: Heard, monitor: Monitor
) -> None:
    _host, driver = make_host(place)
    uuid = watched_guest(heard, driver)
    began = time.monotonic()
    driver.guest_poweroff(uuid)
    assert until(lambda: heard.hints)
    assert heard.kinds(uuid) == []
    assert until(lambda: EventKind.STOPPED in heard.kinds(uuid))
    assert time.monotonic() - began >= QUICK.hold


def test_a_reboot_is_never_told_as_a_stop(place: Location, heard: Heard, monitor: Monitor) -> None:
    _host, driver = make_host(place)
    uuid = watched_guest(heard, driver)
    driver.outside_destroy(uuid)
    driver.outside_start(uuid)
    assert until(lambda: EventKind.REBOOTED in heard.kinds(uuid))
    time.sleep(QUICK.hold + 0.2)
    assert heard.kinds(uuid) == [EventKind.REBOOTED]
    assert all(domain.power != "off" for _, seen, _ in heard.lists for domain in seen)


def test_a_host_goes_and_returns(place: Location, heard: Heard, monitor: Monitor) -> None:
    host, driver = make_host(place)
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)
    driver.set_reachable(False)
    assert until(lambda: status_of(host) == HostStatus.UNREACHABLE)
    assert "does not answer" in host.status_reason
    since, lists = host.status_since, len(heard.lists)
    time.sleep(0.5)
    assert status_of(host) == HostStatus.UNREACHABLE
    assert host.status_since == since
    assert len(heard.lists) == lists
    driver.set_reachable(True)
    assert until(lambda: status_of(host) == HostStatus.REACHABLE, 2)
    assert host.status_reason == ""
    assert until(lambda: len(heard.lists) > lists)
    assert heard.lists[lists][2] is True
    changes = [change.status for _, change, changed in heard.statuses if changed]
    assert changes == [HostStatus.REACHABLE, HostStatus.UNREACHABLE, HostStatus.REACHABLE]


def test_another_machine_in_a_hosts_place_is_refused(
    place: Location, heard: Heard, monitor: Monitor
) -> None:
    """CHECKS 45: nothing that it says of guests is believed."""
    host, driver = make_host(place)
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)
    assert until(lambda: heard.lists)
    driver.set_reachable(False)
    assert until(lambda: status_of(host) == HostStatus.UNREACHABLE)
    Host.objects.filter(pk=host.pk).update(host_uuid=uuid4())
    lists = len(heard.lists)
    driver.set_reachable(True)
    assert until(lambda: any(change.alarm for _, change, _ in heard.statuses))
    host.refresh_from_db()
    assert "Another machine answers" in host.status_reason
    assert host.status == HostStatus.UNREACHABLE
    assert len(heard.lists) == lists
    Host.objects.filter(pk=host.pk).update(host_uuid=driver.probe().uuid)
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)


def test_a_short_break_brings_a_new_list(place: Location, heard: Heard, monitor: Monitor) -> None:
    _host, driver = make_host(place)
    assert until(lambda: len(heard.lists) >= 3)
    gaps = sum(gap for _, _, gap in heard.lists)
    driver.drop_connections()
    assert until(lambda: sum(gap for _, _, gap in heard.lists) > gaps)


def test_one_slow_answer_is_forgiven(place: Location, heard: Heard, monitor: Monitor) -> None:
    host, driver = make_host(place, timeout_s="0.3")
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)
    driver.inject("domain", Fault.HANG, times=1)
    time.sleep(1.2)
    assert [change.status for _, change, _ in heard.statuses] == [HostStatus.REACHABLE]
    driver.inject("domain", Fault.HANG, times=None)
    assert until(lambda: status_of(host) == HostStatus.UNREACHABLE)
    driver.clear_faults()
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)


def test_a_phantom_that_lasts_degrades_the_host(
    place: Location, heard: Heard, monitor: Monitor
) -> None:
    host, driver = make_host(place)
    uuid = make_guest(driver)
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)
    driver.make_phantom(uuid)
    assert until(lambda: status_of(host) == HostStatus.DEGRADED)
    assert str(uuid) in host.status_reason
    assert "restarting libvirtd" in host.status_reason
    driver.wipe()
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)


def test_a_bad_host_slows_no_other(place: Location, heard: Heard, monitor: Monitor) -> None:
    bad, bad_driver = make_host(place, timeout_s="8")
    _good, good_driver = make_host(place)
    uuid = make_guest(good_driver)
    assert until(lambda: len({host_id for host_id, _, _ in heard.lists}) == 2)
    bad_driver.inject("*", Fault.HANG, times=None)
    time.sleep(0.5)
    heard.events.clear()
    good_driver.guest_reboot(uuid)
    assert until(lambda: EventKind.REBOOTED in heard.kinds(uuid))  # well within the bad one's 8 s
    bad_driver.close()  # lets go of the calls that hang
    assert bad.pk


def test_a_sink_that_fails_is_asked_again(place: Location, heard: Heard, monitor: Monitor) -> None:
    heard.broken = True
    make_host(place)
    time.sleep(0.5)
    assert heard.lists == []
    heard.broken = False
    assert until(lambda: heard.lists)
    assert heard.lists[0][2] is True


def test_an_error_is_no_silence(place: Location, heard: Heard, monitor: Monitor) -> None:
    host, driver = make_host(place)
    driver.inject("*", HostUnreachable("cut off"), times=None)
    assert until(lambda: status_of(host) == HostStatus.UNREACHABLE)
    assert host.status_reason == "cut off"
    driver.clear_faults()
    assert until(lambda: status_of(host) == HostStatus.REACHABLE)
