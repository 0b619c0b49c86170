"""A server's screen over its websocket, on a simulated host."""

from __future__ import annotations

import time

import pytest
from websockets.exceptions import InvalidStatus

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel
from tests.consoles.screens import Screen
from tests.hosts.rfb import EXTENDED_KEYS, VERSION, key, stroke
from vpspanel.accounts.models import Member, Role
from vpspanel.events.models import Event

MIB = 1024 * 1024
INVALID = 4410


def open_screen(panel: Panel, world: World, user: object = None) -> Screen:
    return Screen(Browser(panel, user or world.alice), world.server.pk)  # type: ignore[arg-type]


def test_a_screen_is_shown_and_takes_keys(panel: Panel, world: World) -> None:
    screen = open_screen(panel, world)
    assert screen.begin(EXTENDED_KEYS).endswith("(simulated)")
    before = screen.still()
    assert screen.picture.colours() > 2
    assert EXTENDED_KEYS in screen.picture.encodings
    screen.type("root")
    screen.update(incremental=True)
    assert bytes(screen.picture.pixels) != before
    screen.close()


def test_what_one_types_another_sees(panel: Panel, world: World) -> None:
    first, second = open_screen(panel, world), open_screen(panel, world, world.olga)
    first.begin(shared=b"\x00")
    second.begin(shared=b"\x00")  # asks to be alone; nobody is thrown out for that
    assert first.still() == second.still()
    first.type("abc")
    first_sees, second_sees = first.still(), second.still()
    assert first_sees == second_sees
    first.close()
    second.close()


def test_each_is_told_who_else_looks(panel: Panel, world: World) -> None:
    first = open_screen(panel, world)
    assert first.until_state("connected")["others"] == []
    second = open_screen(panel, world, world.olga)
    assert second.until_state("connected")["others"] == ["alice@example.com"]
    while first.until_state("connected")["others"] != ["olga@example.com"]:
        pass
    second.close()
    while first.until_state("connected")["others"]:
        pass
    first.close()


def test_a_reader_sees_but_nothing_he_sends_arrives(panel: Panel, world: World) -> None:
    reader, owner = open_screen(panel, world, world.rita), open_screen(panel, world)
    assert reader.until_state("connected")["types"] is False
    reader.send_json({"type": "begin", "line": 1})
    reader.shake(EXTENDED_KEYS)
    owner.begin()
    before = owner.still()
    assert reader.still() == before
    reader.type("typed by a reader\n")
    for down in (1, 0):
        reader.write(bytes([255, 0, 0, down]) + (0x61).to_bytes(4, "big") + bytes(4))
    reader.write(key(0xFFE3) + key(0xFFE9) + stroke(0xFFFF))  # Ctrl-Alt-Del
    assert owner.still() == before
    assert reader.still() == before
    owner.type("x")
    assert owner.still() != before
    reader.close()
    owner.close()


def test_who_becomes_a_reader_types_no_more(panel: Panel, world: World) -> None:
    screen = open_screen(panel, world, world.olga)
    screen.begin()
    before = screen.still()
    Member.objects.filter(user=world.olga).update(role=Role.READER)
    deadline = time.monotonic() + 8
    while screen.until_state("connected", 8)["types"]:
        assert time.monotonic() < deadline
    assert time.monotonic() < deadline
    screen.send_json({"type": "begin", "line": 2})
    screen.received.clear()
    screen.socket.close()
    again = open_screen(panel, world, world.olga)
    again.begin()
    again.type("x")
    assert again.still() == before
    again.close()


