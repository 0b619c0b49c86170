"""The rescue system on the server's page: what is said, what is asked, the password once."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from tests.pages.test_doors import KEY
from tests.world import World, work
from vpspanel.accounts.services import add_ssh_key
from vpspanel.servers import services
from vpspanel.servers.models import Server


def at(name: str, server: Server) -> str:
    return reverse(f"servers:{name}", kwargs={"server_id": server.pk})


def shown(alice: Client, server: Server) -> str:
    return alice.get(at("show", server)).content.decode()


def test_the_whole_way(world: World, alice: Client) -> None:
    server = world.running()
    assert b"a root password is made" in alice.get(at("enable_rescue", server)).content.lower()
    assert alice.post(at("enable_rescue", server)).status_code == 302
    work()
    page = shown(alice, server)
    assert "The next start boots the rescue system" in page
    assert 'id="disable_rescue"' in page
    first = alice.post(at("reveal_rescue_password", server))
    assert "no-store" in first["Cache-Control"]
    assert b"Root password of the rescue system of web" in first.content
    password = first.content.decode().split('id="root-password">')[1].split("<")[0]
    second = alice.post(at("reveal_rescue_password", server), follow=True)
    assert password not in second.content.decode()
    assert b"it was shown before" in second.content
    services.reset(world.alice, server.pk)
    work()
    page = shown(alice, server)
    assert "It runs the rescue system" in page
    assert "Its own disk is <code>/dev/vdb</code>" in page
    assert "It runs the rescue system now. Restart or stop it first." in page
    services.reset(world.alice, server.pk)
    work()
    assert "rescue system</h2>" not in shown(alice, server)


def test_with_a_key_and_disabled_again(world: World, alice: Client) -> None:
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    server = world.running()
    dialog = alice.get(at("enable_rescue", server)).content.decode()
    assert f'value="{key.pk}"' in dialog
    for wrong in ("x", str(10**30), str(key.pk + 1)):
        answer = alice.post(at("enable_rescue", server), {"ssh_keys": [wrong]})
        assert answer.status_code == 422
    alice.post(at("enable_rescue", server), {"ssh_keys": [key.pk]})
    work()
    page = shown(alice, server)
    assert 'id="reveal_rescue"' not in page
    assert alice.get(at("disable_rescue", server)).status_code == 200
    assert alice.post(at("disable_rescue", server)).status_code == 302
    work()
    assert not Server.objects.get(pk=server.pk).rescue_enabled
