"""What a viewer's VNC client (RFB 3.8) may say to a guest's QEMU. Pure: bytes in, bytes out.

The bytes come in any pieces. Each message is recognised by its own rules, so
that of somebody who may only watch nothing but the questions for pictures
goes on: no key, no pointer, no clipboard. What QEMU would not understand
is not passed on to find out what it makes of it.
"""

from __future__ import annotations

import struct

VERSION = b"RFB 003.008\n"
NO_PASSWORD = 1
SHARED = b"\x01"  # the other choice would throw out everybody else who looks

SET_PIXEL_FORMAT, SET_ENCODINGS, ASK_UPDATE, KEY, POINTER, CUT_TEXT = 0, 2, 3, 4, 5, 6
CONTINUOUS, FENCE, XVP, DESKTOP_SIZE, QEMU = 150, 248, 250, 251, 255
QEMU_KEY = 0

WATCHING = frozenset({SET_PIXEL_FORMAT, SET_ENCODINGS, ASK_UPDATE})
TYPING = WATCHING | {KEY, POINTER, CUT_TEXT, DESKTOP_SIZE, QEMU}

ENCODINGS_LIMIT = 256
CUT_TEXT_LIMIT = 256 * 1024
SCREENS_LIMIT = 16

# Pseudo-encodings that would change what the messages above look like, or bring
# new ones: sound, reset buttons, fences, continuous updates, nine-button mice.
NOT_OFFERED = frozenset({-259, -309, -312, -313, -316})

# The fixed length of each message, or of what says how long it is.
HEADS = {
    SET_PIXEL_FORMAT: 20,
    SET_ENCODINGS: 4,
    ASK_UPDATE: 10,
    KEY: 8,
    POINTER: 6,
    CUT_TEXT: 8,
    CONTINUOUS: 10,
    FENCE: 9,
    XVP: 4,
    DESKTOP_SIZE: 8,
    QEMU: 4,
}


class NotRfb(Exception):
    """The viewer says what no VNC client says; `str()` is a sentence for people."""


class ClientFilter:
    """One viewer's side of one connection. `types` may change at any time."""

    def __init__(self, *, types: bool) -> None:
        self.types = types
        self._read = bytearray()
        self._steps = iter((self._version, self._security, self._init))
        self._step = next(self._steps)
        self._greeting = True
        self._passing = 0  # bytes of a long message that are still to come
        self._pass = False  # whether they go on

    def feed(self, data: bytes) -> bytes:
        """What of `data`, and of what came before, goes on to QEMU. Raises `NotRfb`."""
        self._read += data
        out = bytearray()
        while self._read:
            if self._passing:
                self._take_body(out)
            elif self._greeting:
                if not self._greet(out):
                    break
            elif not self._take_message(out):
                break
        return bytes(out)

    @property
    def held(self) -> int:
        """Bytes that wait for the rest of their message."""
        return len(self._read)

    def _take(self, count: int) -> bytes:
        data = bytes(self._read[:count])
        del self._read[:count]
        return data

    # --- the handshake ----------------------------------------------------------------

    def _greet(self, out: bytearray) -> bool:
        answer = self._step()
        if answer is None:
            return False
        out += answer
        following = next(self._steps, None)
        if following is None:
            self._greeting = False
        else:
            self._step = following
        return True

    def _version(self) -> bytes | None:
        if not VERSION.startswith(self._read[: len(VERSION)]):
            raise NotRfb("The screen speaks another version of VNC.")
        return self._take(len(VERSION)) if len(self._read) >= len(VERSION) else None

    def _security(self) -> bytes | None:
        choice = self._take(1)
        if choice[0] != NO_PASSWORD:
            raise NotRfb("The screen asks for a password, which the panel does not know.")
        return choice

    def _init(self) -> bytes | None:
        self._take(1)
        return SHARED

    # --- messages -----------------------------------------------------------------------

    def _take_message(self, out: bytearray) -> bool:
        kind = self._read[0]
        head = HEADS.get(kind)
        if head is None:
            raise NotRfb("That was not VNC.")
        if len(self._read) < head:
            return False
        size = head + self._body(kind)
        if kind == SET_ENCODINGS:
            if len(self._read) < size:
                return False
            out += _offered(self._take(size))
            return True
        self._passing = size
        self._pass = kind in (TYPING if self.types else WATCHING) and not self._is_sound(kind)
        return True

    def _is_sound(self, kind: int) -> bool:
        return kind == QEMU and self._read[1] != QEMU_KEY

    def _take_body(self, out: bytearray) -> None:
        piece = self._take(self._passing)
        self._passing -= len(piece)
        if self._pass:
            out += piece

    def _body(self, kind: int) -> int:
        """How many bytes follow the head."""
        if kind == SET_ENCODINGS:
            (count,) = struct.unpack_from(">H", self._read, 2)
            return 4 * _at_most(ENCODINGS_LIMIT, count)
        if kind == CUT_TEXT:
            # Negative: the extended clipboard, whose length is the amount of that.
            (length,) = struct.unpack_from(">i", self._read, 4)
            return _at_most(CUT_TEXT_LIMIT, abs(length))
        if kind == FENCE:
            return _at_most(64, self._read[8])
        if kind == DESKTOP_SIZE:
            return 16 * _at_most(SCREENS_LIMIT, self._read[6])
        if kind == QEMU:
            return self._qemu_body()
        return 0

    def _qemu_body(self) -> int:
        """A key has 12 bytes in all; sound is switched on or off with 4, or described with 10."""
        if self._read[1] == QEMU_KEY:
            return 8
        (operation,) = struct.unpack_from(">H", self._read, 2)
        if self._read[1] != 1 or operation > 2:
            raise NotRfb("That was not VNC.")
        return 6 if operation == 2 else 0


def _at_most(limit: int, count: int) -> int:
    if count > limit:
        raise NotRfb("That was too much for the screen.")
    return count


def _offered(message: bytes) -> bytes:
    """SetEncodings without those that QEMU must not use."""
    (count,) = struct.unpack_from(">H", message, 2)
    kept = [
        encoding
        for encoding in struct.unpack_from(f">{count}i", message, 4)
        if encoding not in NOT_OFFERED
    ]
    return struct.pack(f">BxH{len(kept)}i", SET_ENCODINGS, len(kept), *kept)
