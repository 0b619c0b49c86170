"""Work on a host: who leaves and how, what customers read, and everybody comes back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from hosts.models import CapacityClaim, Host
from hosts.virt.errors import VirtError
from hosts.virt.spec import Power
from tests.audit import clean_audit
from tests.servers.moves import lives_on, other, update
from tests.world import World, due_now, make_host, work
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import draining, services
from vpspanel.servers import maintenance as service
from vpspanel.servers.announcements import current_announcements
from vpspanel.servers.draining import AFTER_FAILURE, TRIES, conduct_due
from vpspanel.servers.models import Server
from vpspanel.servers.models_maintenance import Departure, Maintenance, MaintenanceState

__all__ = ["clean_audit", "other"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]

HOUR = timedelta(hours=1)


def planned(world: World, *, starts_in: timedelta = timedelta(0), **changes: Any) -> Maintenance:
    begins = timezone.now() + starts_in
    window = {"reason": "new disks", "begins": begins, "ends": begins + HOUR}
    return service.plan_maintenance(SYSTEM, world.host, **{**window, **changes})


def conducted(maintenance: Maintenance, rounds: int = 12, now: datetime | None = None) -> str:
    """Its state when the monitor and a worker have done what they can."""
    for _ in range(rounds):
        conduct_due(now)
        work()
        due_now()
    maintenance.refresh_from_db()
    return maintenance.state


def states(maintenance: Maintenance) -> dict[str, str]:
    return dict(maintenance.departures.values_list("server__name", "state"))


def test_a_host_is_drained_and_filled_again(world: World, other: Host) -> None:
    running, off = world.running("runs"), world.stopped("off")
    boots = world.driver().guest_record(running.uuid).boots
    maintenance = planned(world)
    assert conducted(maintenance) == MaintenanceState.DRAINED
    assert states(maintenance) == {"runs": "done", "off": "done"}
    assert not CapacityClaim.objects.filter(host=world.host).exists()
    assert Host.objects.filter(pk=world.host.pk, accepting=False).exists()
    with pytest.raises(Refused):
        service.begin(SYSTEM, maintenance)
    service.finish(SYSTEM, maintenance, restore=True)
    assert Host.objects.filter(pk=world.host.pk, accepting=True).exists()
    assert conducted(maintenance) == MaintenanceState.ENDED
    for server, power in ((running, Power.RUNNING), (off, Power.OFF)):
        server.refresh_from_db()
        assert server.host == world.host
        seen = world.driver().domain(server.uuid)
        assert seen is not None
        assert seen.power is power
    assert world.driver().guest_record(running.uuid).boots == boots  # it ran all the time
    kinds = Event.objects.filter(resource_type="host").order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == [
        "host.maintenance_planned",
        "host.maintenance_began",
        "host.drained",
        "host.maintenance_finished",
        "host.restored",
    ]


def test_it_begins_by_itself_and_not_before(world: World, other: Host) -> None:
    server = world.running()
    maintenance = planned(world, starts_in=HOUR)
    assert conducted(maintenance, 2) == "planned"
    at = timezone.now() + HOUR + timedelta(minutes=1)
    assert conducted(maintenance, now=at) == "drained"
    lives_on(world, server, other, Power.RUNNING)


def test_customers_of_its_servers_read_of_the_window(world: World, other: Host) -> None:
    server = world.running()
    maintenance = planned(world, starts_in=HOUR, shuts_down=True)
    (told,) = current_announcements(world.alice)
    assert f"{maintenance.begins:%Y-%m-%d %H:%M} to {maintenance.ends:%Y-%m-%d %H:%M}" in told.title
    assert "new disks" in told.text
    assert "shut down" in told.text
    assert current_announcements(world.charlie) == []
    service.begin(SYSTEM, maintenance)
    conducted(maintenance)
    assert current_announcements(world.alice) == []  # nothing of hers is there any more
    lives_on(world, server, other, Power.RUNNING)
    service.finish(SYSTEM, maintenance, restore=False)
    assert conducted(maintenance) == MaintenanceState.ENDED
    lives_on(world, server, other, Power.RUNNING)


def test_a_cancelled_one_is_not_told_of_and_does_not_begin(world: World, other: Host) -> None:
    server = world.running()
    maintenance = planned(world)
    service.cancel(SYSTEM, maintenance)
    assert current_announcements(world.alice) == []
    assert conducted(maintenance, 2) == MaintenanceState.CANCELLED
    lives_on(world, server, world.host, Power.RUNNING)
    for act in (service.begin, service.cancel):
        with pytest.raises(Refused, match="cancelled already"):
            act(SYSTEM, maintenance)


def test_what_cannot_move_while_it_runs_is_shut_down_only_in_an_announced_window(
    world: World, other: Host
) -> None:
    server = world.running()
    update(other, virt_type="kvm")
    maintenance = planned(world, starts_in=HOUR)
    service.begin(SYSTEM, maintenance)
    assert conducted(maintenance, 2) == MaintenanceState.DRAINING
    (row,) = Departure.objects.all()
    assert "It can be moved offline." in row.reason
    Maintenance.objects.update(shuts_down=True)
    service.try_again(SYSTEM, maintenance)
    conducted(maintenance, 2)  # the window has not begun yet
    lives_on(world, server, world.host, Power.RUNNING)
    at = maintenance.begins + timedelta(minutes=1)
    conducted(maintenance, 200, now=at)
    assert maintenance.state == MaintenanceState.DRAINED
    lives_on(world, server, other, Power.RUNNING)
    assert Action.objects.filter(command="migrate").get().args["how"] == "offline"


def test_one_that_fails_again_and_again_is_left_to_staff(world: World, other: Host) -> None:
    server = world.running()
    world.driver().inject("move", VirtError("the line is bad"), times=None)
    maintenance = planned(world)
    service.begin(SYSTEM, maintenance)
    now = timezone.now()
    for _ in range(TRIES):
        conducted(maintenance, 9, now=now)
        now += AFTER_FAILURE * TRIES
    (row,) = Departure.objects.all()
    assert (row.state, row.tries) == ("failed", TRIES)
    assert row.reason
    assert maintenance.state == MaintenanceState.DRAINING  # it is not empty
    lives_on(world, server, world.host, Power.RUNNING)
    world.driver().clear_faults()
    service.try_again(SYSTEM, maintenance)
    assert conducted(maintenance, now=now) == MaintenanceState.DRAINED


def test_it_is_given_up_in_the_middle(world: World, other: Host) -> None:
    """What is on its way is called off, and everybody is at home again."""
    servers = [world.running(f"s{number}") for number in range(3)]
    maintenance = planned(world, at_once=1)
    service.begin(SYSTEM, maintenance)
    conducted(maintenance, 1)
    conduct_due()
    assert sorted(states(maintenance).values()) == ["done", "moving", "waiting"]
    service.finish(SYSTEM, maintenance, restore=True)
    assert conducted(maintenance) == MaintenanceState.ENDED
    for server in servers:
        server.refresh_from_db()
        assert server.host == world.host
    assert set(states(maintenance).values()) == {"done"}


def test_as_many_at_once_as_staff_said(world: World, other: Host) -> None:
    for number in range(4):
        world.running(f"s{number}")
    maintenance = planned(world, at_once=3)
    conduct_due()
    assert sorted(states(maintenance).values()) == ["moving"] * 3 + ["waiting"]
    conducted(maintenance)


def test_a_server_that_was_being_built_leaves_as_well(world: World, other: Host) -> None:
    update(other, accepting=False)
    ordered = world.order("late")
    update(other, accepting=True)
    maintenance = planned(world)
    conduct_due()
    (row,) = Departure.objects.all()
    assert row.reason == "It is creating."
    assert row.state == "waiting"
    work()
    conducted(maintenance, now=timezone.now() + timedelta(minutes=1))
    assert maintenance.state == MaintenanceState.DRAINED
    lives_on(world, Server.objects.get(pk=ordered.server.pk), other, Power.RUNNING)


def test_one_that_is_deleted_meanwhile_is_no_concern(world: World, other: Host) -> None:
    server = world.running()
    maintenance = planned(world)
    services.delete(world.alice, server.pk)
    work()
    assert conducted(maintenance, 2) == MaintenanceState.DRAINED
    assert not Departure.objects.exists()


def test_only_staff_and_only_what_makes_sense(world: World) -> None:
    now = timezone.now()
    with pytest.raises(Refused) as refused:
        service.plan_maintenance(
            world.alice, world.host, reason="new disks", begins=now, ends=now + HOUR
        )
    assert refused.value.code == "forbidden"
    wrong: dict[str, Any] = {"reason": " x ", "ends": now - HOUR, "at_once": 0}
    for field, value in wrong.items():
        with pytest.raises(Refused) as refused:
            planned(world, **{field: value})
        assert (refused.value.code, refused.value.field) == ("invalid_input", field)
    first, second = planned(world), planned(world, starts_in=2 * HOUR)
    with pytest.raises(Refused, match="Another maintenance of this host is planned"):
        planned(world)  # a double click
    service.begin(SYSTEM, first)
    with pytest.raises(Refused, match="Another maintenance"):
        service.begin(SYSTEM, second)
    with pytest.raises(Refused, match="Another maintenance"):
        service.drain(SYSTEM, world.host, reason="new disks", ends=now + HOUR)
    assert Maintenance.objects.count() == 2  # what could not begin is not planned either
    with pytest.raises(Refused, match="being drained"):
        service.cancel(SYSTEM, first)
    world.host.refresh_from_db()
    service.finish(SYSTEM, first, restore=False)


def test_the_outlook_takes_room_as_it_will_be_taken(
    world: World, other: Host, django_assert_max_num_queries: Any
) -> None:
    for number in range(6):
        world.running(f"s{number}")
    update(other, vcpus_limit=4)
    third = make_host(world.location)
    world.hosts.append(third)
    update(third, vcpus_limit=1, virt_type="kvm")
    with django_assert_max_num_queries(9):
        found = service.prospects(world.host)
    ways = [(one.how, one.to) for one in found]
    assert sorted(how for how, _ in ways) == ["", "live", "live", "live", "live", "offline"]
    assert {to for how, to in ways if how == "live"} == {other}
    assert {to for how, to in ways if how == "offline"} == {third}
    (stays,) = [one for one in found if not one.how]
    assert any("vCPUs are free" in one.message for one in stays.obstacles)
    (off,) = [one for one in found if one.how == "offline"]
    assert any("Guests run under" in one.message for one in off.obstacles)


def test_a_window_that_was_missed_does_not_begin_afterwards(world: World, other: Host) -> None:
    """No monitor ran in that time: customers were told of another one."""
    server = world.running()
    maintenance = planned(world)
    assert conducted(maintenance, 2, now=maintenance.ends + HOUR) == "cancelled"
    assert current_announcements(world.alice) == []
    lives_on(world, server, world.host, Power.RUNNING)


def test_what_is_wrong_with_one_host_holds_up_no_other(
    world: World, other: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.running()
    third = make_host(world.location)
    world.hosts.append(third)
    broken = service.drain(SYSTEM, third, reason="new disks", ends=timezone.now() + HOUR)
    maintenance = planned(world)
    conduct = draining._conduct

    def breaks(one: Maintenance, now: datetime) -> int:
        if one.pk == broken.pk:
            raise RuntimeError("a bug")
        return conduct(one, now)

    monkeypatch.setattr(draining, "_conduct", breaks)
    assert conducted(maintenance) == "drained"
    lives_on(world, server, other, Power.RUNNING)
