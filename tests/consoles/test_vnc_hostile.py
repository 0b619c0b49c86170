"""A VNC server that means harm: whatever it says, the page shows text or ends, and goes on."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.consoles.browsing import connected, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Panel

pytestmark = [pytest.mark.browser]

HELLO = b"RFB 003.008\n"
FORMAT = struct.pack(">BBBBHHHBBB3x", 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
EVIL = b"<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def init(width: int, height: int, name: bytes, length: int | None = None) -> bytes:
    """ServerInit."""
    size = len(name) if length is None else length
    return struct.pack(">HH", width, height) + FORMAT + struct.pack(">I", size) + name


def rectangle(width: int, height: int, encoding: int, data: bytes = b"") -> bytes:
    """A FramebufferUpdate with one."""
    return struct.pack(">BxHHHHHi", 0, 1, 0, 0, width, height, encoding) + data


def cut_text(text: bytes) -> bytes:
    """ServerCutText."""
    return struct.pack(">B3xI", 3, len(text)) + text


@dataclass(frozen=True)
class Attack:
    """What the server says first, how the page ends up, and what it says when asked for more."""

    init: bytes
    state: str = "Closed"
    then: bytes = b""


GOOD = init(64, 48, b"x")
ATTACKS = {
    "a name with markup": Attack(init(64, 48, EVIL), "Connected", rectangle(1, 1, 0, bytes(4))),
    "an endless name": Attack(init(64, 48, b"A" * 100_000, 0x7FFFFFFF), ""),
    "no size": Attack(init(0, 0, b"x")),
    "an absurd size": Attack(init(65535, 65535, b"x")),
    "an absurd size later": Attack(GOOD, then=rectangle(65535, 65535, -223)),
    "an absurd pointer": Attack(GOOD, "", rectangle(65535, 65535, -239)),
    "an unknown encoding": Attack(GOOD, then=rectangle(8, 8, 12345)),
    "an unknown message": Attack(GOOD, then=b"\x99" * 100),
    "a broken picture": Attack(GOOD, then=rectangle(8, 8, 7, b"\xf0\x05hello" * 20)),
    "broken compression": Attack(
        GOOD, then=rectangle(64, 48, 16, struct.pack(">I", 40) + b"\xff" * 40)
    ),
    "a clipboard": Attack(GOOD, "Connected", cut_text(EVIL)),
    "a bell": Attack(GOOD, "Connected", b"\x02" * 1000),
    "a name that changes": Attack(
        GOOD, "Connected", rectangle(0, 0, -307, struct.pack(">I", len(EVIL)) + EVIL)
    ),
}


def play(page: Page, attack: Attack) -> None:
    """Between the page and the panel: the page meets this server instead of the guest's."""

    def route(socket: WebSocketRoute) -> None:
        step = [0]

        def answer(message: str | bytes) -> None:
            if isinstance(message, str):
                if '"hello"' in message:
                    socket.send(
                        '{"type": "state", "state": "connected", "message": "", "types": true,'
                        ' "line": 1, "others": []}'
                    )
                elif '"begin"' in message:
                    socket.send(HELLO)
                return
            step[0] += 1
            said = {1: b"\x01\x01", 2: bytes(4), 3: attack.init, 4: attack.then}.get(step[0])
            if said:
                socket.send(said)

        socket.on_message(answer)

    page.route_web_socket("**/ws/console/vnc/**", route)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_page_survives(page: Page, panel: Panel, world: World, name: str) -> None:
    attack = ATTACKS[name]
    play(page, attack)
    open_console(page, panel, world.alice, world.server.pk)
    connected(page)
    page.get_by_role("tab", name="Screen").click()
    if attack.state:
        expect(page.locator("#screen-connection")).to_have_text(attack.state)
    page.wait_for_timeout(300)
    assert page.title() == "Console of web"
    assert page.locator("#screen img, #screen script").count() == 0
    if attack.state == "Closed":
        expect(page.locator("#screen-notice")).to_contain_text("cannot be shown")
        expect(page.locator("#screen canvas")).to_have_count(0)
    # The rest of the page lives.
    page.get_by_role("tab", name="Serial").click()
    page.get_by_role("button", name="Larger text").click()
    expect(page.locator("#connection")).to_have_text("Connected")


def test_the_clipboard_is_offered_and_never_taken(page: Page, panel: Panel, world: World) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    play(page, ATTACKS["a clipboard"])
    open_console(page, panel, world.alice, world.server.pk)
    page.evaluate("navigator.clipboard.writeText('mine')")
    page.get_by_role("tab", name="Screen").click()
    page.get_by_role("button", name="The server's clipboard").click()
    assert page.locator("#clipboard-theirs").input_value() == EVIL.decode()
    assert page.evaluate("navigator.clipboard.readText()") == "mine"
    page.get_by_role("button", name="Copy").click()
    assert page.evaluate("navigator.clipboard.readText()") == EVIL.decode()
