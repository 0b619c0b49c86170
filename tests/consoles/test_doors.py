"""Who gets in: origins, tickets, people."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone
from websockets.exceptions import InvalidStatus

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel
from vpspanel.accounts.models import Member
from vpspanel.consoles.models import Kind, Ticket, Way
from vpspanel.consoles.services import Pass, digest, issue_ticket, redeem_ticket
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.models import Lifecycle, Server

INVALID = 4410


def path(server: Server) -> str:
    return f"/ws/console/serial/{server.pk}/"


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "null",
        "https://evil.example",
        "http://127.0.0.1",  # another port of the same machine
        "https://127.0.0.1:{port}",  # the same name under another scheme
        "http://127.0.0.1:{port}.evil.example",
        "http://127.0.0.1:{port}/",
        "http://user@127.0.0.1:{port}",
        "http://localhost:{port}",  # an allowed host, but not the one asked for
        "http://*.0.0.1:{port}",
    ],
)
def test_foreign_origins_are_refused(panel: Panel, world: World, origin: str | None) -> None:
    browser = Browser(panel, world.alice)
    forged = origin and origin.replace("{port}", str(panel.port))
    for address in (path(world.server), "/ws/events/"):
        with pytest.raises(InvalidStatus) as refused:
            browser.connect(address, origin=forged)
        assert refused.value.response.status_code == 403


def test_a_poisoned_host_header_makes_no_origin_ours(panel: Panel, world: World) -> None:
    """The handshake is written by hand: a library would not send two Host headers."""
    for host in (["evil.example"], [f"127.0.0.1:{panel.port}", "evil.example"]):
        answer = handshake(
            panel,
            [
                *(f"Host: {name}" for name in host),
                "Origin: http://evil.example",
                f"Cookie: {Browser(panel, world.alice).cookie_header}",
            ],
        )
        assert answer.split()[1] in {b"400", b"403"}, answer


@pytest.mark.parametrize("evil", ["\x0b", "\x0c", "\x1c", "\x85"])
def test_line_separators_in_headers_make_no_header(panel: Panel, world: World, evil: str) -> None:
    """Some servers split header values at them, which lets a value bring a header along."""
    origin = f"http://evil.example{evil}Origin: {panel.origin}"
    answer = handshake(
        panel,
        [
            f"Host: 127.0.0.1:{panel.port}",
            f"Origin: {origin}",
            f"Cookie: {Browser(panel, world.alice).cookie_header}",
        ],
    )
    assert answer == b"" or answer.split()[1] in {b"400", b"403"}, answer


def test_signed_out_visitors_are_refused(panel: Panel, world: World) -> None:
    visitor = Browser(panel, None)
    assert visitor.post(f"/servers/{world.server.pk}/console/ticket/")[0] == 401
    for address in (path(world.server), "/ws/events/", "/ws/nothing/"):
        with pytest.raises(InvalidStatus):
            visitor.connect(address)


def test_ticket_needs_csrf_token_and_post(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    address = f"/servers/{world.server.pk}/console/ticket/"
    assert browser.post(address, csrf="x" * 32)[0] == 403
    assert not Ticket.objects.exists()


def test_strangers_get_no_ticket_and_no_hint(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.mallory)
    answers = [
        browser.post(f"/servers/{number}/console/ticket/")
        for number in (world.server.pk, 10**6, 10**25)
    ]
    assert [status for status, _ in answers] == [404, 404, 404]
    assert answers[0] == answers[1]


def test_ticket_opens_once(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    ticket = browser.ticket(world.server.pk)
    first = browser.console(world.server.pk, ticket=ticket)
    first.until_state("connected")
    second = browser.console(world.server.pk, ticket=ticket)
    assert second.until_closed()[0] == INVALID
    first.close()


def test_ticket_is_refused_to_others(panel: Panel, world: World) -> None:
    """Another person, another sign-in of the same person, another server."""
    alice = Browser(panel, world.alice)
    other = world.add_server(world.project, "other")
    for browser, server in (
        (Browser(panel, world.olga), world.server),
        (Browser(panel, world.alice), world.server),
        (alice, other),
    ):
        ticket = alice.ticket(world.server.pk)
        assert browser.console(server.pk, ticket=ticket).until_closed()[0] == INVALID
    assert alice.console(world.server.pk, ticket="x" * 43).until_closed()[0] == INVALID


def test_ticket_of_another_kind_or_too_old_is_refused(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    for change in ({"kind": "vnc"}, {"expires": timezone.now()}):
        ticket = browser.ticket(world.server.pk)
        Ticket.objects.filter(digest=digest(ticket)).update(**change)
        assert browser.console(world.server.pk, ticket=ticket).until_closed()[0] == INVALID


def test_ticket_is_worth_nothing_once_the_right_is_gone(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.olga)
    ticket = browser.ticket(world.server.pk)
    Member.objects.filter(user=world.olga).delete()
    assert browser.console(world.server.pk, ticket=ticket).until_closed()[0] == INVALID
    browser = Browser(panel, world.alice)
    ticket = browser.ticket(world.server.pk)
    Server.objects.filter(pk=world.server.pk).update(lifecycle=Lifecycle.DELETED)
    assert browser.console(world.server.pk, ticket=ticket).until_closed()[0] == INVALID


def test_a_ticket_must_come_and_come_soon(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    for nonsense in ("", "[]", '{"ticket": 7}', "[" * 900, b"key"):
        with browser.connect(path(world.server)) as socket:
            socket.send(nonsense)
            with pytest.raises(Exception, match="4400"):
                socket.recv(5)
    with (
        browser.connect(path(world.server)) as silent,
        pytest.raises(Exception, match="4408"),
    ):
        silent.recv(8)


def test_a_person_may_open_only_so_many(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    servers = [world.add_server(world.project, f"s{number}", running=False) for number in range(3)]
    sockets = [browser.connect(path(servers[number % 3])) for number in range(20)]
    with browser.connect(path(world.server)) as one_more, pytest.raises(Exception, match="4429"):
        one_more.recv(5)
    for socket_ in sockets:
        socket_.close()


def test_secrets_of_tickets_are_neither_stored_nor_logged(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    ticket = browser.ticket(world.server.pk)
    terminal = browser.console(world.server.pk, ticket=ticket)
    terminal.until_state("connected")
    terminal.close()
    row = Ticket.objects.get()
    assert ticket not in str(vars(row))
    assert browser.session_key not in str(vars(row))
    assert ticket not in panel.log()
    assert browser.session_key not in panel.log()


# --- the services by themselves ------------------------------------------------------


@pytest.mark.both_databases
def test_of_many_who_show_a_ticket_at_once_one_gets_in(world: World) -> None:
    secret = issue_ticket(Actor(world.alice, "page"), world.server.pk, Kind.SERIAL, "key")
    barrier = threading.Barrier(8)

    def show(_: int) -> Pass | None:
        barrier.wait(10)
        try:
            return redeem_ticket(
                secret,
                user_id=world.alice.pk,
                server_id=world.server.pk,
                kind=Kind.SERIAL,
                session_key="key",
            )
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as people:
        answers = list(people.map(show, range(8)))
    assert answers.count(Pass(Way.MEMBER, True, world.alice.pk)) == 1
    assert answers.count(None) == 7


def test_tickets_are_limited_and_old_ones_go(world: World) -> None:
    alice = Actor(world.alice, "page")
    for _ in range(30):
        issue_ticket(alice, world.server.pk, Kind.SERIAL, "key")
    with pytest.raises(Refused, match="Too many"):
        issue_ticket(alice, world.server.pk, Kind.SERIAL, "key")
    long_ago = timezone.now() - timedelta(hours=2)
    Ticket.objects.update(created=long_ago, expires=long_ago)
    issue_ticket(alice, world.server.pk, Kind.SERIAL, "key")
    assert Ticket.objects.count() == 1


def test_suspended_server_and_disabled_person_get_none(world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(suspended_at=timezone.now())
    with pytest.raises(Refused, match="suspended"):
        issue_ticket(Actor(world.alice, "page"), world.server.pk, Kind.SERIAL, "key")
    world.mallory.is_active = False
    with pytest.raises(NotFound):
        issue_ticket(Actor(world.mallory, "page"), world.foreign.pk, Kind.SERIAL, "key")


def test_redeeming_says_who_may_type(world: World) -> None:
    for user, types in ((world.alice, True), (world.olga, True), (world.rita, False)):
        secret = issue_ticket(Actor(user, "page"), world.server.pk, Kind.SERIAL, "key")
        assert len(secret) >= 43  # 256 bits
        found = redeem_ticket(
            secret,
            user_id=user.pk,
            server_id=world.server.pk,
            kind=Kind.SERIAL,
            session_key="key",
        )
        assert found == Pass(Way.MEMBER, types, user.pk)


def handshake(panel: Panel, headers: list[str]) -> bytes:
    """The first line of the answer to a handshake with exactly these headers."""
    lines = [
        "GET /ws/events/ HTTP/1.1",
        *headers,
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    ]
    with socket.create_connection(("127.0.0.1", panel.port), 5) as raw:
        raw.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        return raw.makefile("rb").readline()
