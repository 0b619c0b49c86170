"""From what a guest does to what people read: monitor, rules and records together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.models import Host, HostStatus
from hosts.monitor import Monitor, Pace
from hosts.virt.spec import DomainEvent, DomainSeen, EventKind, Power
from tests.world import World, work
from vpspanel.actions.command import registry
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.worker import Worker
from vpspanel.events.models import Event
from vpspanel.servers import housekeeping, services
from vpspanel.servers import observe as observe_module
from vpspanel.servers.models import PowerSeen, PowerWanted, Server
from vpspanel.servers.observe import Observer
from vpspanel.servers.reconcile import reconcile

pytestmark = pytest.mark.both_databases

SHOWN_WITHIN = 5.0  # seconds from what a guest does to what a page shows
RECOVERED_WITHIN = 10.0


@pytest.fixture
def monitor(world: World) -> Iterator[Monitor]:
    """The monitor as `manage.py monitor` runs it, but with quicker lists."""
    monitor = Monitor(Observer(), Pace(full_list=4.0, reread=0.5))
    thread = threading.Thread(target=monitor.run)
    thread.start()
    yield monitor
    monitor.stop()
    thread.join(10)
    assert not thread.is_alive()


def until(condition: Callable[[], object], seconds: float) -> float:
    """How long it took to come true; fails if it did not."""
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        if condition():
            return time.monotonic() - began
        time.sleep(0.02)
    assert condition(), f"not within {seconds} s"
    return seconds


def power(server: Server) -> tuple[str, str]:
    server.refresh_from_db()
    return server.power_seen, server.power_wanted


def told(server: Server, kind: str) -> bool:
    return Event.objects.filter(
        kind=kind, resource_type="server", resource_id=server.pk, public=True
    ).exists()


def seen_by_monitor(world: World, server: Server) -> None:
    """Wait until the monitor has listed the host, then forget what was told."""
    until(lambda: Host.objects.get(pk=world.host.pk).seen_at, 5)
    time.sleep(0.3)


def test_a_guest_that_powers_itself_off(world: World, monitor: Monitor) -> None:
    server = world.running()
    seen_by_monitor(world, server)
    world.driver().guest_poweroff(server.uuid)
    until(lambda: power(server) == ("off", "off"), SHOWN_WITHIN)
    assert told(server, "server.powered_off")
    assert not Action.objects.filter(command="power_on").exists()


def test_what_somebody_does_with_virsh(world: World, monitor: Monitor) -> None:
    server = world.running()
    driver = world.driver()
    seen_by_monitor(world, server)
    driver.outside_destroy(server.uuid)
    until(lambda: power(server) == ("off", "off"), SHOWN_WITHIN)
    driver.outside_start(server.uuid)
    took = until(lambda: power(server) == ("running", "on"), SHOWN_WITHIN)
    assert took < 1.5
    assert told(server, "server.found_running")
    driver.outside_pause(server.uuid)
    until(lambda: power(server) == ("paused", "on"), SHOWN_WITHIN)
    driver.outside_kill(server.uuid)
    until(lambda: power(server) == ("crashed", "on"), SHOWN_WITHIN)
    assert told(server, "server.crashed")


def test_a_reboot_is_not_shown_as_off(world: World, monitor: Monitor) -> None:
    server = world.running()
    driver = world.driver()
    seen_by_monitor(world, server)
    before = timezone.now()
    driver.outside_destroy(server.uuid)
    driver.outside_start(server.uuid)
    shown = set()
    end = time.monotonic() + 4.5
    while time.monotonic() < end:
        shown.add(power(server))
        time.sleep(0.05)
    assert shown == {("running", "on")}
    assert server.booted_at is not None
    assert server.booted_at >= before
    assert told(server, "server.rebooted")
    driver.guest_reboot(server.uuid)
    until(lambda: Event.objects.filter(kind="server.rebooted").count() == 2, SHOWN_WITHIN)


def test_an_io_error_pauses(world: World, monitor: Monitor) -> None:
    server = world.running()
    seen_by_monitor(world, server)
    world.driver().guest_io_error(server.uuid)
    until(lambda: power(server) == ("paused", "on"), SHOWN_WITHIN)
    until(lambda: told(server, "server.io_error"), SHOWN_WITHIN)
    assert Event.objects.get(kind="server.paused").message.startswith("The server was paused")


def test_somebody_else_in_a_hosts_place_alarms_staff(world: World, monitor: Monitor) -> None:
    """CHECKS 45"""
    server = world.running()
    seen_by_monitor(world, server)
    world.driver().set_reachable(False)
    until(lambda: Host.objects.get(pk=world.host.pk).status == HostStatus.UNREACHABLE, 8)
    Host.objects.filter(pk=world.host.pk).update(host_uuid=uuid4())
    world.driver().set_reachable(True)
    until(lambda: Event.objects.filter(kind="host.alarm").exists(), 8)
    alarm = Event.objects.get(kind="host.alarm")
    assert (alarm.resource_id, alarm.public) == (world.host.pk, False)
    assert "Another machine answers" in alarm.message
    assert power(server) == ("running", "on")


def test_a_host_that_goes_and_returns(world: World, monitor: Monitor) -> None:
    server = world.running()
    driver = world.driver()
    seen_by_monitor(world, server)
    driver.set_reachable(False)
    until(lambda: Host.objects.get(pk=world.host.pk).status == HostStatus.UNREACHABLE, 8)
    assert power(server) == ("running", "on")
    seen_at = server.seen_at
    assert Event.objects.filter(kind="server.host_unreachable", public=False).count() == 1
    driver.outside_destroy(server.uuid)
    time.sleep(1)
    assert power(server) == ("running", "on")
    assert server.seen_at == seen_at
    driver.set_reachable(True)
    # Nobody knows why it is off: it is still wanted on.
    until(lambda: power(server) == ("off", "on"), RECOVERED_WITHIN)
    assert Host.objects.get(pk=world.host.pk).status == HostStatus.REACHABLE
    assert told(server, "server.found_off")


def test_a_parked_action_goes_on_when_its_host_returns(world: World, monitor: Monitor) -> None:
    server = world.running()
    seen_by_monitor(world, server)
    world.driver().set_reachable(False)
    until(lambda: Host.objects.get(pk=world.host.pk).status == HostStatus.UNREACHABLE, 8)
    action = services.power_off(world.alice, server.pk)
    Action.objects.filter(pk=action.pk).update(
        state=ActionState.PARKED, detail="host_unreachable: its host does not answer"
    )
    world.driver().set_reachable(True)

    def done() -> bool:
        work()
        action.refresh_from_db()
        return action.state == ActionState.SUCCESS

    until(done, RECOVERED_WITHIN)
    assert power(server) == ("off", "off")


def test_a_missing_guest(world: World, monitor: Monitor) -> None:
    server = world.running()
    seen_by_monitor(world, server)
    spec = world.driver().guest_record(server.uuid).spec
    world.driver().outside_undefine(server.uuid)
    until(lambda: power(server)[0] == "missing", 18)
    assert told(server, "server.missing")
    assert server.lifecycle == "active"
    world.driver().define(spec)
    until(lambda: power(server)[0] == "off", 10)


def test_foreign_guests_are_left_alone(world: World, monitor: Monitor) -> None:
    server = world.running()
    seen_by_monitor(world, server)
    driver = world.driver()
    events = Event.objects.count()
    foreign = driver.add_foreign_domain("windows-xp", running=True)
    driver.outside_pause(foreign)
    driver.outside_destroy(foreign)
    time.sleep(4)
    assert Event.objects.count() == events
    calls = {call.name for call in driver.call_log() if str(foreign) in call.args}
    assert calls == set()
    assert driver.domain(foreign) is not None


def test_a_waiting_action_looks_at_once(world: World, monitor: Monitor) -> None:
    """A shutdown is over as soon as the guest is off, not at the worker's next look."""
    server = world.running()
    seen_by_monitor(world, server)
    worker = Worker(registry, grace_seconds=5)
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        action = services.shutdown(world.alice, server.pk)
        until(lambda: Action.objects.filter(pk=action.pk, state="success").exists(), 3)
    finally:
        worker.stop()
        thread.join(10)
    assert power(server) == ("off", "off")
    time.sleep(3)
    assert power(server) == ("off", "off")
    assert not told(server, "server.powered_off")


