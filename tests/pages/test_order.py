"""Ordering: what is offered, what is refused and where, and that one form sells one server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import Host, Image, ImageStatus, IPPool
from tests.pages.conftest import SignIn
from tests.pages.test_doors import KEY
from tests.world import World
from vpspanel.accounts.models import SSHKey
from vpspanel.accounts.services import add_ssh_key
from vpspanel.servers.models import Server, ServerTypePrice

ORDER = reverse("servers:order")


def token(page: str) -> str:
    found = re.search(r'name="token" value="([0-9a-f-]{36})"', page)
    assert found
    return found.group(1)


def answer(world: World, page: str, **changes: Any) -> dict[str, Any]:
    """What a browser would send."""
    return {
        "token": token(page),
        "plan": ServerTypePrice.objects.get(server_type=world.plan).pk,
        "image": world.images[0].pk,
        "name": "web-1",
        "user_data": "",
        "new_key": "",
        "new_key_name": "",
        **changes,
    }


def fresh(client: Client) -> str:
    response = client.get(ORDER)
    assert response.status_code == 200
    return response.content.decode()


def test_an_order(world: World, alice: Client) -> None:
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    form = answer(world, fresh(alice), ssh_keys=[key.pk], protect="on", name="Web-1.Example.org")
    response = alice.post(ORDER, form, follow=True)
    server = Server.objects.get()
    assert response.redirect_chain == [(reverse("servers:show", args=[server.pk]), 302)]
    assert (server.name, server.protect_delete) == ("web-1.example.org", True)
    assert server.authorized_keys == [f"{KEY} laptop"]
    assert b"is being built" in response.content


def test_the_form_twice_sells_one_server(world: World, alice: Client) -> None:
    form = answer(world, fresh(alice), new_key=KEY, new_key_name="laptop")
    first, second = alice.post(ORDER, form), alice.post(ORDER, form)
    assert first["Location"] == second["Location"]
    assert Server.objects.count() == 1
    assert SSHKey.objects.count() == 1


def test_another_form_sells_another_one(world: World, alice: Client) -> None:
    alice.post(ORDER, answer(world, fresh(alice)))
    alice.post(ORDER, answer(world, fresh(alice), name="web-2"))
    assert Server.objects.count() == 2


def test_a_used_form_with_other_words_asks_first(world: World, alice: Client) -> None:
    form = answer(world, fresh(alice))
    alice.post(ORDER, form)
    again = alice.post(ORDER, {**form, "name": "web-2"})
    assert again.status_code == 422
    assert b"This form has been sent before" in again.content
    assert Server.objects.count() == 1
    new = token(again.content.decode())
    assert new != form["token"]
    assert alice.post(ORDER, {**form, "name": "web-2", "token": new}).status_code == 302
    assert Server.objects.count() == 2


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"name": ""}, "Give it a name."),
        ({"name": "-web"}, "RFC 1123"),
        ({"name": "a" * 64}, "at most 63"),
        ({"name": "<script>alert(1)</script>"}, "RFC 1123"),
        ({"plan": ""}, "Choose a plan."),
        ({"plan": "999999"}, "Choose a plan."),
        ({"plan": "x' OR 1=1"}, "Choose a plan."),
        ({"image": ""}, "Choose an image."),
        ({"image": "999999"}, "This image is not available."),
        ({"ssh_keys": ["999999"]}, "not one of the available choices"),
        ({"user_data": "packages: [nginx]"}, "The first line must be"),
        ({"user_data": "#cloud-config\npackages: 5"}, "This is not valid cloud-config"),
        ({"user_data": "#!" + "x" * 33_000}, "User data may have 32 KiB"),
        ({"new_key": "ssh-rsa AAAA"}, "missing or altered"),
        ({"token": "not-a-uuid"}, "Nothing was ordered yet"),
    ],
)
def test_what_is_wrong_is_told_and_the_rest_is_kept(
    world: World, alice: Client, wrong: dict[str, Any], said: str
) -> None:
    kept = {"name": "kept-name", "protect": "on", "new_key_name": "kept-key"}
    response = alice.post(ORDER, {**answer(world, fresh(alice)), **kept, **wrong})
    page = response.content.decode()
    assert response.status_code == 422
    assert said in page
    assert Server.objects.count() == 0
    assert 'value="kept-key"' in page
    assert re.search(r'name="protect"[^>]* checked', page)
    if "name" not in wrong:
        assert 'value="kept-name"' in page
    if "user_data" in wrong:
        assert wrong["user_data"][:100] in page
    if "image" not in wrong:
        assert re.search(rf'name="image" value="{world.images[0].pk}" checked', page)


def test_a_private_key_is_not_sent_back(world: World, alice: Client) -> None:
    private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END"
    response = alice.post(ORDER, answer(world, fresh(alice), new_key=private))
    assert response.status_code == 422
    assert b"treat it as exposed" in response.content
    assert b"b3BlbnNzaC1rZXktdjE" not in response.content


def test_a_new_key_is_kept_only_if_the_order_is(world: World, alice: Client) -> None:
    world.order("taken")
    form = answer(world, fresh(alice), new_key=KEY, name="taken")
    response = alice.post(ORDER, form)
    assert "already has a server called taken" in response.content.decode()
    assert SSHKey.objects.count() == 0
    assert alice.post(ORDER, {**form, "name": "free"}).status_code == 302
    assert SSHKey.objects.get().name == "ssh-ed25519"
    assert Server.objects.get(name="free").authorized_keys == [f"{KEY} ssh-ed25519"]


def test_a_key_that_is_there_already_is_used(world: World, alice: Client) -> None:
    add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    alice.post(ORDER, answer(world, fresh(alice), new_key=f"{KEY} again", new_key_name="again"))
    assert Server.objects.get().authorized_keys == [f"{KEY} laptop"]
    assert SSHKey.objects.count() == 1


def test_line_ends_of_the_browser_do_not_reach_the_guest(world: World, alice: Client) -> None:
    form = answer(world, fresh(alice), user_data="#!/bin/sh\r\necho hi\r\n")
    assert alice.post(ORDER, form).status_code == 302
    alice.post(ORDER, {**form, "user_data": "#!/bin/sh\necho hi\n"})
    assert Server.objects.count() == 1


def test_sold_out_says_why_and_cannot_be_chosen(world: World, alice: Client) -> None:
    page = fresh(alice)
    assert "Sold out" not in page
    Host.objects.update(vcpus_limit=0)
    page = fresh(alice)
    assert "No host in Testville has room for it at the moment." in page
    assert re.search(r'name="plan"[^>]* disabled', page)
    response = alice.post(ORDER, answer(world, page))
    assert response.status_code == 422
    assert "nano is sold out in Testville" in response.content.decode()


def test_no_address_left(world: World, alice: Client) -> None:
    page = fresh(alice)
    IPPool.objects.filter(family=4).update(accepting=False)
    response = alice.post(ORDER, answer(world, page))
    assert response.status_code == 422
    assert "Testville has no free IPv4 address" in response.content.decode()
    assert Server.objects.count() == 0


def test_an_image_that_needs_more_is_refused_beside_it(world: World, alice: Client) -> None:
    Image.objects.filter(pk=world.images[0].pk).update(min_memory_mib=4096)
    page = fresh(alice)
    response = alice.post(ORDER, answer(world, page))
    assert "needs 4096 MiB of memory" in response.content.decode()
    assert response.context["form"].errors["image"]


def test_images_that_are_not_ready(world: World, alice: Client) -> None:
    Image.objects.filter(pk=world.images[1].pk).update(status=ImageStatus.CREATING, progress=43)
    page = fresh(alice)
    assert "43 %" in page
    assert f'name="image" value="{world.images[1].pk}"' not in page
    Image.objects.filter(pk=world.images[1].pk).update(deprecated=timezone.now())
    assert "43 %" not in fresh(alice)


def test_the_account_is_full(world: World, alice: Client) -> None:
    world.project.account.server_limit = 0
    world.project.account.save(update_fields=["server_limit"])
    response = alice.post(ORDER, answer(world, fresh(alice)))
    assert response.status_code == 422
    assert "This account may have 0 servers" in response.content.decode()


def test_prices_and_plans_are_shown(world: World, alice: Client) -> None:
    page = fresh(alice)
    for shown in ("€3.00", "€0.005", "128 MiB", "1 GiB", "1 TiB", "Nano", "Testville"):
        assert shown in page, shown


def test_the_name_that_is_suggested_is_free(world: World, alice: Client) -> None:
    assert 'value="server-1"' in fresh(alice)
    world.order("server-1")
    assert 'value="server-2"' in fresh(alice)


def test_who_may_not_order_is_told_before_typing(world: World, sign_in: SignIn) -> None:
    form = answer(world, fresh(sign_in(world.alice)))
    for person, role in ((world.bob, "reader"), (world.olga, "operator")):
        client = sign_in(person)
        for response in (client.get(ORDER), client.post(ORDER, form)):
            assert response.status_code == 403
            assert f"is {role}; this needs administrator." in response.content.decode()
    assert Server.objects.count() == 0


def test_somebody_without_a_project_is_told(world: World, sign_in: SignIn) -> None:
    assert world.olga.user is not None
    world.olga.user.memberships.all().delete()
    response = sign_in(world.olga).get(ORDER)
    assert response.status_code == 403
    assert b"not a member of any project" in response.content


def test_the_keys_of_another_project_cannot_be_used(world: World, charlie: Client) -> None:
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    response = charlie.post(ORDER, answer(world, fresh(charlie), ssh_keys=[key.pk]))
    assert response.status_code == 422
    assert Server.objects.count() == 0
