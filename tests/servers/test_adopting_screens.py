"""Taking a guest over from the staff's screen and from the command line."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from tests.servers.drifting import look
from tests.servers.foreigners import IPV4, NAME, foreign
from tests.world import World, make_plan, work
from vpspanel.accounts.models import User
from vpspanel.accounts.services import open_account
from vpspanel.events.actor import SYSTEM
from vpspanel.servers.models import Server
from vpspanel.servers.models_drift import Difference

pytestmark = pytest.mark.django_db


def said(world: World, guest: str = NAME, **options: Any) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("server_adopt", world.host.name, guest, stdout=out, **options)
    return out.getvalue()


def test_the_screen(world: World, client: Client) -> None:
    uuid = foreign(world)
    look()
    row = Difference.objects.get(code="domain_foreign")
    client.force_login(User.objects.create_superuser("staff@example.com", "secret"))
    chosen = {"_selected_action": row.pk, "action": "take_over", "index": 0}
    answer = client.post(reverse("admin:servers_difference_changelist"), chosen)
    page = reverse("admin:servers_adopt", args=[row.pk])
    assert answer["Location"] == page
    make_plan(world, "large", vcpus=2, memory_mib=2048, disk_gib=10)
    make_plan(world, "pico", vcpus=1, memory_mib=64, disk_gib=1)
    shown = client.get(page).content.decode()
    for words in ("old-web.qcow2", "52:54:00:12:34:56", "100 MiB", ">large<", ">nano<"):
        assert words in shown
    assert ">pico<" not in shown, "it is too small"
    form = {"project": "alice@example.com", "name": "web", "server_type": world.plan.pk}
    refused = client.post(page, {**form, "ipv4": "192.0.2.1"}).content.decode()
    assert "192.0.2.1 lies in no pool" in refused
    nobody = client.post(page, {**form, "ipv4": IPV4, "project": "x@y.z"}).content.decode()
    assert "There is no project x@y.z" in nobody
    assert not Server.objects.exists()
    done = client.post(page, {**form, "ipv4": IPV4}, follow=True).content.decode()
    assert "It is being taken over: action #" in done
    work()
    server = Server.objects.get()
    assert (server.uuid, server.project, server.lifecycle) == (uuid, world.project, "active")
    look()
    assert not Difference.objects.exclude(state="gone").exists(), "it is ours"
    assert client.get(page).status_code == 404


def test_the_screen_says_what_stands_in_the_way(world: World, client: Client) -> None:
    foreign(world, disks=())
    look()
    row = Difference.objects.get(code="domain_foreign")
    page = reverse("admin:servers_adopt", args=[row.pk])
    clerk = User.objects.create_user("clerk@example.com", "secret", is_staff=True)
    client.force_login(clerk)
    assert client.get(page).status_code == 403
    client.force_login(User.objects.create_superuser("staff@example.com", "secret"))
    shown = client.get(page).content.decode()
    assert "It has 0 disks; a server has one." in shown
    assert "Take it over" not in shown


def test_the_command(world: World) -> None:
    foreign(world)
    plan = said(world)
    assert "old-web (running): 1 vCPUs, 100 MiB, 1 GiB" in plan
    assert "nothing stands in the way" in plan
    wanted = {"project": str(world.project.pk), "type": "nano", "ipv4": IPV4}
    assert "old-web is server" in said(world, **wanted)
    work()
    assert Server.objects.get().lifecycle == "active"
    with pytest.raises(CommandError, match="is the panel's already"):
        said(world)


def test_what_the_command_refuses(world: World) -> None:
    foreign(world)
    refused: list[tuple[dict[str, Any], str]] = [
        ({"guest": "mars"}, "has no guest called mars"),
        ({"project": "999"}, "There is no project 999"),
        ({"project": "alice@example.com", "type": "huge"}, "There is no plan 'huge'.*nano"),
        ({"project": "alice@example.com", "type": "nano"}, "Nothing is not an IPv4 address"),
        ({"project": "alice@example.com", "type": "nano", "image": "x"}, "There is no image x"),
    ]
    for options, sentence in refused:
        with pytest.raises(CommandError, match=sentence):
            said(world, **options)
    open_account(user=User.objects.get(email="alice@example.com"), name="Two", actor=SYSTEM)
    with pytest.raises(CommandError, match="owns several projects"):
        said(world, project="alice@example.com", type="nano")
    with pytest.raises(CommandError, match="There is no host venus"):
        call_command("server_adopt", "venus", NAME)