# --- without a monitor: one list at a time ------------------------------------------


def listed(world: World) -> list[DomainSeen]:
    return world.driver().domains()


def test_a_list_takes_few_queries(world: World) -> None:
    for number in range(12):
        world.running(f"web{number}")
    now = timezone.now() + timedelta(seconds=60)  # what was seen before is old by then
    observer = Observer()
    with CaptureQueriesContext(connection) as queries:
        observer.on_list(world.host.pk, listed(world), now, gap=False)
    # Two reads, one write, the look for parked actions, and once for copies of servers elsewhere.
    assert len(queries) <= 7
    later = now + timedelta(seconds=60)
    with CaptureQueriesContext(connection) as queries:
        observer.on_list(world.host.pk, listed(world), later, gap=False)
    assert len(queries) <= 6
    assert set(Server.objects.values_list("seen_at", flat=True)) == {later}
    with CaptureQueriesContext(connection) as queries:
        observer.on_list(world.host.pk, listed(world), later + timedelta(seconds=2), gap=False)
    assert set(Server.objects.values_list("seen_at", flat=True)) == {later}


def test_lost_events_are_repaired_by_the_next_list(world: World) -> None:
    server = world.running()
    world.driver().outside_destroy(server.uuid)
    Observer().on_list(world.host.pk, listed(world), timezone.now(), gap=False)
    assert power(server) == ("off", "off")


