"""A server's CD-ROM on its page."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from tests.servers.test_isos import make_iso
from tests.world import World, work
from vpspanel.servers import services
from vpspanel.servers.models import Server


def at(name: str, server: Server) -> str:
    return reverse(f"servers:{name}", kwargs={"server_id": server.pk})


def shown(alice: Client, server: Server) -> str:
    return alice.get(at("show", server)).content.decode()


def test_the_whole_way(world: World, alice: Client) -> None:
    server, iso = world.running(), make_iso()
    assert "Installer" in alice.get(at("attach_iso", server)).content.decode()
    assert alice.post(at("attach_iso", server), {"iso": iso.pk}).status_code == 302
    work()
    page = shown(alice, server)
    assert "from its next start on" in page
    assert 'id="detach_iso"' in page
    services.reset(world.alice, server.pk)
    work()
    page = shown(alice, server)
    assert "Installer" in page
    assert "from its next start on" not in page
    assert alice.post(at("detach_iso", server)).status_code == 302
    work()
    page = shown(alice, server)
    assert "until its next start" in page
    assert 'id="attach_iso"' in page


def test_only_an_iso_can_be_chosen(world: World, alice: Client) -> None:
    server = world.stopped()
    assert "There are no ISOs" in alice.get(at("attach_iso", server)).content.decode()
    make_iso()
    answer = alice.post(at("attach_iso", server), {"iso": world.images[0].pk})
    assert answer.status_code == 422
    assert Server.objects.get(pk=server.pk).iso is None
