"""The page's keyboards, held against the tables that come with QEMU."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.consoles.browsing import open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Panel

pytestmark = [pytest.mark.browser]

QEMU_NAMES = {"us": "en-us", "uk": "en-gb", "de": "de", "fr": "fr", "es": "es"}
NAMED = {
    "space": " ", "exclam": "!", "quotedbl": '"', "numbersign": "#", "dollar": "$",
    "percent": "%", "ampersand": "&", "apostrophe": "'", "parenleft": "(", "parenright": ")",
    "asterisk": "*", "plus": "+", "comma": ",", "minus": "-", "period": ".", "slash": "/",
    "colon": ":", "semicolon": ";", "less": "<", "equal": "=", "greater": ">", "question": "?",
    "at": "@", "bracketleft": "[", "backslash": "\\", "bracketright": "]", "asciicircum": "^",
    "underscore": "_", "grave": "`", "braceleft": "{", "bar": "|", "braceright": "}",
    "asciitilde": "~", "EuroSign": "€", "sterling": "£", "section": "§", "ssharp": "ß",
    "adiaeresis": "ä", "odiaeresis": "ö", "udiaeresis": "ü", "Adiaeresis": "Ä", "Odiaeresis": "Ö",
    "Udiaeresis": "Ü", "eacute": "é", "egrave": "è", "ccedilla": "ç", "agrave": "à",
    "ugrave": "ù", "ntilde": "ñ", "Ntilde": "Ñ", "degree": "°", "mu": "µ",
    "dead_circumflex": "^", "dead_grave": "`", "dead_acute": "\u00b4", "acute": "\u00b4",
}  # fmt: skip


def qemu_keymap(layout: str) -> dict[tuple[int, bool, bool], str]:
    """(scancode, Shift, AltGr) -> character, as QEMU itself has it from X's keyboard data."""
    found = {}
    text = Path("/usr/share/qemu/keymaps", QEMU_NAMES[layout]).read_text()
    for line in text.splitlines():
        match = re.match(r"(\w+) (0x[0-9a-f]+)((?: \w+)*)$", line)
        if match:
            name, code, modifiers = match[1], int(match[2], 16), match[3].split()
            character = NAMED.get(name, name if len(name) == 1 else "")
            if character:
                found[code, "shift" in modifiers, "altgr" in modifiers] = character
    return found


SCANCODES = {
    "Backquote": 0x29, "Minus": 0x0C, "Equal": 0x0D, "BracketLeft": 0x1A, "BracketRight": 0x1B,
    "Semicolon": 0x27, "Quote": 0x28, "Backslash": 0x2B, "IntlBackslash": 0x56, "Comma": 0x33,
    "Period": 0x34, "Slash": 0x35, "Space": 0x39,
    **{f"Digit{(number + 1) % 10}": 2 + number for number in range(10)},
    **{f"Key{letter}": 0x10 + at for at, letter in enumerate("QWERTYUIOP")},
    **{f"Key{letter}": 0x1E + at for at, letter in enumerate("ASDFGHJKL")},
    **{f"Key{letter}": 0x2C + at for at, letter in enumerate("ZXCVBNM")},
}  # fmt: skip
EXTRA = {"us": "", "uk": "£€", "de": "äöüÄÖÜß§€°\u00b4", "fr": "éèçàù§°£€µ", "es": "ñÑç€"}


@pytest.mark.parametrize("layout", QEMU_NAMES)
def test_each_keyboard_has_the_keys_where_they_are(
    page: Page, panel: Panel, world: World, layout: str
) -> None:
    """All of ASCII and the layout's own letters, held against the tables that come with QEMU."""
    keymap = qemu_keymap(layout)
    text = "".join(map(chr, range(0x20, 0x7F))) + EXTRA[layout]
    open_console(page, panel, world.alice, world.server.pk)
    said: dict[str, Any] = page.evaluate(
        """async ([text, layout]) => {
          const keys = await import(document.querySelector("link[data-module=keys]").href);
          return keys.strokesFor(text, layout);
        }""",
        [text, layout],
    )
    assert said["missing"] == []
    held: set[str] = set()
    typed = ""
    for event in said["events"]:
        code = event["code"]
        if code in ("ShiftLeft", "AltRight"):
            (held.add if event["down"] else held.discard)(code)
        elif event["down"]:
            if code == "Space" and event["keysym"] != 0x20:
                continue  # finishes a dead key
            shift, altgr = "ShiftLeft" in held, "AltRight" in held
            typed += keymap.get((SCANCODES[code], shift, altgr), f"<{code} {shift} {altgr}>")
    assert typed == text
    assert held == set()
