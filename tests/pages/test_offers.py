"""Pages offer what their reader's role may do, and nothing that would be refused."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from tests.pages.conftest import SignIn
from tests.pages.test_doors import KEY
from tests.world import World, work
from vpspanel.accounts.models import Member, Role
from vpspanel.accounts.services import add_ssh_key
from vpspanel.accounts.token_services import create_token
from vpspanel.servers.groups import named_group
from vpspanel.servers.snapshots import create_image
from vpspanel.webhooks.models import Webhook
from vpspanel.webhooks.services import create_webhook

pytestmark = pytest.mark.django_db

LISTS = ("keys", "addresses", "groups", "snapshots", "tokens", "webhooks", "servers")
OFFERED = re.compile(r'(?:href|formaction|action)="(/[^"?#]+)"')
DIALOG = re.compile(r'href="(/[^"?#]+)" data-dialog')


@pytest.fixture
def shop(world: World) -> World:
    """One of everything in Alice's project."""
    group = named_group(world.alice, world.project, "apart")
    server = world.stopped("web", placement_group=group)
    create_image(world.alice, server.pk)
    work()
    add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    create_token(world.alice, project=world.project, name="shop", may_write=False)
    create_webhook(world.alice, owner=world.project, name="shop", url="https://example.com/hook")
    return world


def pages() -> list[str]:
    hook = reverse("webhooks:show", args=[Webhook.objects.get().pk])
    return [*(reverse(f"{name}:list") for name in LISTS), hook]


def dialogs(client: Client) -> set[str]:
    """What the pages offer to do, as far as a dialog asks first."""
    return {one for page in pages() for one in DIALOG.findall(client.get(page).content.decode())}


def test_whoever_only_reads_is_offered_nothing_to_change(shop: World, bob: Client) -> None:
    assert dialogs(bob) == set()
    for page in pages():
        said = bob.get(page).content.decode()
        # What stands beside a server is shown to everybody, and disabled with the reason.
        offered = {one for one in OFFERED.findall(said) if not one.startswith("/servers/")}
        offered = {one for one in offered if one.startswith(page) and one != page}
        assert {one for one in offered if bob.get(one).status_code != 200} == set(), page
        assert reverse("servers:order") not in said


def test_whoever_may_is_offered_what_works(shop: World, alice: Client) -> None:
    found = dialogs(alice)
    assert {one.split("/")[1] for one in found} >= set(LISTS) - {"servers"}
    assert {
        one: alice.get(one).status_code for one in found if alice.get(one).status_code != 200
    } == {}
    assert reverse("servers:order") in alice.get(reverse("servers:list")).content.decode()


def test_an_operator_is_offered_keys_only(shop: World, sign_in: SignIn) -> None:
    olga = sign_in(shop.olga)
    found = dialogs(olga)
    assert {one.split("/")[1] for one in found} == {"keys"}
    assert {olga.get(one).status_code for one in found} == {200}


def test_the_role_in_the_project_in_hand_decides(shop: World, sign_in: SignIn) -> None:
    """Charlie owns a project of his own, and reads Alice's."""
    charlie = shop.charlie
    assert charlie.user is not None
    Member.objects.create(project=shop.project, user=charlie.user, role=Role.READER)
    client = sign_in(charlie)
    add = reverse("keys:add")
    assert add in client.get(reverse("keys:list")).content.decode()
    client.post(reverse("projects:choose"), {"project": shop.project.pk})
    said = client.get(reverse("keys:list")).content.decode()
    assert "laptop" in said
    assert add not in said