def test_a_list_in_between_does_not_put_off_the_one_that_confirms(world: World) -> None:
    server, other, observer = world.running(), world.running("other"), Observer()
    now = timezone.now() + timedelta(seconds=1)  # after the last action has ended

    def list_after(seconds: float) -> float | None:
        at = now + timedelta(seconds=seconds)
        return observer.on_list(world.host.pk, listed(world), at, gap=False)

    assert list_after(0) is None
    world.driver().outside_undefine(server.uuid)
    assert list_after(1) == 10.5
    world.driver().outside_undefine(other.uuid)
    assert list_after(5) == 6.5
    assert (power(server)[0], power(other)[0]) == ("running", "running")
    assert list_after(11.5) == 4.0
    assert (power(server)[0], power(other)[0]) == ("missing", "running")
    assert list_after(15.5) is None
    assert power(other)[0] == "missing"


def test_a_list_that_is_older_than_the_workers_look_changes_nothing(world: World) -> None:
    server = world.running()
    at, seen = timezone.now(), listed(world)
    services.power_off(world.alice, server.pk)
    work()
    Observer().on_list(world.host.pk, seen, at, gap=False)
    assert power(server) == ("off", "off")


def test_an_open_action_decides_what_is_wanted(world: World) -> None:
    server = world.running()
    services.reboot(world.alice, server.pk)
    world.driver().outside_destroy(server.uuid)
    observer = Observer()
    observer.on_event(
        world.host.pk,
        DomainEvent(EventKind.STOPPED, server.uuid, timezone.now(), "destroyed"),
    )
    assert power(server) == (PowerSeen.OFF, PowerWanted.ON)
    assert not told(server, "server.powered_off")


def test_a_row_that_changed_meanwhile_is_left_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict is written only on the row that was judged."""
    server = world.running()
    seen = [DomainSeen(server.uuid, server.domain_name, Power.OFF, ours=True)]

    def slow(*args: object, **kwargs: object) -> object:
        verdict = reconcile(*args, **kwargs)  # type: ignore[arg-type]
        services.reboot(world.alice, server.pk)
        return verdict

    monkeypatch.setattr(observe_module, "reconcile", slow)
    Observer().on_list(world.host.pk, seen, timezone.now(), gap=False)
    assert power(server) == ("running", "on")


def test_migrated_guests_have_not_stopped(world: World) -> None:
    server = world.running()
    event = DomainEvent(EventKind.STOPPED, server.uuid, timezone.now(), "migrated")
    Observer().on_event(world.host.pk, event)
    assert power(server) == ("running", "on")


# --- housekeeping ------------------------------------------------------------------


def test_seeds_lose_their_secrets_after_their_time(world: World) -> None:
    server = world.running()
    assert housekeeping.scrub_old_seeds(timezone.now()) == 0
    later = timezone.now() + timedelta(seconds=901)
    assert housekeeping.scrub_old_seeds(later) == 1
    assert housekeeping.scrub_old_seeds(later) == 0
    work()
    server.refresh_from_db()
    assert server.seed_secret_since is None
    assert server.root_password_hash == ""
    assert housekeeping.scrub_old_seeds(later) == 0


def test_no_scrubbing_beside_an_open_action_or_on_a_silent_host(world: World) -> None:
    server = world.running()
    later = timezone.now() + timedelta(seconds=901)
    Host.objects.update(status=HostStatus.UNREACHABLE)
    assert housekeeping.scrub_old_seeds(later) == 0
    Host.objects.update(status=HostStatus.REACHABLE)
    services.reboot(world.alice, server.pk)
    assert housekeeping.scrub_old_seeds(later) == 0


def test_root_passwords_are_forgotten_after_a_day(world: World) -> None:
    server = world.running()
    assert bytes(server.root_password_sealed)
    assert housekeeping.forget_old_secrets(timezone.now()) == 0
    tomorrow = timezone.now() + timedelta(days=1, seconds=1)
    assert housekeeping.forget_old_secrets(tomorrow) == 1
    server.refresh_from_db()
    assert bytes(server.root_password_sealed) == b""
