"""Rename, protect, rebuild, delete: what is asked, what is refused, what is done."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from tests.pages.test_doors import KEY
from tests.world import World, make_plan, work
from vpspanel.accounts.services import add_ssh_key
from vpspanel.actions.models import Action
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, Server


def at(name: str, server: Server) -> str:
    return reverse(f"servers:{name}", kwargs={"server_id": server.pk})


def test_rename(world: World, alice: Client) -> None:
    server = world.running()
    assert alice.post(at("rename", server), {"name": " Mail-1 "}).status_code == 302
    assert Server.objects.get(pk=server.pk).name == "mail-1"


def test_a_bad_name_is_told_beside_its_field(world: World, alice: Client) -> None:
    server = world.running()
    world.running("other")
    for name, said in (("not a name!", "RFC 1123"), ("other", "already has a server called other")):
        response = alice.post(at("rename", server), {"name": name})
        assert response.status_code == 422
        page = response.content.decode()
        assert said in page
        assert f'value="{name}"' in page
        assert 'aria-describedby="id_name_hint id_name_error"' in page
    assert Server.objects.get(pk=server.pk).name == "web"


def test_protection_keeps_it_from_being_deleted(world: World, alice: Client) -> None:
    server = world.running()
    alice.post(at("change_protection", server), {"protect": "on"})
    assert Server.objects.get(pk=server.pk).protect_delete
    response = alice.post(at("delete", server), {"name": "web"}, follow=True)
    assert b"It is protected. Remove the protection first." in response.content
    assert Server.objects.get(pk=server.pk).lifecycle == Lifecycle.ACTIVE
    alice.post(at("change_protection", server))
    assert not Server.objects.get(pk=server.pk).protect_delete


def test_deleting_needs_its_name(world: World, alice: Client) -> None:
    server = world.running()
    for typed in ("", "wbe", "web2"):
        response = alice.post(at("delete", server), {"name": typed})
        assert response.status_code == 422
        assert Server.objects.get(pk=server.pk).lifecycle == Lifecycle.ACTIVE
    response = alice.post(at("delete", server), {"name": "web"})
    assert response.status_code == 302
    work()
    assert Server.objects.get(pk=server.pk).lifecycle == Lifecycle.DELETED
    page = alice.get(at("show", server))
    assert page.status_code == 200
    assert b"This server was deleted" in page.content
    assert b'id="power_on"' not in page.content
    assert b"web" not in alice.get(reverse("servers:list")).content.split(b'id="rows"')[1]


def test_rebuilding_needs_a_yes(world: World, alice: Client) -> None:
    server = world.running()
    response = alice.post(at("rebuild", server), {"image": world.images[1].pk})
    assert response.status_code == 422
    assert b"Please confirm" in response.content
    assert Action.objects.filter(command="rebuild").count() == 0


def test_rebuilding_with_another_image_and_a_key(world: World, alice: Client) -> None:
    server = world.running()
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    answer = {"image": world.images[1].pk, "understood": "on", "ssh_keys": [key.pk]}
    assert alice.post(at("rebuild", server), answer).status_code == 302
    work()
    rebuilt = Server.objects.get(pk=server.pk)
    assert rebuilt.image == world.images[1]
    assert rebuilt.authorized_keys == [f"{KEY} laptop"]


def test_rebuilding_with_what_is_not_for_sale(world: World, alice: Client) -> None:
    server = world.running()
    world.images[1].status = "creating"
    world.images[1].save(update_fields=["status"])
    for image in (world.images[1].pk, 10**6, "x"):
        response = alice.post(at("rebuild", server), {"image": image, "understood": "on"})
        assert response.status_code == 422
    assert Action.objects.filter(command="rebuild").count() == 0


def test_the_root_password_is_shown_once(world: World, alice: Client) -> None:
    server = world.running()
    page = alice.get(at("show", server)).content.decode()
    assert 'id="reveal"' in page
    first = alice.post(at("reveal_password", server))
    assert first.status_code == 200
    assert "no-store" in first["Cache-Control"]
    password = first.content.decode().split('id="root-password">')[1].split("<")[0]
    assert len(password) >= 16
    second = alice.post(at("reveal_password", server), follow=True)
    assert password not in second.content.decode()
    assert b"it was shown before" in second.content
    assert b'id="reveal"' not in alice.get(at("show", server)).content


def test_changing_the_plan(world: World, alice: Client) -> None:
    large = make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=3)
    make_plan(world, "huge", vcpus=65, memory_mib=512, disk_gib=3)
    server = world.running()
    page = alice.get(at("show", server)).content.decode()
    assert "It is running. Shut it down first." in page
    services.power_off(world.alice, server.pk)
    work()
    dialog = alice.get(at("change_type", server)).content.decode()
    assert "Its host has no room for Huge at the moment." in dialog
    assert alice.post(at("change_type", server), {"keep_disk": "on"}).status_code == 422
    answer = {"server_type": large.pk, "keep_disk": "on"}
    assert alice.post(at("change_type", server), answer).status_code == 302
    work()
    changed = Server.objects.get(pk=server.pk)
    assert (changed.server_type, changed.disk_gib) == (large, 1)
    refused = alice.post(at("change_type", server), answer)
    assert refused.status_code == 422
    assert b"This is the plan that it has." in refused.content
