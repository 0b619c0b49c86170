"""`consoleproxy`: the same door as the panel's own sockets, bytes by websockify."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from django.test import Client
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, running
from tests.consoles.screens import Screen
from tests.consoles.test_loss_of_right import disable, remove_member, sign_out, suspend_server
from vpspanel.accounts.models import Member, Role
from vpspanel.consoles.door import TICKET_COOKIE
from vpspanel.consoles.models import Ticket
from vpspanel.events.models import Event

LIMIT = 5.0


@pytest.fixture(scope="module")
def proxy(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    with running(tmp_path_factory.mktemp("proxy"), "consoleproxy") as started:
        yield started


class ProxiedScreen(Screen):
    """A screen whose socket carries nothing but RFB."""

    def __init__(self, pages: Browser, proxy: Panel, server_id: int, **options: Any):
        ticket = options.pop("ticket", None) or pages.ticket(server_id, "vnc")
        options.setdefault("cookie", f"{pages.cookie_header}; {TICKET_COOKIE}={ticket}")
        self.socket: ClientConnection = pages.at(proxy).connect(
            options.pop("path", f"/ws/vnc/{server_id}/"), subprotocols=["binary"], **options
        )
        self.states, self.received, self._acks = [], bytearray(), False


@pytest.fixture
def alice(panel: Panel, world: World) -> Browser:
    return Browser(panel, world.alice)


def test_a_screen_comes_through(alice: Browser, proxy: Panel, world: World) -> None:
    screen = ProxiedScreen(alice, proxy, world.server.pk)
    assert screen.socket.subprotocol == "binary"
    assert "simulated" in screen.shake()
    before = screen.still()
    screen.type("root\n")
    assert screen.still() != before
    screen.close()
    until = time.monotonic() + 20
    while not Event.objects.filter(kind="console.closed").exists():
        assert time.monotonic() < until
        time.sleep(0.1)
    kinds = Event.objects.filter(kind__startswith="console.").order_by("id")
    assert list(kinds.values_list("kind", flat=True)) == ["console.opened", "console.closed"]


@pytest.mark.parametrize(
    "origin",
    [None, "null", "https://evil.example", "http://127.0.0.1", "https://127.0.0.1:{port}"],
)
def test_foreign_origins_are_refused(
    alice: Browser, proxy: Panel, world: World, origin: str | None
) -> None:
    forged = origin and origin.replace("{port}", str(proxy.port))
    with pytest.raises(InvalidStatus) as refused:
        ProxiedScreen(alice, proxy, world.server.pk, origin=forged)
    assert refused.value.response.status_code == 403
    assert Ticket.objects.get().used is None


def test_signed_out_visitors_and_other_addresses_are_refused(
    alice: Browser, proxy: Panel, world: World
) -> None:
    for change in ({"cookie": "a=b"}, {"path": "/ws/vnc/"}, {"path": "/ws/events/"}):
        with pytest.raises(InvalidStatus) as refused:
            ProxiedScreen(alice, proxy, world.server.pk, **change)
        assert refused.value.response.status_code == 403


def closed(screen: ProxiedScreen) -> int:
    """The code that it is closed with."""
    return screen.until_closed()[0]


def test_a_ticket_opens_once_and_only_for_its_owner(
    panel: Panel, alice: Browser, proxy: Panel, world: World
) -> None:
    ticket = alice.ticket(world.server.pk, "vnc")
    ProxiedScreen(alice, proxy, world.server.pk, ticket=ticket).shake()
    olga, again = Browser(panel, world.olga), Browser(panel, world.alice)
    other = world.add_server(world.project, "other")
    unused = alice.ticket(world.server.pk, "vnc")
    for browser, server_id, shown in (
        (alice, world.server.pk, ticket),  # used
        (olga, world.server.pk, unused),
        (again, world.server.pk, unused),  # the same person, another sign-in
        (alice, other.pk, unused),
        (alice, world.server.pk, alice.ticket(world.server.pk, "serial")),
        (alice, world.server.pk, "x" * 43),
    ):
        assert closed(ProxiedScreen(browser, proxy, server_id, ticket=shown)) == 4410
    none = ProxiedScreen(alice, proxy, world.server.pk, cookie=alice.cookie_header)
    assert closed(none) == 4410


def test_who_may_only_watch_types_nothing(panel: Panel, proxy: Panel, world: World) -> None:
    screen = ProxiedScreen(Browser(panel, world.rita), proxy, world.server.pk)
    screen.shake()
    before = screen.still()
    screen.type("root\n")
    assert screen.still() == before
    screen.close()


@pytest.mark.parametrize("lose", [sign_out, disable, remove_member, suspend_server])
def test_it_closes_when_the_right_is_lost(
    panel: Panel, proxy: Panel, world: World, lose: Callable[[World], None]
) -> None:
    screen = ProxiedScreen(Browser(panel, world.olga), proxy, world.server.pk)
    screen.shake()
    lose(world)
    code, reason, seconds = screen.until_closed(timeout=LIMIT + 5)
    assert (code, bool(reason)) == (4401 if lose in (sign_out, disable) else 4403, True)
    assert seconds < LIMIT


def test_it_closes_when_the_right_to_type_is_lost(panel: Panel, proxy: Panel, world: World) -> None:
    """The page comes back at once, as a watcher; keys that are down are let go."""
    screen = ProxiedScreen(Browser(panel, world.olga), proxy, world.server.pk)
    screen.shake()
    Member.objects.filter(user=world.olga).update(role=Role.READER)
    assert screen.until_closed(timeout=LIMIT + 5)[0] == 4412


def test_a_server_that_is_off_or_goes_off_is_told(
    alice: Browser, proxy: Panel, world: World
) -> None:
    off = world.add_server(world.project, "off", running=False)
    assert closed(ProxiedScreen(alice, proxy, off.pk)) == 4405
    screen = ProxiedScreen(alice, proxy, world.server.pk)
    screen.shake()
    world.driver.destroy(world.server.uuid)
    assert closed(screen) == 4500


def test_nonsense_and_floods_are_cut_off(alice: Browser, proxy: Panel, world: World) -> None:
    for said, code in ((b"GET / HTTP/1.1\r\n", 4400), (bytes(64 * 1024 * 1024), 1009)):
        screen = ProxiedScreen(alice, proxy, world.server.pk)
        with pytest.raises((ConnectionClosed, OSError)) as ended:  # noqa: PT012 either call meets it
            screen.socket.send(said)
            screen.until_state("never")
        if isinstance(ended.value, ConnectionClosed) and ended.value.rcvd is not None:
            assert ended.value.rcvd.code == code
        else:
            assert len(said) > 1024 * 1024  # cut off before it had sent it all


def test_a_stalled_viewer_is_held_back_and_still_loses_the_right(
    panel: Panel, proxy: Panel, world: World
) -> None:
    """Asks for picture after picture and reads none."""
    screen = ProxiedScreen(Browser(panel, world.olga), proxy, world.server.pk, max_queue=1)
    screen.shake()
    viewers = psutil.Process(proxy.process.pid).children()
    before = sum(viewer.memory_info().rss for viewer in viewers)
    question = b"\x03\x00" + bytes(4) + b"\x02\x80\x01\x90"
    for _ in range(400):
        screen.write(question)  # a megabyte each
    time.sleep(2)
    assert sum(viewer.memory_info().rss for viewer in viewers) - before < 8 * 1024 * 1024
    busy = psutil.Process(proxy.process.pid).children()
    spent = sum(sum(child.cpu_times()[:2]) for child in busy)
    time.sleep(1)
    assert sum(sum(child.cpu_times()[:2]) for child in busy) - spent < 0.5
    remove_member(world)
    until = time.monotonic() + LIMIT + 5
    while len(psutil.Process(proxy.process.pid).children()) >= len(viewers):
        assert time.monotonic() < until
        time.sleep(0.1)


@pytest.mark.parametrize("evil", ["\x0b", "\x0c", "\x1c", "\x85", "\r"])
def test_line_separators_in_headers_make_no_header(
    alice: Browser, proxy: Panel, world: World, evil: str
) -> None:
    lines = [
        f"GET /ws/vnc/{world.server.pk}/ HTTP/1.1",
        f"Host: 127.0.0.1:{proxy.port}",
        f"Origin: http://evil.example{evil}Origin: {proxy.origin}",
        f"Cookie: {alice.cookie_header}; {TICKET_COOKIE}={alice.ticket(world.server.pk, 'vnc')}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        answer = raw.makefile("rb").readline()
    assert answer.split()[1] in {b"400", b"403"}, answer


def test_half_a_request_is_not_waited_for(proxy: Panel) -> None:
    """Neither silence nor a header that comes drop by drop keeps a process."""
    silent, slow = (socket.create_connection(("127.0.0.1", proxy.port), 60) for _ in range(2))
    slow.sendall(b"GET /ws/vnc/1/ HTTP/1.1\r\nX-Slow: ")
    slow.settimeout(0.2)
    until = time.monotonic() + 40
    while True:
        assert time.monotonic() < until
        try:
            slow.sendall(b"x")
            if slow.recv(100) == b"":
                break
        except TimeoutError:
            continue
        except OSError:
            break
    assert silent.recv(100) == b""
    silent.close()
    slow.close()


def test_nothing_is_left_of_a_killed_proxy(panel: Panel, world: World, tmp_path: Path) -> None:
    with running(tmp_path, "consoleproxy") as proxy:
        screen = ProxiedScreen(Browser(panel, world.alice), proxy, world.server.pk)
        screen.shake()
        left = psutil.Process(proxy.process.pid).children()
        assert len(left) == 2  # the door and the viewer's
        proxy.process.kill()
        # The simulated screen lives in the door: either may be noticed first.
        assert screen.until_closed(timeout=20)[0] in (1012, 4500)
        assert psutil.wait_procs(left, timeout=20)[1] == []


def test_no_ticket_and_no_session_is_logged(alice: Browser, proxy: Panel, world: World) -> None:
    ticket = alice.ticket(world.server.pk, "vnc")
    ProxiedScreen(alice, proxy, world.server.pk, ticket=ticket).shake()
    assert closed(ProxiedScreen(alice, proxy, world.server.pk, ticket=ticket)) == 4410
    with pytest.raises(InvalidStatus):
        ProxiedScreen(alice, proxy, world.server.pk, ticket=ticket, origin="http://evil.example")
    assert ticket not in proxy.log()
    assert alice.session_key not in proxy.log()


def test_the_cookie_with_the_ticket_is_for_one_address_only(
    client: Client, world: World, settings: Any
) -> None:
    settings.CONSOLE_PROXY_URL = "/shop/ws/vnc/"
    settings.SESSION_COOKIE_SECURE = True
    client.force_login(world.rita)
    address = f"/servers/{world.server.pk}/console/ticket/"
    answer = client.post(address, {"kind": "vnc"})
    assert answer.json()["proxy"] == f"/shop/ws/vnc/{world.server.pk}/"
    assert answer.json()["types"] is False
    cookie = answer.cookies[TICKET_COOKIE]
    assert cookie.value == answer.json()["ticket"]
    assert cookie["path"] == answer.json()["proxy"]
    assert (cookie["max-age"], cookie["samesite"]) == (60, "Strict")
    assert cookie["httponly"]
    assert cookie["secure"]
    plain = client.post(address, {"kind": "serial"})
    assert TICKET_COOKIE not in plain.cookies
    assert "proxy" not in plain.json()
