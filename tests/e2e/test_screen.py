"""A real guest's screen in a browser: log in on tty1, type passwords in two layouts, power."""

from __future__ import annotations

import base64
import re
import shlex
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.consoles.test_vnc_keyboards import qemu_keymap
from tests.e2e.test_story import (
    addresses,
    customer,
    delete,
    image_cache,
    key,
    order,
    panel,
    ssh,
    wait_for_status,
)
from tests.e2e.whole_panel import WholePanel
from tests.kvm import KvmHost, kvm_host

__all__ = ["customer", "image_cache", "key", "kvm_host", "panel"]
pytestmark = [pytest.mark.kvm, pytest.mark.browser]

PASSWORD = "correct-horse.7"  # no Shift: Playwright types without pressing it
# A hundred characters, all of ASCII's symbols among them.
LONG = "".join(map(chr, range(0x21, 0x7F))) + "aZ@|~\\"
Run = Callable[[str], str]


def open_screen(page: Page) -> Page:
    """The console's page, on its second tab, once there is a picture."""
    with page.context.expect_page() as opened:
        page.locator("#console").click()
    console = opened.value
    console.get_by_role("tab", name="Screen").click()
    expect(console.locator("#screen-connection")).to_have_text("Connected", timeout=20_000)
    expect(console.locator("#screen canvas")).to_have_attribute(
        "role", "application", timeout=20_000
    )
    return console


def type_text(console: Page, text: str, layout: str) -> None:
    """Through the dialog."""
    console.get_by_role("button", name="Type text").click()
    console.get_by_label("Keyboard of the server").select_option(layout)
    console.get_by_label("Text", exact=True).fill(text)
    console.get_by_label("Press Enter at the end").check()
    console.get_by_role("button", name="Type", exact=True).click()
    expect(console.locator("#type-text")).to_be_hidden(timeout=60_000)


def load_german(run: Run) -> None:
    """Give the guest's text consoles a German keyboard, made from the tables that QEMU has."""
    data = bytearray(base64.b64decode(run("dumpkmap | base64")))
    assert data[:7] == b"bkeymap"
    present = [number for number in range(256) if data[7 + number]]
    dead = {"^": 0x0402, "`": 0x0400, "\u00b4": 0x0401}  # the kernel's KT_DEAD
    for (code, shift, altgr), character in qemu_keymap("de").items():
        table = shift + 2 * altgr
        if table not in present or not (character in dead or "!" <= character <= "~"):
            continue
        letter = character.isascii() and character.isalpha()
        value = dead.get(character, (0x0B00 if letter else 0) | (ord(character) & 0xFF))
        at = 7 + 256 + present.index(table) * 256 + code * 2
        data[at : at + 2] = struct.pack("<H", value)
    text = base64.b64encode(bytes(data)).decode()
    run(f"echo {text} | base64 -d >/tmp/de.bmap && loadkmap </tmp/de.bmap")


def test_typing_on_a_real_screen(
    customer: Page, panel: WholePanel, kvm_host: KvmHost, key: Path
) -> None:
    page = customer
    order(page, panel, "seen", image="Tiny", plan="Nano", key=key.with_suffix(".pub").read_text())
    wait_for_status(page, "Running", 60)
    ipv4 = addresses(page)[0]

    def run(command: str) -> str:
        return ssh(kvm_host, key, ipv4, command, seconds=120)

    run(f"echo root:{shlex.quote(PASSWORD)} | chpasswd")
    console = open_screen(page)
    console.locator("#screen canvas").click()
    sit_down(console, run)

    for layout in ("us", "de"):
        if layout == "de":
            load_german(run)
        type_text(console, f'read -r line; printf %s "$line" >/tmp/{layout}', layout)
        console.wait_for_timeout(500)
        type_text(console, LONG, layout)
        assert until(run, f"/tmp/{layout}", LONG[-4:]) == LONG

    console.screenshot(path=str(panel.log.parent / "screen.png"))
    console.locator("#power summary").click()
    console.get_by_role("button", name="Power off").click()
    console.locator("#confirm").get_by_role("button", name="Power off").click()
    expect(console.locator("#screen-connection")).to_have_text("Server is off", timeout=30_000)
    expect(console.locator("#status")).to_have_text("Off", timeout=30_000)
    console.locator("#power summary").click()
    console.get_by_role("button", name="Start").click()
    expect(console.locator("#screen-connection")).to_have_text("Connected", timeout=30_000)
    expect(console.locator("#connection")).to_have_text("Connected", timeout=30_000)
    assert re.search(r":59\d\d ", kvm_host.exec("ss", "-Hltn")) is None  # no VNC port, ever
    console.close()
    delete(page, "seen")


def sit_down(console: Page, run: Run) -> None:
    """Log in on tty1. Nobody can read there when the prompts come, so it is tried again."""
    for _ in range(3):
        console.keyboard.type("\nroot\n", delay=60)
        console.wait_for_timeout(3000)
        console.keyboard.type(f"{PASSWORD}\n", delay=60)
        console.wait_for_timeout(3000)
        type_text(console, "tty >/tmp/where", "us")
        if until(run, "/tmp/where", "tty1") == "/dev/tty1":
            return
        console.wait_for_timeout(61_000)  # login gives up after a minute
    raise AssertionError("nobody is logged in on tty1")


def until(run: Run, file: str, end: str) -> str:
    """What the file holds, once it holds the end of what is awaited; at last whatever it holds."""
    text = ""
    for _ in range(20):
        text = run(f"cat {file} 2>/dev/null; true").strip("\n")
        if text.endswith(end):
            break
        run("sleep 0.5")
    return text
