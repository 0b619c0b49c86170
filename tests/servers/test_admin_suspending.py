"""Staff suspend servers and accounts: asked for a reason, with their own names on it."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from tests.servers.test_admin import staff
from tests.world import World
from vpspanel.accounts.models import Account
from vpspanel.events.models import Event
from vpspanel.servers.models import Server

LISTS = {
    "server": "admin:servers_server_changelist",
    "account": "admin:accounts_account_changelist",
}


def act(client: Client, kind: str, action: str, pk: int, **extra: Any) -> str:
    form = {"action": action, "_selected_action": [pk], **extra}
    return client.post(reverse(LISTS[kind]), form, follow=True).content.decode()


@pytest.mark.parametrize("kind", ["server", "account"])
def test_a_reason_is_asked_for(world: World, client: Client, kind: str) -> None:
    server = world.running()
    model: Any = {"server": Server, "account": Account}[kind]
    pk = {"server": server.pk, "account": world.project.account_id}[kind]
    user = staff(client, f"view_{kind}", f"change_{kind}")
    page = act(client, kind, "suspend", pk)
    assert "The customer reads it" in page
    assert 'name="confirmed"' in page
    assert "This field is required" in act(client, kind, "suspend", pk, confirmed="yes", reason="")
    assert model.objects.get(pk=pk).suspended_at is None
    assert "suspended." in act(client, kind, "suspend", pk, confirmed="yes", reason="Spam")
    row = model.objects.get(pk=pk)
    assert (row.suspended_reason, row.suspender) == ("Spam", "staff")
    event = Event.objects.filter(kind=f"{kind}.suspended").latest("pk")
    assert (event.actor_id, event.via) == (user.pk, "admin")
    assert "suspended already" in act(client, kind, "suspend", pk, confirmed="yes", reason="More")
    assert "unsuspended." in act(client, kind, "unsuspend", pk)
    assert model.objects.get(pk=pk).suspended_at is None


@pytest.mark.parametrize("kind", ["server", "account"])
def test_who_only_looks_suspends_nothing(world: World, client: Client, kind: str) -> None:
    server = world.running()
    pk = {"server": server.pk, "account": world.project.account_id}[kind]
    staff(client, f"view_{kind}")
    act(client, kind, "suspend", pk, confirmed="yes", reason="Spam")
    assert not Server.objects.exclude(suspended_at=None).exists()
    assert not Account.objects.exclude(suspended_at=None).exists()


def test_the_page_of_an_account_has_the_buttons_and_who_did_what(
    world: World, client: Client
) -> None:
    pk = world.project.account_id
    staff(client, "view_account", "change_account")
    act(client, "account", "suspend", pk, confirmed="yes", reason="Spam")
    page = client.get(reverse("admin:accounts_account_change", args=[pk])).content.decode()
    assert 'value="unsuspend"' in page
    assert "was suspended: Spam (staff@example.com)" in page
    assert 'name="suspended_at' not in page  # shown, not written
