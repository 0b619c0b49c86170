"""Figures: counters become samples once a minute, are summed up, and are forgotten in time."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from hosts.figures import (
    FIVE_MINUTES,
    HOUR,
    MINUTE,
    beginning,
    keep_figures,
    latest_of_hosts,
    of_guest,
    of_host,
    step_for,
)
from hosts.models import Host, Location
from hosts.models_fleet import GuestSample, HostSample
from hosts.monitor import Monitor
from hosts.monitor_figures import Meter, guest_sample, rate
from hosts.virt.fake import FakeDriver
from hosts.virt.registry import driver_for
from hosts.virt.spec import DomainSpec, DomainStats, HostLoad, Power
from tests.hosts.test_monitor import QUICK, Heard, until

NOW = datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC)


@pytest.fixture
def host(db: None) -> Host:
    place = Location.objects.create(name="here")
    return Host.objects.create(
        name="kvm1", location=place, uri=f"fake:///figures-{uuid4().hex[:8]}?cpus=4", cpus=4
    )


def driver_of(host: Host) -> FakeDriver:
    driver = driver_for(host.uri)
    assert isinstance(driver, FakeDriver)
    return driver


def guest_on(driver: FakeDriver) -> UUID:
    uuid = uuid4()
    driver.define(DomainSpec(uuid, f"vps-{uuid}", 1, 64, (), (), "qemu"))
    driver.start(uuid)
    return uuid


class Scripted:
    """A driver that tells what it is told to tell."""

    def __init__(self) -> None:
        self.load_now = HostLoad(0, 0, 1000, 400)
        self.guests: list[DomainStats] = []

    def load(self) -> HostLoad:
        return self.load_now

    def stats(self) -> list[DomainStats]:
        return self.guests


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [(0, 600, 10.0), (600, 600, 0.0), (600, 5, None), (None, 5, None), (5, None, None)],
)
def test_a_rate_needs_two_looks_at_one_counter(
    before: int | None, now: int | None, expected: float | None
) -> None:
    assert rate(before, now, 60) == expected


def test_a_guest_that_is_half_busy() -> None:
    uuid = uuid4()
    before = DomainStats(uuid, Power.RUNNING, cpu_time_ns=0, cpu_steal_ns=0, net_rx_bytes=0)
    now = replace(
        before, cpu_time_ns=30 * 10**9, cpu_steal_ns=6 * 10**9, net_rx_bytes=6000, memory_mib=64
    )
    sample = guest_sample(before, now, 60, NOW)
    assert (sample.cpu_percent, sample.steal_percent) == (50.0, 10.0)
    assert (sample.net_rx_bytes, sample.net_tx_bytes, sample.memory_mib) == (100.0, None, 64)


def test_samples_are_of_our_guests_and_of_the_host(host: Host) -> None:
    driver, ours, foreign, late = Scripted(), uuid4(), uuid4(), uuid4()
    meter = Meter(host.pk)
    meter.ours = {ours, late}
    driver.guests = [
        DomainStats(one, Power.RUNNING, cpu_time_ns=0, net_rx_bytes=0) for one in (ours, foreign)
    ]
    meter.read(driver, NOW)  # type: ignore[arg-type]
    assert not HostSample.objects.exists()
    driver.load_now = HostLoad(90 * 10**9, 150 * 10**9, 1000, 500)
    driver.guests = [
        DomainStats(one, Power.RUNNING, cpu_time_ns=6 * 10**9, net_rx_bytes=600)
        for one in (ours, foreign, late)
    ]
    meter.read(driver, NOW + timedelta(seconds=60))  # type: ignore[arg-type]
    (sample,) = GuestSample.objects.all()
    assert (sample.owner, sample.cpu_percent, sample.step) == (ours, 10.0, MINUTE)
    of_machine = HostSample.objects.get()
    assert (of_machine.cpu_percent, of_machine.memory_mib, of_machine.guests) == (150.0, 500, 3)
    assert (of_machine.net_rx_bytes, of_machine.net_tx_bytes) == (20.0, None)
    assert of_machine.at == beginning(NOW, MINUTE) + timedelta(minutes=1)


def test_one_host_costs_two_calls_and_two_statements(host: Host) -> None:
    driver = driver_of(host)
    meter = Meter(host.pk)
    meter.ours = {guest_on(driver) for _ in range(20)}
    meter.read(driver, NOW)
    calls = len(driver.call_log())
    with CaptureQueriesContext(connection) as queries:
        meter.read(driver, NOW + timedelta(seconds=60))
    assert [call.name for call in driver.call_log()][calls:] == ["load", "stats"]
    assert len([one for one in queries if one["sql"].startswith("INSERT")]) == 2
    assert GuestSample.objects.count() == 20


def test_two_monitors_write_a_minute_once(host: Host) -> None:
    driver = Scripted()
    for _ in range(2):
        meter = Meter(host.pk)
        meter.read(driver, NOW)  # type: ignore[arg-type]
        meter.read(driver, NOW + timedelta(seconds=60))  # type: ignore[arg-type]
    assert HostSample.objects.count() == 1


def fill(host: Host, owner: UUID, minutes: int) -> datetime:
    """A sample each minute up to NOW; when the first was."""
    first = beginning(NOW, HOUR) - timedelta(minutes=minutes)
    for number in range(minutes):
        at = first + timedelta(minutes=number)
        HostSample.objects.create(host=host, step=MINUTE, at=at, cpu_percent=number, guests=2)
        GuestSample.objects.create(
            owner=owner, step=MINUTE, at=at, cpu_percent=number % 2 * 10, memory_mib=64
        )
    return first


@pytest.mark.both_databases
def test_minutes_are_summed_up_once(host: Host) -> None:
    owner = uuid4()
    first = fill(host, owner, 130)
    now = beginning(NOW, HOUR) + timedelta(minutes=15)
    assert keep_figures(now) == 2 * (26 + 3)
    assert keep_figures(now) == 0
    five = list(of_host(host.pk, first, now, FIVE_MINUTES))
    assert [one.cpu_percent for one in five[:2]] == [2.0, 7.0]
    assert [one.at for one in five[:2]] == [first, first + timedelta(minutes=5)]
    assert {one.memory_mib for one in of_guest(owner, first, now, FIVE_MINUTES)} == {64.0}
    hours = list(of_guest(owner, first - timedelta(hours=1), now, HOUR))
    assert [round(one.cpu_percent or 0, 6) for one in hours[-2:]] == [5.0, 5.0]
    assert GuestSample.objects.filter(disk_read_bytes__isnull=False).count() == 0


def test_what_is_not_complete_waits(host: Host) -> None:
    fill(host, uuid4(), 10)
    keep_figures(beginning(NOW, HOUR) + timedelta(minutes=1))
    assert HostSample.objects.filter(step=FIVE_MINUTES).count() == 0
    keep_figures(beginning(NOW, HOUR) + timedelta(minutes=11))
    assert HostSample.objects.filter(step=FIVE_MINUTES).count() == 2


def test_old_samples_are_forgotten_step_by_step(host: Host) -> None:
    ages = {
        MINUTE: timedelta(hours=48),
        FIVE_MINUTES: timedelta(days=14),
        HOUR: timedelta(days=400),
    }
    for step, age in ages.items():
        for at in (NOW - age - timedelta(minutes=1), NOW - age + timedelta(hours=2)):
            HostSample.objects.create(host=host, step=step, at=at)
    keep_figures(NOW)
    for step, age in ages.items():
        kept = HostSample.objects.filter(step=step, at__lt=NOW - age + timedelta(hours=3))
        assert [one.at for one in kept][-1:] == [NOW - age + timedelta(hours=2)]
        assert not HostSample.objects.filter(step=step, at__lt=NOW - age).exists()


@pytest.mark.parametrize(
    ("hours", "ago", "step"),
    [(1, 1, MINUTE), (12, 12, MINUTE), (24, 24, FIVE_MINUTES), (1, 72, FIVE_MINUTES),
     (24 * 13, 24 * 13, HOUR), (1, 24 * 20, HOUR)],
)  # fmt: skip
def test_the_finest_step_that_is_there(hours: int, ago: int, step: int) -> None:
    start = NOW - timedelta(hours=ago)
    assert step_for(start, start + timedelta(hours=hours), NOW) == step


@pytest.mark.django_db(transaction=True)
def test_the_monitor_measures(transactional_db: None) -> None:
    place = Location.objects.create(name="here")
    host = Host.objects.create(
        name="kvm1", location=place, uri=f"fake:///figures-{uuid4().hex[:8]}"
    )
    uuid = guest_on(driver_of(host))
    monitor = Monitor(Heard(), replace(QUICK, sample=0.2))
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        assert until(lambda: GuestSample.objects.filter(owner=uuid).exists(), 20)
        assert until(lambda: HostSample.objects.filter(host=host).exists(), 20)
    finally:
        monitor.stop()
        thread.join()
    assert latest_of_hosts([host.pk], NOW - timedelta(days=9000))[host.pk].guests == 1
