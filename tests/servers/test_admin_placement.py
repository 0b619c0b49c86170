"""The placement page: what an order would choose, and why."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from hosts.models import Host
from tests.world import World, make_host, make_user
from vpspanel.accounts.models import User
from vpspanel.servers.groups import named_group

PAGE = reverse("admin:servers_placement")


@pytest.fixture
def root(world: World, client: Client) -> Client:
    world.hosts.append(make_host(world.location))
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    return client


def asked(world: World, **more: Any) -> dict[str, Any]:
    return {"server_type": world.plan.pk, "location": world.location.pk, **more}


def test_the_first_of_the_page_is_what_an_order_takes(root: Client, world: World) -> None:
    Host.objects.filter(pk=world.host.pk).update(memory_used_mib=60000)
    verdicts = root.get(PAGE, asked(world)).context["verdicts"]
    assert [verdict.refusals for verdict in verdicts] == [[], []]
    assert world.order().server.host_id == verdicts[0].candidate.host_id != world.host.pk


def test_it_says_why_not(root: Client, world: World) -> None:
    Host.objects.filter(pk=world.host.pk).update(accepting=False)
    Host.objects.filter(pk=world.hosts[1].pk).update(memory_limit_mib=100)
    page = root.get(PAGE, asked(world, image=world.images[0].pk)).content.decode()
    assert "The host takes no new servers." in page
    assert "100 MiB of memory are free, 128 are needed." in page
    assert "this one" not in page


def test_it_knows_spread_groups(root: Client, world: World) -> None:
    group = named_group(world.alice, world.project, "web")
    taken = world.order(placement_group=group).server.host
    page = root.get(PAGE, asked(world, group=f"{world.project.pk}/web"))
    refused = [verdict for verdict in page.context["verdicts"] if verdict.refusals]
    assert [verdict.candidate.host_id for verdict in refused] == [taken.pk if taken else 0]
    assert "no such group" in root.get(PAGE, asked(world, group="nonsense")).content.decode()


def test_how_many_of_each_plan_fit(root: Client, world: World) -> None:
    Host.objects.update(memory_limit_mib=300)
    (row,) = root.get(PAGE).context["room"]
    assert (row.server_type, row.fit) == (world.plan, [4])


def test_it_is_for_those_who_may_see_hosts(world: World, client: Client) -> None:
    staff = make_user("staff@example.com")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    client.force_login(staff)
    assert client.get(PAGE).status_code == 403
    staff.user_permissions.add(Permission.objects.get(codename="view_host"))
    assert client.get(PAGE).status_code == 200
    assert world.alice.user is not None
    client.force_login(world.alice.user)
    assert client.get(PAGE).status_code == 302
