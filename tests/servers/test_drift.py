"""The screen of differences shows every kind of damage, and repairs just what it is asked to."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import Host, HostStatus
from tests.servers import damage
from tests.servers.damage import CASES, everything
from tests.servers.drifting import look, wrong
from tests.world import World, work
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.drift import (
    ignore,
    repair,
    watch_again,
)
from vpspanel.servers.drift_finder import DriftFinder
from vpspanel.servers.models import Server
from vpspanel.servers.models_drift import Difference, DifferenceState

pytestmark = pytest.mark.django_db
ALL = {case.id: case.values[0] for case in CASES}  # type: ignore[attr-defined]


def damaged(world: World, name: str) -> Server:
    """A server with that damage, which was seen twice."""
    server = world.running()
    ALL[name].do(world, server)
    look()
    look()
    return server


def only(code: str) -> Difference:
    return Difference.objects.get(code=code)


# Of each kind of repair one; that every kind of damage is listed, test_audit.py shows.
REPAIRED = [
    "count_too_much",
    "keep_the_room_of_a_deleted_one",
    "leave_a_disk",
    "leave_a_guest_that_is_off",
    "leave_an_upload",
    "lose_a_base_image",
    "lose_the_guest",
    "lose_the_filter",
    "give_it_more_cpus",
    "guard_it_with_the_filter_of_another",
    "run_it_from_another_disk",
]


@pytest.mark.parametrize("name", REPAIRED)
def test_a_repair_changes_just_that(world: World, name: str) -> None:
    beside = damage.bury(world, "beside")
    server = damaged(world, name)
    world.driver().add_foreign_volume("vpspanel", beside.disk_volume(), 4096)
    look()
    look()
    (code,) = ALL[name].codes
    row = Difference.objects.exclude(subject__contains=str(beside.uuid)).get(code=code)
    action = repair(SYSTEM, row)
    work()
    action.refresh_from_db()
    assert action.state == "success", action.error_detail
    row.refresh_from_db()
    assert row.state == DifferenceState.REPAIRED
    assert audit().codes() == {"disk_leftover"}, "more or less than asked was repaired"
    look()
    row.refresh_from_db()
    assert row.state == DifferenceState.REPAIRED
    assert world.driver().domain(server.uuid) is not None
    events = Event.objects.filter(kind__startswith="drift.", resource_id=row.pk)
    kinds = [event.kind for event in events]
    assert kinds == ["drift.repaired", "drift.repair", "drift.found"]


def test_what_goes_away_by_itself_is_closed(world: World) -> None:
    server = world.running()
    damage.lose_the_filter(world, server)
    look()
    site_filter = damage.filter_named(server.filter_name)
    world.driver().ensure_filter(site_filter)
    look()
    assert not Difference.objects.filter(code="filter_missing").exists(), "seen once is nothing"
    damage.lose_the_filter(world, server)
    look()
    look()
    world.driver().ensure_filter(site_filter)
    look()
    assert only("filter_missing").state == DifferenceState.GONE
    damage.lose_the_filter(world, server)
    look()
    assert only("filter_missing").state == DifferenceState.SUSPECTED, "it is a new one"


def test_what_is_being_done_is_no_difference(world: World) -> None:
    server = world.running()
    services.delete(world.alice, server.pk)
    world.driver().outside_undefine(server.uuid)
    look()
    look()
    assert wrong() == {}


def test_an_ignored_one_stays_ignored_until_it_changes(world: World) -> None:
    damaged(world, "count_too_much")
    row = only("host_counter")
    with pytest.raises(Refused, match="Say why"):
        ignore(SYSTEM, row, " ")
    ignore(SYSTEM, row, "We are counting by hand")
    look()
    row.refresh_from_db()
    assert (row.state, row.reason) == ("ignored", "We are counting by hand")
    with pytest.raises(Refused, match="just changed"):
        ignore(SYSTEM, Difference(pk=row.pk, state="open"), "once more")
    watch_again(SYSTEM, row)
    row.refresh_from_db()
    assert row.state == DifferenceState.OPEN
    ignore(SYSTEM, row, "We are counting by hand")
    Host.objects.update(vcpus_used=77)
    look()
    row.refresh_from_db()
    assert row.state == DifferenceState.OPEN
    assert "77 vCPUs" in row.message


def test_a_repair_of_what_is_gone_does_nothing(world: World) -> None:
    damaged(world, "leave_a_disk")
    row = only("disk_leftover")
    action = repair(SYSTEM, row)
    pool, name = row.subject.split("/")[-2:]
    world.driver().delete_volume(pool, name)
    before = everything(world)
    work()
    action.refresh_from_db()
    assert (action.state, action.error_code) == ("error", "gone")
    assert [one for one in everything(world) if "command" not in str(one)] == [
        one for one in before if "command" not in str(one)
    ]
    with pytest.raises(Refused, match="needs a person"):
        repair(SYSTEM, Difference(state="open", code="disk_unknown", remedy=""))


def test_the_finder_takes_turns_and_leaves_silent_hosts_out(world: World) -> None:
    server = world.running()
    finder = DriftFinder()
    assert finder.find_drift() == 1
    assert finder.find_drift() == 0, "it was looked at a moment ago"
    damage.lose_the_filter(world, server)
    again = DriftFinder()
    assert again.find_drift() == 1
    assert again.find_drift() == 0
    past = timezone.now() - timedelta(minutes=1)
    Difference.objects.update(last_seen=past)
    assert again.find_drift() == 1, "a suspect is looked at again soon"
    assert only("filter_missing").state == DifferenceState.OPEN
    Host.objects.update(status=HostStatus.UNREACHABLE)
    assert DriftFinder().find_drift() == 0
    assert only("filter_missing").state == DifferenceState.OPEN


def test_the_screen(world: World, client: Client) -> None:
    damaged(world, "leave_a_disk")
    world.driver().add_foreign_volume("vpspanel", "backup-of-somebody.img", 4096)
    look()
    staff = User.objects.create_superuser("staff@example.com", "secret")
    client.force_login(staff)
    screen = reverse("admin:servers_difference_changelist")
    page = client.get(screen).content.decode()
    assert "Its server is deleted" in page
    assert "backup-of-somebody.img" in page
    row = only("disk_leftover")
    chosen: dict[str, Any] = {"_selected_action": row.pk, "action": "ignore", "index": 0}
    asked = client.post(screen, chosen).content.decode()
    assert "Why it may stay as it is" in asked
    client.post(screen, {**chosen, "confirmed": "Ignore", "reason": "The customer wants it back"})
    assert only("disk_leftover").state == DifferenceState.IGNORED
    chosen["action"] = "repair"
    assert "delete it" in client.post(screen, chosen).content.decode()
    assert not Action.objects.filter(command="repair_difference").exists()
    answer = client.post(screen, {**chosen, "confirmed": "Repair"}, follow=True)
    assert "is being repaired" in answer.content.decode()
    work()
    shown = client.get(reverse("admin:servers_difference_change", args=[row.pk])).content.decode()
    assert "Ignored: The customer wants it back" in shown
    assert "staff@example.com" in shown
    assert row.subject not in client.get(screen).content.decode()
    assert row.subject in client.get(f"{screen}?state=repaired").content.decode()
