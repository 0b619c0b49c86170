"""Every websocket: closed to who is not signed in, and of no use to strangers and staff."""

from __future__ import annotations

import json

import pytest
from websockets.exceptions import InvalidStatus

from tests.consoles.conftest import World, panel, world
from tests.consoles.panel import Browser, Panel, Terminal
from tests.events.test_live import happen, hear, silent
from vpspanel.accounts.models import User
from vpspanel.events.models import Event
from vpspanel.routing import websocket_urlpatterns

__all__ = ["panel", "world"]

EVENTS = "ws/events/"
CONSOLES = {
    "serial": "ws/console/serial/<int:server_id>/",
    "log": "ws/console/log/<int:server_id>/",
    "vnc": "ws/console/vnc/<int:server_id>/",
}
EMBEDDED = ["ws/console/serial/embed/", "ws/console/vnc/embed/"]
INVALID = 4410


@pytest.fixture(params=["stranger", "staff"])
def outsider(request: pytest.FixtureRequest, world: World) -> User:
    """Signed in, and no member."""
    if request.param == "stranger":
        return world.mallory
    return User.objects.create_user("staff@example.com", "secret", is_staff=True)


def addresses(world: World) -> list[str]:
    """Of Alice's server."""
    routes = [EVENTS, *CONSOLES.values()]
    return ["/" + route.replace("<int:server_id>", str(world.server.pk)) for route in routes]


def test_every_websocket_is_tried_here() -> None:
    routes = [str(route.pattern) for route in websocket_urlpatterns]
    assert routes == [EVENTS, *CONSOLES.values(), *EMBEDDED, ""]  # the last one refuses the rest


def test_without_a_session_no_socket_opens(panel: Panel, world: World) -> None:
    for address in [*addresses(world), "/ws/", "/ws/console/"]:
        for browser in (Browser(panel, None), Browser(panel, world.alice)):
            with pytest.raises(InvalidStatus) as refused:
                browser.connect(address, cookie="sessionid=forged")
            assert refused.value.response.status_code == 403, address


def test_embedded_consoles_open_by_their_ticket_only(panel: Panel, world: World) -> None:
    """A session is worth nothing there, and no other site's page gets in."""
    for address in EMBEDDED:
        browser = Browser(panel, world.alice)
        kind = address.split("/")[2]
        for ticket in (browser.ticket(world.server.pk, kind), "forged"):
            terminal = Terminal(browser.connect(f"/{address}"))
            terminal.send_json({"type": "hello", "ticket": ticket, "acks": True})
            assert terminal.until_closed()[0] == INVALID
        with pytest.raises(InvalidStatus):
            browser.connect(f"/{address}", origin="https://shop.example.com")


@pytest.mark.parametrize("kind", CONSOLES)
def test_somebody_elses_ticket_opens_nothing(
    panel: Panel, world: World, outsider: User, kind: str
) -> None:
    browser = Browser(panel, outsider)
    ask = f"/servers/{world.server.pk}/console/ticket/"
    assert browser.post(ask, data=f"kind={kind}")[0] == 404
    address = "/" + CONSOLES[kind].replace("<int:server_id>", str(world.server.pk))
    for ticket in (Browser(panel, world.alice).ticket(world.server.pk, kind), "forged"):
        terminal = Terminal(browser.connect(address))
        terminal.send_json({"type": "hello", "ticket": ticket, "acks": True})
        code, _, _ = terminal.until_closed()
        assert code == INVALID
        assert terminal.output == b""
    assert not Event.objects.filter(kind="console.opened").exists()


def test_nobody_else_hears_of_a_server(panel: Panel, world: World, outsider: User) -> None:
    for wish in ("all", [world.server.pk]):
        ears = [Browser(panel, user).connect("/ws/events/") for user in (outsider, world.alice)]
        for socket in ears:
            assert hear(socket) == {"type": "ready"}
            socket.send(json.dumps({"watch": wish}))
        deaf, member = ears
        while silent(member):  # until the wish has been read
            happen(world.server)
        assert silent(deaf)
        for socket in ears:
            socket.close()
