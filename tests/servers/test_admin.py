"""Staff act on servers through the same services as customers, with their own names on it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from tests.world import World, make_user
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.events.models import Event
from vpspanel.servers.models import Server

LIST = "admin:servers_server_changelist"


def staff(client: Client, *permissions: str) -> User:
    """A signed-in staff member with these permissions."""
    user = make_user("staff@example.com")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def act(client: Client, verb: str, *servers: Server, **extra: Any) -> str:
    form = {"action": f"verb_{verb}", "_selected_action": [s.pk for s in servers], **extra}
    return client.post(reverse(LIST), form, follow=True).content.decode()


def commands(server: Server) -> list[str]:
    actions = Action.objects.filter(resource_type="server", resource_id=server.pk)
    return list(actions.order_by("pk").values_list("command", flat=True))


@pytest.mark.parametrize("verb", ["shutdown", "reboot"])
def test_a_gentle_verb_is_done_at_once_in_the_staffs_name(
    world: World, client: Client, verb: str
) -> None:
    server = world.running()
    user = staff(client, "view_server", "change_server")
    assert f"action #{Action.objects.latest('pk').pk + 1}" in act(client, verb, server)
    assert commands(server)[-1] == verb
    event = Event.objects.get(kind=f"server.{verb}")
    assert (event.actor_id, event.via, event.ip) == (user.pk, "admin", "127.0.0.1")


@pytest.mark.parametrize("verb", ["power_off", "reset", "delete"])
def test_a_harsh_verb_asks_first(world: World, client: Client, verb: str) -> None:
    server = world.running()
    staff(client, "view_server", "change_server", "delete_server")
    page = act(client, verb, server)
    assert 'name="confirmed"' in page
    assert server.name in page
    assert commands(server) == ["create"]
    act(client, verb, server, confirmed="yes")
    assert commands(server) == ["create", verb]


def test_each_refusal_is_told_and_the_others_go_on(world: World, client: Client) -> None:
    first, second = world.running("first"), world.running("second")
    staff(client, "view_server", "change_server", "delete_server")
    Server.objects.filter(pk=first.pk).update(protect_delete=True)
    page = act(client, "delete", first, second, confirmed="yes")
    assert "first: It is protected" in page
    assert commands(first) == ["create"]
    assert commands(second) == ["create", "delete"]


@pytest.mark.parametrize(
    ("permissions", "verbs"),
    [
        (("view_server",), ["reboot", "power_off", "delete"]),
        (("view_server", "change_server"), ["delete"]),
        (("view_server", "delete_server"), ["reboot", "power_off"]),
    ],
)
def test_a_verb_needs_its_permission(
    world: World, client: Client, permissions: tuple[str, ...], verbs: list[str]
) -> None:
    server = world.running()
    staff(client, *permissions)
    for verb in verbs:
        act(client, verb, server, confirmed="yes")
    assert commands(server) == ["create"]


def test_a_slip_of_the_hand_stays_small(world: World, client: Client) -> None:
    servers = [world.order(f"s{number}").server for number in range(26)]
    staff(client, "view_server", "change_server")
    assert "At most 25 servers at once" in act(client, "reboot", *servers)


def test_search_finds_by_name_uuid_and_address(world: World, client: Client) -> None:
    wanted, _other = world.running("wanted"), world.running("other")
    staff(client, "view_server")
    v4, v6 = (ip.address.address for ip in wanted.primary_ips.all())
    inside_v6 = v6.partition("/")[0] + "beef"
    for term in ("wante", str(wanted.uuid), wanted.uuid.hex, v4, v6, inside_v6, wanted.mac):
        page = client.get(reverse(LIST), {"q": term})
        found = [server.name for server in page.context["cl"].result_list]
        assert found == ["wanted"], term


def test_secrets_are_on_no_page(world: World, client: Client) -> None:
    server = world.order("secretive", user_data="#!/bin/sh\necho canary-in-user-data\n").server
    server.refresh_from_db()
    assert server.root_password_hash
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    html = client.get(reverse("admin:servers_server_change", args=[server.pk])).content.decode()
    for secret in (server.root_password_hash, "canary-in-user-data", "sealed"):
        assert secret not in html


def test_plans_and_prices_are_staffs_own(world: World, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    price = world.plan.prices.get()
    form = {
        "name": "nano", "description": "Nano", "category": "Shared vCPU", "vcpus": 1,
        "memory_mib": 256, "disk_gib": 1, "traffic_gib": 100, "architecture": "x86", "position": 0,
        "prices-TOTAL_FORMS": 1, "prices-INITIAL_FORMS": 1, "prices-0-id": price.pk,
        "prices-0-server_type": world.plan.pk, "prices-0-location": world.location.pk,
        "prices-0-hourly_micros": 4000, "prices-0-monthly_micros": 2_000_000,
    }  # fmt: skip
    page = reverse("admin:servers_servertype_change", args=[world.plan.pk])
    assert client.post(page, form).status_code == 302
    world.plan.refresh_from_db()
    price.refresh_from_db()
    assert (world.plan.memory_mib, price.hourly_micros) == (256, 4000)
    event = Event.objects.get(kind="staff.servertype_changed")
    assert "Memory mib" in event.message
    assert event.public is False
