"""The list: what it shows, finds and costs."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from hosts.models import IPAddress, IPPool
from tests.pages.conftest import SignIn
from tests.world import World
from vpspanel.accounts.models import Member, Role
from vpspanel.accounts.services import open_account
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers.models import PrimaryIP, Server

LIST = reverse("servers:list")
QUERIES = 11  # exactly: a page that needs more has forgotten to load something at once
QUERY_BUDGET = 12


def many(world: World, count: int) -> list[Server]:
    """Servers with two addresses each, every tenth with an open action; rows only."""
    pools = {pool.family: pool for pool in IPPool.objects.all()}
    servers = Server.objects.bulk_create(
        Server(
            project=world.project,
            name=f"node-{n:04d}",
            server_type=world.plan,
            image=world.images[n % 2],
            location=world.location,
            host=world.host,
            vcpus=1,
            memory_mib=128,
            disk_gib=1,
            mac=f"52:54:00:{n >> 16:02x}:{n >> 8 & 255:02x}:{n & 255:02x}",
            lifecycle="active",
            power_seen="running",
            seen_at=timezone.now(),
        )
        for n in range(count)
    )
    addresses = IPAddress.objects.bulk_create(
        IPAddress(
            pool=pools[family],
            family=family,
            address=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
            if family == 4
            else f"fd80:0:0:{n:x}::/64",
            owner=server.uuid,
        )
        for n, server in enumerate(servers)
        for family in (4, 6)
    )
    PrimaryIP.objects.bulk_create(
        PrimaryIP(project=world.project, server=servers[n // 2], address=address, name=f"ip-{n}")
        for n, address in enumerate(addresses)
    )
    Action.objects.bulk_create(
        Action(
            command="reboot",
            resource_type="server",
            resource_id=server.pk,
            project_id=world.project.pk,
            run_after=timezone.now(),
        )
        for server in servers[::10]
    )
    return servers


def queries_of(client: Client, address: str) -> list[dict[str, Any]]:
    with CaptureQueriesContext(connection) as captured:
        assert client.get(address).status_code == 200
    return list(captured.captured_queries)


@pytest.mark.parametrize("count", [1, 100])
def test_the_number_of_queries_does_not_grow(world: World, alice: Client, count: int) -> None:
    many(world, count)
    queries = queries_of(alice, LIST)
    assert len(queries) == QUERIES, [query["sql"][:120] for query in queries]


@pytest.mark.alone
def test_a_thousand_servers_are_quick(world: World, alice: Client) -> None:
    many(world, 1000)
    alice.get(LIST)
    took = []
    for _ in range(7):
        before = time.process_time()  # what else runs on this machine is not under test
        response = alice.get(LIST)
        took.append(time.process_time() - before)
    assert b"1\xe2\x80\x9350 of 1000 servers" in response.content
    # Less than 150 ms on an idle machine; who shares a core with others is charged for more.
    assert sorted(took)[3] < 0.250, took
    assert len(queries_of(alice, LIST)) <= QUERY_BUDGET
    assert len(queries_of(alice, f"{LIST}?q=node-09&page=2")) <= QUERY_BUDGET


def test_it_shows_what_a_server_is(world: World, alice: Client) -> None:
    server = world.running()
    page = alice.get(LIST).content.decode()
    addresses = [ip.address.address for ip in server.primary_ips.select_related("address")]
    for shown in ("web", "Running", "Testville", "Tiny", "nano", addresses[0]):
        assert shown in page
    assert f'data-copy="{addresses[0]}"' in page
    assert f'data-copy="{addresses[1].replace("::/64", "::1")}"' in page


def test_a_button_that_cannot_be_used_says_why(world: World, alice: Client) -> None:
    server = world.running()
    page = alice.get(LIST).content.decode()
    assert f'id="power_on-{server.pk}" title="It is running already." disabled' in page


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("web", ["web"]),
        ("WEB", ["web"]),
        ("other", ["mail"]),
        ("nano", ["mail", "web"]),
        ("mail other", ["mail"]),
        ("mail tiny", []),
        ("10.80.0.", ["mail", "web"]),
        ("%", []),
        ("'; DROP TABLE", []),
    ],
)
def test_the_filter(world: World, alice: Client, words: str, found: list[str]) -> None:
    world.running("web")
    world.running("mail", image=world.images[1])
    page = alice.get(LIST, {"q": words})
    assert [item["row"].server.name for item in page.context["rows"]] == found
    assert f'value="{words.replace(chr(39), "&#x27;")}"' in page.content.decode()


def test_nothing_yet_leads_to_the_order(world: World, alice: Client) -> None:
    page = alice.get(LIST).content.decode()
    assert "No servers yet" in page
    assert reverse("servers:order") in page


def test_pages_beyond_the_last_show_the_last(world: World, alice: Client) -> None:
    many(world, 60)
    for page in ("2", "99"):
        assert len(alice.get(LIST, {"page": page}).context["rows"]) == 10
    assert len(alice.get(LIST, {"page": "x"}).context["rows"]) == 50


def test_one_project_or_all(world: World, alice: Client) -> None:
    assert world.alice.user is not None
    second = open_account(user=world.alice.user, name="Second", actor=SYSTEM)
    world.running("first")
    world.running("second", project=second)

    def names() -> list[str]:
        return [item["row"].server.name for item in alice.get(LIST).context["rows"]]

    assert names() == ["first", "second"]
    alice.post(reverse("projects:choose"), {"project": second.pk, "next": LIST})
    assert names() == ["second"]
    alice.post(reverse("projects:choose"), {"project": ""})
    assert names() == ["first", "second"]


def test_who_left_the_project_no_longer_sees_it(world: World, sign_in: SignIn) -> None:
    olga = sign_in(world.olga)
    olga.post(reverse("projects:choose"), {"project": world.project.pk})
    world.running()
    assert b"web" in olga.get(LIST).content
    Member.objects.filter(user=world.olga.user, role=Role.OPERATOR).delete()
    response = olga.get(LIST)
    assert response.status_code == 200
    assert response.context["rows"] == []


def test_the_fragment_is_the_rows_and_costs_nothing_unchanged(world: World, alice: Client) -> None:
    server = world.running()
    address = reverse("servers:list_fragment")
    first = alice.get(address)
    assert b"<html" not in first.content
    assert b"csrfmiddlewaretoken" not in first.content
    again = alice.get(address, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    Server.objects.filter(pk=server.pk).update(power_seen="off")
    changed = alice.get(address, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert changed["ETag"] != first["ETag"]
