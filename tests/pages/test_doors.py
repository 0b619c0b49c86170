"""Every address and every verb, by everybody: who gets in, and what the others are told."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.pages.conftest import SignIn
from tests.world import World
from vpspanel.accounts.services import add_ssh_key
from vpspanel.actions.models import Action
from vpspanel.pages.urls import key_urls, project_urls, server_urls, snapshot_urls
from vpspanel.servers.models import Server

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"

ON_A_SERVER = sorted(f"servers:{p.name}" for p in server_urls if "server_id" in str(p.pattern))
POST_ONLY = {
    "servers:power_on",
    "servers:shutdown",
    "servers:reboot",
    "servers:cancel",
    "servers:reveal_password",
    "servers:reveal_rescue_password",
}
READ_ONLY = {"servers:show", "servers:fragment", "servers:graphs", "servers:figures"}
VERBS = sorted(set(ON_A_SERVER) - READ_ONLY)


def every_address(server: Server, key_id: int) -> list[str]:
    addresses = [reverse("home")]
    for namespace, urls in (
        ("servers", server_urls),
        ("snapshots", snapshot_urls),
        ("keys", key_urls),
        ("projects", project_urls),
    ):
        for pattern in urls:
            arguments = {"server_id": server.pk, "key_id": key_id, "image_id": 1}
            kwargs = {
                name: value for name, value in arguments.items() if name in str(pattern.pattern)
            }
            addresses.append(reverse(f"{namespace}:{pattern.name}", kwargs=kwargs))
    return addresses


def test_a_visitor_is_sent_to_sign_in(world: World, client: Client) -> None:
    server = world.running()
    key = add_ssh_key(world.alice, project=world.project, name="k", public_key=KEY)
    for address in every_address(server, key.pk):
        for response in (client.get(address), client.post(address)):
            assert response.status_code == 302, address
            assert response["Location"].startswith("/accounts/login/?next="), address
    assert Action.objects.exclude(command="create").count() == 0


def test_whoever_signs_in_after_a_click_gets_a_page(world: World) -> None:
    """The click came too late and is not repeated; what it was sent to is no page to look at."""
    server = world.running()
    shown = reverse("servers:show", args=[server.pk])
    goes_on = {
        reverse("servers:power_on", args=[server.pk]): shown,
        reverse("servers:delete", args=[server.pk]): shown,
        reverse("projects:choose"): reverse("servers:list"),
        reverse("keys:add"): reverse("servers:list"),
    }
    for address, page in goes_on.items():
        response = Client().post(address)
        assert response["Location"] == f"/accounts/login/?next={page}"
    asked = reverse("servers:delete", args=[server.pk])
    assert Client().get(asked)["Location"] == f"/accounts/login/?next={asked}"


@pytest.mark.parametrize("name", ON_A_SERVER)
def test_a_stranger_is_told_that_there_is_nothing(world: World, charlie: Client, name: str) -> None:
    server = world.running("shop-one")
    address = reverse(name, kwargs={"server_id": server.pk})
    nowhere = reverse(name, kwargs={"server_id": 10**12})
    for method in (charlie.get, charlie.post):
        theirs, nothing = method(address), method(nowhere)
        assert theirs.status_code == nothing.status_code
        assert theirs.status_code in (404, 405)
        assert server.name.encode() not in theirs.content
    assert Action.objects.exclude(command="create").count() == 0


@pytest.mark.parametrize("name", VERBS)
def test_a_reader_changes_nothing(world: World, bob: Client, name: str) -> None:
    server = world.running()
    answer = {"name": server.name, "understood": "on", "image": world.images[1].pk, "protect": "on"}
    response = bob.post(reverse(name, kwargs={"server_id": server.pk}), answer)
    assert response.status_code == 403, name
    assert Action.objects.exclude(command="create").count() == 0
    before = Server.objects.get(pk=server.pk)
    assert (before.name, before.protect_delete) == (server.name, False)
    assert before.root_password_sealed


def test_a_reader_sees_the_page_with_its_buttons_disabled(world: World, bob: Client) -> None:
    server = world.running()
    page = bob.get(reverse("servers:show", args=[server.pk])).content.decode()
    assert "Your role is reader" in page
    assert 'id="reveal"' not in page
    assert reverse("servers:delete", args=[server.pk]) not in page


def test_an_operator_may_stop_but_not_delete(world: World, sign_in: SignIn) -> None:
    server, olga = world.running(), sign_in(world.olga)
    assert olga.post(reverse("servers:delete", args=[server.pk])).status_code == 403
    assert olga.post(reverse("servers:shutdown", args=[server.pk])).status_code == 302
    assert Action.objects.filter(command="shutdown").count() == 1


@pytest.mark.parametrize("name", sorted(POST_ONLY))
def test_get_changes_nothing(world: World, alice: Client, name: str) -> None:
    server = world.running()
    assert alice.get(reverse(name, args=[server.pk])).status_code == 405
    assert Action.objects.exclude(command="create").count() == 0


@pytest.mark.parametrize("name", sorted(set(VERBS) - POST_ONLY))
def test_a_question_changes_nothing(world: World, alice: Client, name: str) -> None:
    server = world.running()
    response = alice.get(reverse(name, args=[server.pk]))
    assert response.status_code == 200
    assert b'method="post"' in response.content
    assert Action.objects.exclude(command="create").count() == 0


def test_without_the_token_nothing_is_done(world: World) -> None:
    server = world.running()
    assert world.alice.user is not None
    client = Client(enforce_csrf_checks=True)
    client.force_login(world.alice.user)
    response = client.post(reverse("servers:power_off", args=[server.pk]))
    assert response.status_code == 403
    assert b"This page has expired" in response.content
    assert Action.objects.exclude(command="create").count() == 0


def test_the_keys_of_others_are_not_there(world: World, charlie: Client, bob: Client) -> None:
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    assert charlie.post(reverse("keys:delete", args=[key.pk])).status_code == 404
    assert b"laptop" not in charlie.get(reverse("keys:list")).content
    assert bob.post(reverse("keys:delete", args=[key.pk])).status_code == 403
    assert world.project.ssh_keys.count() == 1


def test_the_project_of_others_cannot_be_chosen(world: World, charlie: Client) -> None:
    address = reverse("projects:choose")
    assert charlie.post(address, {"project": world.project.pk}).status_code == 404
    assert charlie.post(address, {"project": "1 OR 1=1"}).status_code == 404
    assert charlie.post(address, {"project": ""}).status_code == 302


def test_a_number_that_no_database_holds(world: World, alice: Client) -> None:
    huge = 10**30
    for address in (f"/servers/{huge}/", f"/servers/{huge}/fragment/", f"/keys/{huge}/delete/"):
        assert alice.get(address).status_code == 404
    for number in (str(huge), "9" * 5000):
        assert alice.post(reverse("projects:choose"), {"project": number}).status_code == 404
    rebuild = reverse("servers:rebuild", args=[world.running().pk])
    for address in (reverse("servers:order"), rebuild):
        assert alice.post(address, {"ssh_keys": str(huge), "image": str(huge)}).status_code == 422
    assert alice.get(reverse("servers:list"), {"page": str(huge)}).status_code == 200


def test_pages_are_never_kept_by_others(world: World, alice: Client) -> None:
    server = world.running()
    addresses = [reverse(name, args=[server.pk]) for name in ("servers:show", "servers:fragment")]
    addresses += [reverse("account_email"), reverse("account_change_password"), "/no/such/page/"]
    for address in addresses:
        header = alice.get(address)["Cache-Control"]
        assert "private" in header, address
        assert "no-cache" in header, address
