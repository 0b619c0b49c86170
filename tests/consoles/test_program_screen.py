"""A program asks for a screen through the API, and a plain VNC client looks at it."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.utils import timezone
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from tests.api.asking import Api, program
from tests.consoles.conftest import World
from tests.consoles.panel import Panel
from tests.consoles.screens import Screen
from tests.hosts.rfb import Picture
from vpspanel.accounts.models import Account, ApiToken
from vpspanel.accounts.token_services import revoke_token
from vpspanel.consoles.models import Ticket
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers.models import Server


class PlainScreen(Screen):
    """A VNC client that knows nothing of the panel."""

    def __init__(self, address: str):
        self.socket = connect(address, subprotocols=[Subprotocol("binary")], legacy=True)
        self.received = bytearray()
        self.picture = Picture(0, 0)
        self.states: list[dict[str, Any]] = []
        self._acks = False


@pytest.fixture
def api(world: World) -> Api:
    """A program of the server's project."""
    return program(world.server.project)


def ask(api: Api, panel: Panel, world: World) -> str:
    """The address, at the panel that runs in this test."""
    answer = api.post(f"/servers/{world.server.pk}/actions/request_console")
    assert answer["action"]["command"] == "request_console"
    assert answer["action"]["status"] == "success"
    assert answer["password"] == ""
    address: str = answer["wss_url"]
    assert address.startswith("ws://testserver/ws/console/direct/?token=")
    return address.replace("ws://testserver", panel.origin.replace("http", "ws"))


def test_a_plain_client_sees_and_types(panel: Panel, world: World, api: Api) -> None:
    address = ask(api, panel, world)
    screen = PlainScreen(address)
    assert screen.socket.subprotocol == "binary"
    assert screen.shake().endswith("(simulated)")
    before = screen.still()
    screen.type("root")
    assert screen.still() != before
    with pytest.raises(InvalidStatus, match="403"):
        PlainScreen(address)  # once
    screen.close()
    opened = Event.objects.filter(kind="console.opened").latest("pk")
    assert (opened.actor_name, opened.via) == ("ci (API token)", "api")
    assert address.partition("token=")[2] not in str(list(Ticket.objects.values()))


def test_it_ends_with_the_token(panel: Panel, world: World, api: Api) -> None:
    screen = PlainScreen(ask(api, panel, world))
    screen.shake()
    unused = ask(api, panel, world)
    started = time.monotonic()
    revoke_token(SYSTEM, project=world.server.project, token_id=ApiToken.objects.get().pk)
    assert screen.until_closed()[0] == 4403
    assert time.monotonic() - started < 5
    with pytest.raises(InvalidStatus, match="403"):
        PlainScreen(unused)


def test_what_else_ends_or_refuses_it(panel: Panel, world: World, api: Api) -> None:
    screen = PlainScreen(ask(api, panel, world))
    screen.socket.send("{}")  # a message of ours, which is no RFB
    assert screen.until_closed()[0] == 1003
    old = ask(api, panel, world)
    Ticket.objects.update(expires=Ticket.objects.earliest("created").created)
    for address in (old, old.partition("?")[0], old[:-1] + "x"):
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            PlainScreen(address)
    ready = ask(api, panel, world)
    Server.objects.filter(pk=world.server.pk).update(lifecycle="deleted")
    with pytest.raises(InvalidStatus, match="403"):
        PlainScreen(ready)
    path = f"/servers/{world.server.pk}/actions/request_console"
    assert api.refused("POST", path)[0] == 404
    reader = program(world.server.project, may_write=False, name="reader")
    assert reader.refused("POST", path)[1] == "token_readonly"


def test_a_limited_token_needs_the_scope_and_the_server(
    panel: Panel, world: World, api: Api
) -> None:
    project, path = world.server.project, f"/servers/{world.server.pk}/actions/request_console"
    power = program(project, name="power", scopes=["servers:power"])
    assert power.refused("POST", path) == (403, "forbidden")
    console = program(project, name="console", scopes=["servers:console"])
    screen = PlainScreen(ask(console, panel, world))
    screen.shake()
    other = program(project, name="other", server_ids=[world.foreign.pk])
    assert other.refused("POST", path) == (404, "not_found")
    own = program(project, name="own", server_ids=[world.server.pk])
    PlainScreen(ask(own, panel, world)).close()
    ApiToken.objects.filter(name="console").update(scopes=["servers:power"])
    assert screen.until_closed()[0] == 4403


def test_it_ends_with_the_account(panel: Panel, world: World, api: Api) -> None:
    screen = PlainScreen(ask(api, panel, world))
    screen.shake()
    Account.objects.update(suspended_at=timezone.now())
    assert screen.until_closed()[0] == 4403


def test_a_host_that_is_silent(panel: Panel, world: World, api: Api) -> None:
    address = ask(api, panel, world)
    world.driver.set_reachable(False)
    screen = PlainScreen(address)
    assert screen.until_closed()[0] == 4503
