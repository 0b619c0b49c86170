"""Snapshots on the pages: made, listed, ordered with, protected and deleted."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from hosts.models import Image, ImageType
from tests.world import World, work
from vpspanel.servers.models import Server, ServerTypePrice


def at(name: str, server: Server) -> str:
    return reverse(f"servers:{name}", kwargs={"server_id": server.pk})


def on(name: str, image: Image) -> str:
    return reverse(f"snapshots:{name}", kwargs={"image_id": image.pk})


def make(alice: Client, server: Server, description: str = "before") -> Image:
    sent = alice.post(at("create_image", server), {"description": description})
    assert sent.status_code == 302
    return Image.objects.get(type=ImageType.SNAPSHOT)


def test_made_and_listed(world: World, alice: Client, bob: Client, charlie: Client) -> None:
    running = world.running("busy")
    page = alice.get(at("show", running)).content.decode()
    assert 'id="create_image"' not in page
    server = world.stopped()
    dialog = alice.get(at("create_image", server)).content.decode()
    assert "keys and passwords, too" in dialog
    assert 'value="web 2' in dialog
    image = make(alice, server, "<b>bold</b>")
    listed = alice.get(reverse("snapshots:list")).content.decode()
    assert "Being made" in listed
    assert "&lt;b&gt;bold&lt;/b&gt;" in listed
    work()
    listed = alice.get(reverse("snapshots:list")).content.decode()
    assert "Being made" not in listed
    assert on("delete", image) in listed
    assert b"bold" in bob.get(reverse("snapshots:list")).content
    assert b"bold" not in charlie.get(reverse("snapshots:list")).content


def test_ordered_and_rebuilt_with(world: World, alice: Client, charlie: Client) -> None:
    server = world.stopped()
    image = make(alice, server)
    order = reverse("servers:order")
    assert "Your snapshots" not in alice.get(order).content.decode()  # not ready yet
    work()
    page = alice.get(order).content.decode()
    assert "Your snapshots" in page
    assert "Your snapshots" not in charlie.get(order).content.decode()
    token = page.split('name="token" value="')[1].split('"')[0]
    wanted = {
        "token": token,
        "name": "twin",
        "image": image.pk,
        "plan": ServerTypePrice.objects.get().pk,
    }
    assert charlie.post(order, wanted).status_code == 422
    assert alice.post(order, wanted).status_code == 302
    assert Server.objects.get(name="twin").image == image
    dialog = alice.get(at("rebuild", server)).content.decode()
    assert "Snapshot: before" in dialog


def test_protected_and_deleted(world: World, alice: Client) -> None:
    image = make(alice, world.stopped())
    work()
    assert alice.post(on("change_protection", image), {"protect": "on"}).status_code == 302
    listed = alice.get(reverse("snapshots:list")).content.decode()
    assert "Protected" in listed
    assert on("delete", image) not in listed
    refused = alice.post(on("delete", image), follow=True)
    assert b"It is protected. Remove the protection first." in refused.content
    alice.post(on("change_protection", image))
    assert b"gone for good" in alice.get(on("delete", image)).content
    assert alice.post(on("delete", image)).status_code == 302
    assert b"No snapshots yet" in alice.get(reverse("snapshots:list")).content
