"""A browser's end of a screen's socket, with a VNC client of its own."""

from __future__ import annotations

import json
import struct
import time
from typing import Any

from websockets.exceptions import ConnectionClosed

from tests.consoles.panel import Browser
from tests.hosts.rfb import RAW, VERSION, Picture, ask, set_encodings, stroke


class Screen:
    """What the page's script and its VNC client do."""

    def __init__(self, browser: Browser, server_id: int, **options: Any):
        ticket = options.pop("ticket", None) or browser.ticket(server_id, "vnc")
        acks = options.pop("acks", True)
        self.socket = browser.connect(f"/ws/console/vnc/{server_id}/", **options)
        self.send_json({"type": "hello", "ticket": ticket, "acks": acks})
        self.states: list[dict[str, Any]] = []
        self.received = bytearray()
        self.picture = Picture(0, 0)
        self._acks = acks

    def send_json(self, message: dict[str, Any]) -> None:
        self.socket.send(json.dumps(message))

    def write(self, data: bytes) -> None:
        self.socket.send(data)

    def step(self, timeout: float) -> None:
        """Take one frame. Raises `TimeoutError` or `ConnectionClosed`."""
        frame = self.socket.recv(timeout)
        if isinstance(frame, bytes):
            self.received += frame
            if self._acks:
                self.send_json({"type": "ack", "bytes": len(frame)})
            return
        message = json.loads(frame)
        if message["type"] == "state":
            self.states.append(message)

    def until_state(self, state: str, timeout: float = 10) -> dict[str, Any]:
        """Go on until the page would show this state; the message that said so."""
        deadline = time.monotonic() + timeout
        while True:
            while self.states:
                message = self.states.pop(0)
                if message["state"] == state:
                    return message
            self.step(max(0.01, deadline - time.monotonic()))

    def until_closed(self, timeout: float = 10) -> tuple[int, str, float]:
        """Code, reason, and how many seconds it took."""
        started = time.monotonic()
        try:
            while True:
                self.step(max(0.01, started + timeout - time.monotonic()))
        except ConnectionClosed as closed:
            if closed.rcvd is None:
                raise
            return closed.rcvd.code, closed.rcvd.reason, time.monotonic() - started

    def take(self, count: int, timeout: float = 10) -> bytes:
        deadline = time.monotonic() + timeout
        while len(self.received) < count:
            self.step(max(0.01, deadline - time.monotonic()))
        data = bytes(self.received[:count])
        del self.received[:count]
        return data

    # --- RFB ---------------------------------------------------------------------

    def begin(self, *encodings: int, shared: bytes = b"\x01") -> str:
        """Wait for a connection to the guest and shake hands; the screen's name."""
        line = self.until_state("connected")["line"]
        self.received.clear()
        self.send_json({"type": "begin", "line": line})
        return self.shake(*encodings, shared=shared)

    def shake(self, *encodings: int, shared: bytes = b"\x01") -> str:
        assert self.take(12) == VERSION
        self.write(VERSION)
        assert self.take(2) == b"\x01\x01"
        self.write(b"\x01")
        assert self.take(4) == bytes(4)
        self.write(shared)
        head = self.take(24)
        self.picture = Picture(*struct.unpack_from(">HH", head))
        (length,) = struct.unpack_from(">I", head, 20)
        name = self.take(length).decode()
        self.write(struct.pack(">B3xBBBBHHHBBB3x", 0, 32, 24, 0, 1, 255, 255, 255, 16, 8, 0))
        self.write(set_encodings(RAW, *encodings))
        return name

    def update(self, *, incremental: bool = False, timeout: float = 10) -> None:
        """Ask for the screen and draw what comes."""
        self.write(ask(self.picture.width, self.picture.height, incremental=incremental))
        deadline = time.monotonic() + timeout
        while not (used := self.picture.take(bytes(self.received))):
            self.step(max(0.01, deadline - time.monotonic()))
        del self.received[:used]

    def look(self) -> bytes:
        """All pixels as they are now."""
        self.update()
        return bytes(self.picture.pixels)

    def still(self, timeout: float = 15) -> bytes:
        """All pixels, once nothing moves any more."""
        deadline = time.monotonic() + timeout
        before = self.look()
        while True:
            assert time.monotonic() < deadline, "the screen does not come to rest"
            time.sleep(0.4)
            now = self.look()
            if now == before:
                return now
            before = now

    def type(self, text: str) -> None:
        """As keysyms."""
        for character in text:
            self.write(stroke(0xFF0D if character == "\n" else ord(character)))

    def close(self) -> None:
        self.socket.close()
