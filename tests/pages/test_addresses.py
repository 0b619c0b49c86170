"""The pages of a project's addresses."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from hosts.models import Family
from tests.world import World, work
from vpspanel.servers.models import PrimaryIP, Server

LIST = reverse("addresses:list")
ADD = reverse("addresses:add")


def at(name: str, ip: PrimaryIP) -> str:
    return reverse(f"addresses:{name}", kwargs={"ip_id": ip.pk})


def wanted(world: World, **more: Any) -> dict[str, Any]:
    return {"name": "mail", "family": "4", "location": world.location.pk, "keep": "on", **more}


def bought(world: World, alice: Client, **more: Any) -> PrimaryIP:
    assert alice.post(ADD, wanted(world, **more)).status_code == 302
    return PrimaryIP.objects.order_by("-pk")[0]


def without(alice: Client, server: Server, family: Family) -> Server:
    """A server that lost its own address of the family."""
    own = PrimaryIP.objects.get(server=server, address__family=family)
    assert alice.post(at("unassign", own)).status_code == 302
    work()
    return server


def test_bought_given_taken_and_given_back(
    world: World, alice: Client, bob: Client, charlie: Client
) -> None:
    assert b"No addresses yet" in alice.get(LIST).content
    ip = bought(world, alice)
    assert (ip.name, ip.auto_delete, ip.server) == ("mail", False, None)
    assert str(ip) in bob.get(LIST).content.decode()
    assert str(ip) not in charlie.get(LIST).content.decode()
    server = without(alice, world.stopped(), Family.V4)
    assert server.name in alice.get(at("assign", ip)).content.decode()
    sent = alice.post(at("assign", ip), {"server": server.pk})
    assert sent["Location"] == reverse("servers:show", kwargs={"server_id": server.pk})
    work()
    ip.refresh_from_db()
    assert ip.server == server
    assert "stays without it" in alice.get(LIST).content.decode()
    assert server.name in alice.get(at("delete", ip)).content.decode()
    alice.post(at("delete", ip))
    work()
    assert not PrimaryIP.objects.filter(pk=ip.pk).exists()


def test_an_ipv6_network_is_bought(world: World, alice: Client) -> None:
    ip = bought(world, alice, family="6", keep="")
    assert ip.address.family == Family.V6
    assert ip.auto_delete
    assert ip.address.address in alice.get(LIST).content.decode()


def test_changed_and_protected(world: World, alice: Client) -> None:
    ip = bought(world, alice)
    alice.post(at("change", ip), {"name": "web"})
    ip.refresh_from_db()
    assert (ip.name, ip.auto_delete) == ("web", True)
    alice.post(at("change_protection", ip), {"protect": "on"})
    page = alice.get(LIST).content.decode()
    assert "Protected" in page
    assert at("delete", ip) not in page
    refused = alice.post(at("delete", ip))
    assert refused.status_code == 422
    assert b"It is protected. Remove the protection first." in refused.content
    alice.post(at("change_protection", ip))
    assert alice.post(at("delete", ip)).status_code == 302
    assert not PrimaryIP.objects.exists()


def test_what_is_wrong_is_told_where_it_was_typed(world: World, alice: Client) -> None:
    ip = bought(world, alice)
    for name, said in (("mail", "already has an address called mail"), ("a b", "letters, digits")):
        response = alice.post(ADD, wanted(world, name=name))
        assert response.status_code == 422
        assert said in response.content.decode()
    for field in ("family", "location"):
        assert alice.post(ADD, wanted(world, **{field: "999999"})).status_code == 422
    running = world.running("busy")
    own = PrimaryIP.objects.get(server=running, address__family=Family.V4)
    refused = alice.post(at("unassign", own))
    assert refused.status_code == 422
    assert "off" in refused.content.decode()
    # It has one of this family, so it is not among the choices.
    assert "No server of the project" in alice.get(at("assign", ip)).content.decode()
    assert alice.post(at("assign", ip), {"server": running.pk}).status_code == 422
    assert alice.get(at("unassign", ip)).status_code == 403
    assert PrimaryIP.objects.count() == 3


def test_only_servers_that_can_have_it_are_offered(world: World, alice: Client) -> None:
    ip = bought(world, alice)
    fits, has_one = world.stopped("fits"), world.stopped("has-one")
    without(alice, fits, Family.V4)
    without(alice, has_one, Family.V6)
    alice.get(LIST)  # shows what was done, by name
    page = alice.get(at("assign", ip)).content.decode()
    assert "fits" in page
    assert "has-one" not in page


@pytest.mark.parametrize("count", [1, 6])
def test_the_list_asks_as_often_for_many(
    world: World, alice: Client, django_assert_max_num_queries: Any, count: int
) -> None:
    for number in range(count):
        world.running(f"web-{number}")
    alice.get(LIST)
    with django_assert_max_num_queries(8):
        alice.get(LIST)
