"""Spread groups: two servers of one never share a host, whatever the crowd."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hosts.models import Host
from tests.audit import clean_audit
from tests.servers.test_races import all_at_once
from tests.world import World, make_host, work
from vpspanel.accounts.models import Project
from vpspanel.errors import NotFound, Refused
from vpspanel.servers import services
from vpspanel.servers.groups import named_group
from vpspanel.servers.models import PlacementGroup, Server

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]
HOSTS = 5


@pytest.fixture
def fleet(world: World) -> World:
    world.hosts += [make_host(world.location) for _ in range(HOSTS - 1)]
    return world


def test_a_crowd_gets_one_server_on_each_host(fleet: World) -> None:
    group = named_group(fleet.alice, fleet.project, "web")
    outcomes = all_at_once(lambda number: fleet.order(f"web{number}", placement_group=group))
    assert outcomes == {"sold": HOSTS, "placement_error": 20 - HOSTS}
    on_hosts = Counter(Server.objects.values_list("host_id", flat=True))
    assert set(on_hosts.values()) == {1}


def test_a_deleted_server_makes_room_in_its_group(fleet: World) -> None:
    Host.objects.exclude(pk=fleet.host.pk).update(accepting=False)
    group = named_group(fleet.alice, fleet.project, "web")
    server = fleet.running(placement_group=group)
    with pytest.raises(Refused, match="has a server of the group web already"):
        fleet.order("web2", placement_group=group)
    services.delete(fleet.alice, server.pk)
    work()
    assert fleet.running("web3", placement_group=group).host == fleet.host


def test_a_plan_asks_for_hosts_with_its_tags(fleet: World) -> None:
    fleet.plan.host_tags = "nvme"
    fleet.plan.save(update_fields=["host_tags"])
    with pytest.raises(Refused, match="sold out"):
        fleet.order()
    Host.objects.filter(pk=fleet.hosts[3].pk).update(tags=" nvme ", tagged_only=True)
    assert fleet.order().server.host == fleet.hosts[3]


def test_groups_of_others_are_not_there(fleet: World) -> None:
    with pytest.raises(NotFound):
        named_group(fleet.charlie, fleet.project, "web")
    with pytest.raises(Refused):
        named_group(fleet.olga, fleet.project, "web")
    charlies = Project.objects.get(members__user=fleet.charlie.user)
    other = PlacementGroup.objects.create(project=charlies, name="theirs")
    with pytest.raises(Refused, match="Unknown placement group"):
        fleet.order(placement_group=other)
    for name in ("", "a b", "-x", "x" * 64):
        with pytest.raises(Refused, match="The name of a group"):
            named_group(fleet.alice, fleet.project, name)


def test_the_order_page_shows_what_is_left_and_spreads(fleet: World, client: Client) -> None:
    assert fleet.alice.user is not None
    client.force_login(fleet.alice.user)
    Host.objects.update(memory_limit_mib=fleet.plan.memory_mib * 2)
    page = client.get(reverse("servers:order"))
    assert f"{HOSTS * 2} left" in page.content.decode()
    form = page.context["form"]
    for name in ("a", "b"):
        values: dict[str, Any] = {**form.initial, "name": name, "spread": "pair"}
        fresh = client.get(reverse("servers:order")).context["form"].initial["token"]
        values = {key: value for key, value in values.items() if value is not None}
        answer = client.post(reverse("servers:order"), {**values, "token": fresh})
        assert answer.status_code == 302, answer.content.decode()
    assert len(set(Server.objects.values_list("host_id", flat=True))) == 2
    assert PlacementGroup.objects.get().servers.count() == 2
