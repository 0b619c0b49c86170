"""The filter between a viewer's VNC client and QEMU: byte by byte, and with anything at all."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.hosts.rfb import ask, key, set_encodings
from vpspanel.consoles.rfb import CUT_TEXT_LIMIT, NOT_OFFERED, ClientFilter, NotRfb

GREETING = b"RFB 003.008\n\x01\x00"
FORMAT = struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0)
POINTER = struct.pack(">BBHH", 5, 1, 10, 20)
CUT = struct.pack(">B3xi", 6, 5) + b"hello"
EXTENDED_CUT = struct.pack(">B3xi", 6, -8) + bytes(8)
QEMU_KEY = struct.pack(">BBHII", 255, 0, 1, 0x61, 30)
SOUND = struct.pack(">BBH", 255, 1, 0) + struct.pack(">BBHBBI", 255, 1, 2, 3, 2, 44100)
RESIZE = struct.pack(">BxHHBx", 251, 800, 600, 1) + bytes(16)
FENCE = struct.pack(">B3xIB", 248, 1, 3) + b"abc"
CONTINUOUS = struct.pack(">BBHHHH", 150, 1, 0, 0, 640, 400)
XVP = bytes([250, 0, 1, 2])
QUESTIONS = [FORMAT, set_encodings(0, 5), ask(640, 400), ask(640, 400, incremental=True)]
INPUT = [key(0x61), POINTER, CUT, EXTENDED_CUT, QEMU_KEY, RESIZE]
NEVER = [SOUND, FENCE, CONTINUOUS, XVP]


def greeted(*, types: bool) -> ClientFilter:
    client = ClientFilter(types=types)
    assert client.feed(GREETING) == b"RFB 003.008\n\x01\x01"  # and shared, whatever was asked
    return client


def test_who_may_type_says_all_but_what_changes_the_protocol() -> None:
    said = QUESTIONS + INPUT + NEVER
    assert greeted(types=True).feed(b"".join(said)) == b"".join(QUESTIONS + INPUT)


def test_who_may_watch_only_asks_for_pictures() -> None:
    said = [part for pair in zip(QUESTIONS, INPUT, strict=False) for part in pair] + NEVER
    assert greeted(types=False).feed(b"".join(said)) == b"".join(QUESTIONS)


@pytest.mark.parametrize("types", [True, False])
def test_pieces_make_no_difference(types: bool) -> None:
    said = b"".join(QUESTIONS + INPUT + NEVER + QUESTIONS)
    whole = greeted(types=types).feed(said)
    for size in (1, 2, 3, 7):
        client = greeted(types=types)
        pieces = [client.feed(said[at : at + size]) for at in range(0, len(said), size)]
        assert b"".join(pieces) == whole


def test_what_would_change_the_messages_is_not_offered_to_qemu() -> None:
    said = set_encodings(7, *NOT_OFFERED, -258)
    assert greeted(types=True).feed(said) == set_encodings(7, -258)


@pytest.mark.parametrize(
    "said",
    [
        b"\x01",
        b"\x63",
        struct.pack(">B3xi", 6, CUT_TEXT_LIMIT + 1),
        struct.pack(">B3xi", 6, -(2**31)),
        struct.pack(">BxH", 2, 257),
        struct.pack(">BxHHBx", 251, 1, 1, 255),
        bytes([255, 7, 0, 0]),
        bytes([255, 1, 0, 9]),
    ],
)
def test_nonsense_is_refused(said: bytes) -> None:
    for types in (True, False):
        with pytest.raises(NotRfb):
            greeted(types=types).feed(said + bytes(20))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=30))
def test_of_a_watcher_only_questions_come_out_whatever_he_sends(pieces: list[bytes]) -> None:
    client = greeted(types=False)
    out = b""
    for piece in pieces:
        try:
            out += client.feed(piece)
        except NotRfb:
            break
        assert client.held <= 4 + 4 * 256
    while out:
        assert out[0] in (0, 2, 3)
        if out[0] == 2 and len(out) >= 4:
            size = 4 + 4 * int(struct.unpack_from(">H", out, 2)[0])
        else:
            size = {0: 20, 2: 4, 3: 10}[out[0]]
        out = out[size:]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(QUESTIONS + INPUT + NEVER), max_size=20), st.data())
def test_any_cut_of_good_messages_gives_the_same(
    messages: list[bytes], data: st.DataObject
) -> None:
    said = b"".join(messages)
    cut = data.draw(st.integers(0, len(said)))
    client = greeted(types=True)
    assert client.feed(said[:cut]) + client.feed(said[cut:]) == greeted(types=True).feed(said)


def test_a_long_clipboard_is_never_held() -> None:
    client = greeted(types=False)
    client.feed(struct.pack(">B3xi", 6, CUT_TEXT_LIMIT))
    for _ in range(CUT_TEXT_LIMIT // 1024):
        assert client.feed(bytes(1024)) == b""
        assert client.held == 0
    assert client.feed(ask(1, 1)) == ask(1, 1)
