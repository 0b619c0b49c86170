"""After the boot of a host: who is started again, how many at a time, and when that ends."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.models import Host
from hosts.monitor_boot import has_begun_anew, note_boot
from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.world import World, due_now, make_world, work
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.events.models import Event
from vpspanel.servers import restarts, services
from vpspanel.servers.models import Restart, Server
from vpspanel.servers.observe import Observer
from vpspanel.servers.restarts import PAUSES, start_due, try_again

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]

NS = 1_000_000_000
DAY = 86400 * NS


@pytest.fixture
def world(db: None) -> World:
    return make_world()


def look(world: World, at: datetime | None = None) -> bool:
    """What the monitor does when it reaches the host anew; True if it has booted."""
    observer, driver, now = Observer(), world.driver(), at or timezone.now()
    observer.on_list(world.host.pk, driver.domains(), now, gap=True)
    return note_boot(
        world.host.pk,
        driver.load(),
        now,
        lambda last_up: observer.on_boot(world.host.pk, last_up, now),
    )


def boot(world: World) -> None:
    """The host is seen, loses power, and is seen again."""
    assert not look(world)
    world.driver().outside_boot()
    assert look(world)


def power(world: World, server: Server) -> tuple[str, str]:
    """What the host says, and what is wanted."""
    server.refresh_from_db()
    seen = world.driver().domain(server.uuid)
    assert seen is not None
    return seen.power, server.power_wanted


def test_who_is_started_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on = world.running("on")
    off = world.stopped("off")
    powered_off = world.running("quit")
    suspended = world.running("suspended")
    Server.objects.filter(pk=suspended.pk).update(suspended_at=timezone.now())
    look(world)
    world.driver().guest_poweroff(powered_off.uuid)
    observe_stop(world, powered_off)
    monkeypatch.setattr(restarts, "ORDERLY", timedelta(0))  # that was long before the boot
    boot(world)
    assert start_due() == 1
    work()
    assert power(world, on) == (Power.RUNNING, "on")
    assert world.driver().guest_record(on.uuid).boots == 2
    for other, wanted in ((off, "off"), (powered_off, "off"), (suspended, "on")):
        assert power(world, other) == (Power.OFF, wanted), other.name
    told = Event.objects.get(kind="server.host_booted")
    assert (told.resource_id, told.public) == (on.pk, True)
    assert Event.objects.get(kind="host.booted").public is False
    assert start_due() == 0
    assert not Restart.objects.exists()
    assert not look(world)


def observe_stop(world: World, server: Server) -> None:
    """The monitor hears of it."""
    event = [event for event in world.driver().event_log() if event.uuid == server.uuid][-1]
    Observer().on_event(world.host.pk, event)


def test_an_orderly_boot_shuts_the_guests_down_first(world: World) -> None:
    by_host, by_customer = world.running("host"), world.running("customer")
    look(world)
    services.power_off(world.alice, by_customer.pk)
    work()
    world.driver().guest_poweroff(by_host.uuid)
    observe_stop(world, by_host)
    assert power(world, by_host) == (Power.OFF, "off")
    boot(world)
    start_due()
    work()
    assert power(world, by_host) == (Power.RUNNING, "on")
    assert power(world, by_customer) == (Power.OFF, "off")


def test_some_at_a_time_and_each_once(world: World, settings: Any) -> None:
    settings.RESTARTS_PER_HOST = 2
    servers = [world.running(f"web{number}") for number in range(5)]
    boot(world)
    queued: list[int] = []
    while not queued or queued[-1]:
        queued.append(start_due())
        assert start_due() == 0  # two are being started
        assert Action.objects.filter(state__in=OPEN_STATES).count() <= 2
        work()
    assert queued == [2, 2, 1, 0]
    assert {world.driver().guest_record(server.uuid).boots for server in servers} == {2}


def test_what_is_parked_holds_nobody_up(world: World, settings: Any) -> None:
    settings.RESTARTS_PER_HOST = 1
    ill, well = world.running("ill"), world.running("well")
    boot(world)
    services.power_on(world.alice, ill.pk)
    Action.objects.filter(command="power_on").update(state="parked")
    assert start_due() == 1
    work()
    assert power(world, well) == (Power.RUNNING, "on")
    assert start_due() == 0
    assert Restart.objects.get().server == ill


def test_a_server_with_an_open_action_waits_for_it(world: World) -> None:
    server = world.running()
    look(world)
    services.power_off(world.alice, server.pk)
    world.driver().outside_boot()
    look(world)
    assert start_due() == 0
    work()
    start_due()
    assert power(world, server) == (Power.OFF, "off")
    assert not Restart.objects.exists()


def test_five_tries_and_no_more_until_they_are_forgotten(world: World) -> None:
    server = world.running()
    boot(world)
    world.driver().inject("start", DiskFull("no space left"), times=None)
    now = timezone.now()
    for pause in PAUSES:
        assert start_due(now) == 1
        give_it_time()
        assert power(world, server) == (Power.OFF, "on")
        assert start_due(now + pause / 2) == 0
        now += pause + timedelta(seconds=1)
    assert start_due(now) == 0
    assert Restart.objects.get().given_up
    assert Event.objects.filter(kind="server.restart_given_up", public=False).count() == 1
    assert start_due(now + timedelta(hours=7)) == 0
    world.driver().clear_faults()
    assert start_due(now + timedelta(hours=9)) == 1
    give_it_time()
    assert power(world, server) == (Power.RUNNING, "on")
    assert try_again(Restart.objects.all()) == 1
    assert start_due() == 0
    assert not Restart.objects.exists()


def give_it_time() -> None:
    """Until the action has ended, whatever it waits for."""
    for _ in range(20):
        work()
        due_now()
        Action.objects.filter(state="running").update(run_after=timezone.now())
        if not Action.objects.filter(state__in=OPEN_STATES).exists():
            return
    raise AssertionError("it does not end")


def test_what_is_wanted_by_its_owner_meanwhile_counts(world: World) -> None:
    first, second = world.running("first"), world.running("second")
    boot(world)
    services.power_on(world.alice, first.pk)
    Server.objects.filter(pk=second.pk).update(power_wanted="off")
    work()
    assert start_due() == 0
    assert not Restart.objects.exists()
    assert power(world, first) == (Power.RUNNING, "on")
    assert power(world, second) == (Power.OFF, "off")


def test_a_boot_shows_in_the_counters_and_nothing_else_does() -> None:
    minute = timedelta(minutes=1)
    assert has_begun_anew(30 * DAY, 90 * NS, cpus=1, passed=minute)
    assert has_begun_anew(60 * NS, 70 * NS, cpus=1, passed=10 * minute)
    assert not has_begun_anew(30 * DAY, 30 * DAY + 60 * NS, cpus=1, passed=minute)
    assert not has_begun_anew(30 * DAY, 30 * DAY - NS, cpus=1, passed=minute)
    assert not has_begun_anew(DAY, DAY + 5 * DAY * 3 // 4, cpus=1, passed=5 * 1440 * minute)


def test_of_two_monitors_one_tells(world: World) -> None:
    world.running()
    look(world)
    world.driver().outside_boot()
    told: list[datetime] = []
    for _ in range(2):
        note_boot(world.host.pk, world.driver().load(), timezone.now(), told.append)
    assert len(told) == 1
    assert Host.objects.get().booted_at is not None


def test_planning_a_hundred_costs_no_more_queries_than_two(world: World) -> None:
    server = world.running()
    others = [
        Server(
            project=server.project,
            name=f"copy{number}",
            server_type=server.server_type,
            location=server.location,
            host=server.host,
            vcpus=1,
            memory_mib=128,
            disk_gib=1,
            mac=f"52:54:00:00:00:{number:02x}",
            lifecycle="active",
            power_seen="off",
        )
        for number in range(100)
    ]
    Server.objects.bulk_create(others)
    now = timezone.now()
    with CaptureQueriesContext(
        connection,
    ) as queries:
        Observer().on_boot(world.host.pk, now, now)
    assert Restart.objects.count() == 101  # with the first one, as long as it is only listed
    assert len(queries) <= 8