def test_tickets_open_one_kind_of_console_only(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    serial = browser.ticket(world.server.pk)
    screen = Screen(browser, world.server.pk, ticket=serial)
    assert screen.until_closed()[0] == INVALID
    vnc = browser.ticket(world.server.pk, "vnc")
    assert browser.console(world.server.pk, ticket=vnc).until_closed()[0] == INVALID
    used = browser.ticket(world.server.pk, "vnc")
    first = Screen(browser, world.server.pk, ticket=used)
    first.until_state("connected")
    assert Screen(browser, world.server.pk, ticket=used).until_closed()[0] == INVALID
    other = Screen(Browser(panel, world.olga), world.server.pk, ticket="x" * 43)
    assert other.until_closed()[0] == INVALID
    status, body = browser.post(f"/servers/{world.server.pk}/console/ticket/", data="kind=disk")
    assert (status, body["error"]["code"]) == (400, "invalid_input")
    first.close()


def test_foreign_origins_and_strangers_are_refused(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    for origin in (None, "https://evil.example", "http://127.0.0.1"):
        with pytest.raises(InvalidStatus):
            browser.connect(f"/ws/console/vnc/{world.server.pk}/", origin=origin)
    with pytest.raises(InvalidStatus):
        Browser(panel, None).connect(f"/ws/console/vnc/{world.server.pk}/")
    stranger = Browser(panel, world.mallory)
    path = f"/servers/{world.server.pk}/console/ticket/"
    assert stranger.post(path, data="kind=vnc")[0] == 404


def test_it_closes_when_the_right_is_lost(panel: Panel, world: World) -> None:
    screen = open_screen(panel, world, world.olga)
    screen.begin()
    Member.objects.filter(user=world.olga).delete()
    code, reason, seconds = screen.until_closed(timeout=8)
    assert code == 4403
    assert "no longer have access" in reason
    assert seconds < 5


def test_it_comes_back_after_a_stop_and_a_start(panel: Panel, world: World) -> None:
    screen = open_screen(panel, world)
    screen.begin()
    world.driver.destroy(world.server.uuid)
    screen.until_state("stopped")
    world.driver.start(world.server.uuid)
    screen.begin()
    assert screen.picture.width == 640
    screen.update()
    screen.close()


def test_an_unreachable_host_is_said(panel: Panel, world: World) -> None:
    world.driver.set_reachable(False)
    screen = open_screen(panel, world)
    assert "host does not answer" in screen.until_state("unreachable")["message"]
    world.driver.set_reachable(True)
    screen.until_state("connected")
    screen.close()


def test_bytes_for_an_older_line_reach_no_newer_one(panel: Panel, world: World) -> None:
    screen = open_screen(panel, world)
    line = screen.until_state("connected")["line"]
    screen.write(b"nonsense before the beginning")
    screen.send_json({"type": "begin", "line": line + 1})
    screen.write(b"more of it")
    screen.send_json({"type": "begin", "line": line})
    screen.shake()
    screen.update()
    screen.close()


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n",
        b"RFB 003.003\n",
        VERSION + b"\x02",  # a password
        VERSION + b"\x01\x01" + b"\xfa\x00\x01\x04" + b"\x07",  # a reset button, then nonsense
        VERSION + b"\x01\x01" + b"\x06\x00\x00\x00\x7f\xff\xff\xff",  # two GiB of clipboard
        VERSION + b"\x01\x01" + b"\x02\x00\xff\xff",
    ],
)
def test_what_is_not_vnc_ends_it(panel: Panel, world: World, said: bytes) -> None:
    screen = open_screen(panel, world)
    line = screen.until_state("connected")["line"]
    screen.send_json({"type": "begin", "line": line})
    screen.write(said)
    code, reason, _ = screen.until_closed()
    assert code == 4400
    assert reason


def test_opening_and_closing_stand_in_the_timeline(panel: Panel, world: World) -> None:
    screen = open_screen(panel, world)
    screen.begin()
    screen.close()
    # This server's only: a console of an earlier test may still be writing its last line.
    events = Event.objects.filter(kind__startswith="console.", resource_id=world.server.pk)
    told: list[str] = []
    deadline = time.monotonic() + 5
    while len(told) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
        told = list(events.order_by("pk").values_list("message", flat=True))
    assert told == ["alice@example.com opened the screen", "alice@example.com left the screen"]


# --- memory -----------------------------------------------------------------------


@pytest.mark.parametrize("acks", [True, False])
def test_a_stalled_browser_costs_no_memory_and_no_time_of_others(
    panel: Panel, world: World, acks: bool
) -> None:
    other = Browser(panel, world.mallory).console(world.foreign.pk)
    other.login()
    stalled = Screen(Browser(panel, world.alice), world.server.pk, acks=acks, max_queue=1)
    stalled.begin()
    stalled.update()
    before = panel.rss()
    from_client = b"".join(
        bytes([3, 0]) + bytes(4) + (640).to_bytes(2, "big") + (400).to_bytes(2, "big")
        for _ in range(50)
    )
    times = []
    for _ in range(40):  # a thousand whole screens are asked for, one MiB each, and none read
        stalled.write(from_client)
        at = time.perf_counter()
        other.type("k")
        other.until_output(b"k")
        times.append((time.perf_counter() - at) * 1000)
        time.sleep(0.05)
    growth = panel.rss() - before
    times.sort()
    print(f"stalled screen: grew {growth / MIB:.1f} MiB; others' echo p95 {times[-2]:.0f} ms")
    assert growth < 8 * MIB
    assert times[-2] < 300
    stalled.socket.socket.close()
    other.close()


def test_many_may_not_crowd_one_screen(panel: Panel, world: World) -> None:
    screens = [open_screen(panel, world) for _ in range(8)]
    for screen in screens:
        screen.until_state("connected")
    browser = Browser(panel, world.olga)
    with (
        browser.connect(f"/ws/console/vnc/{world.server.pk}/") as one_more,
        pytest.raises(Exception, match="4429"),
    ):
        one_more.recv(5)
    serial = Browser(panel, world.alice).console(world.server.pk)
    serial.until_state("connected")
    serial.close()
    for screen in screens:
        screen.close()
