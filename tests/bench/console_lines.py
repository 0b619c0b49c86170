"""What a viewer of the console part holds: a connection by TCP, by a websocket, to the panel."""

from __future__ import annotations

import contextlib
import json
import selectors
import socket
import struct
import time
from collections.abc import Callable, Sequence

from tests.hosts.rfb import VERSION, key

BINARY, TEXT, CLOSE, PING = 2, 1, 8, 9
KEY = key(0x61)
CHUNK = 1024 * 1024
_sink = bytearray(CHUNK)
GREETING = len(VERSION) + 2 + 4 + 24 + len("bench")


class Line:
    """A raw connection, as through a relay."""

    def __init__(self, port: int):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = bytearray()

    def shake(self) -> Line:
        """The beginning of RFB."""
        self.send(VERSION + b"\x01" + b"\x01")
        self.take(GREETING)
        return self

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def take(self, count: int) -> bytes:
        """The next bytes."""
        while len(self._read) < count:
            self._receive()
        data = bytes(self._read[:count])
        del self._read[:count]
        return data

    def echo(self) -> float:
        """Milliseconds from a key to its echo."""
        started = time.perf_counter()
        self.send(KEY)
        if self.take(len(KEY)) != KEY:
            raise AssertionError("a foreign byte")
        return (time.perf_counter() - started) * 1000

    def ask(self, mib: int) -> None:
        """For a picture of so many MiB."""
        self.send(struct.pack(">BBHHHH", 3, 0, mib, 0, 0, 0))

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def _receive(self) -> None:
        self._read += self._some()

    def _some(self) -> bytes:
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the other end has hung up")
        return data


class WebLine(Line):
    """A websocket; the far end speaks first or waits, as the panel's kinds of sockets do."""

    def __init__(self, port: int, path: str = "/", cookie: str = ""):
        super().__init__(port)
        self._frames = bytearray()
        self.texts: list[dict[str, object]] = []
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Origin: http://127.0.0.1:{port}",
            f"Cookie: {cookie}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Protocol: binary",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._frames:
            self._frames += self._some()
        head, _, rest = bytes(self._frames).partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 101"):
            raise AssertionError(head)
        self._frames = bytearray(rest)
        self._take_apart()

    def send(self, data: bytes, opcode: int = BINARY) -> None:
        # A mask of zeros: the bytes stay as they are.
        size = bytes([0x80 | len(data)])
        if len(data) > 125:
            size = struct.pack(">BH", 0x80 | 126, len(data))
        self.socket.sendall(bytes([0x80 | opcode]) + size + bytes(4) + data)

    def tell(self, **message: object) -> None:
        self.send(json.dumps(message).encode(), TEXT)

    def until_connected(self) -> int:
        """Wait until the panel has the screen; the number of its line."""
        while True:
            for said in self.texts:
                if said.get("state") == "connected":
                    return int(str(said["line"]))
            self._receive()

    def _receive(self) -> None:
        self._frames += self._some()
        self._take_apart()

    def _take_apart(self) -> None:
        while len(self._frames) >= 2:
            opcode, size, at = self._frames[0] & 15, self._frames[1], 2
            if size >= 126:
                at, form = (4, ">H") if size == 126 else (10, ">Q")
                if len(self._frames) < at:
                    return
                (size,) = struct.unpack_from(form, self._frames, 2)
            if len(self._frames) < at + size:
                return
            payload = bytes(self._frames[at : at + size])
            del self._frames[: at + size]
            if opcode == BINARY:
                self._read += payload
            elif opcode == TEXT:
                self.texts.append(json.loads(payload))
            elif opcode == CLOSE:
                raise EOFError(payload)
            elif opcode == PING:
                self.send(payload, 10)


def panel_line(port: int, path: str, cookie: str, ticket: str) -> WebLine:
    """A screen through the panel's own endpoint."""
    line = WebLine(port, path, cookie)
    line.tell(type="hello", ticket=ticket)
    line.tell(type="begin", line=line.until_connected())
    return line


def download(lines: Sequence[Line], mib: int) -> float:
    """Seconds until each of the lines has brought so many MiB."""
    size = mib * CHUNK
    left = dict.fromkeys(lines, size)
    with selectors.DefaultSelector() as selector:
        started = time.perf_counter()
        for line in lines:
            line.ask(mib)
            selector.register(line.socket, selectors.EVENT_READ, line)
        while left:
            for ready, _ in selector.select(30):
                line = ready.data
                got = line.socket.recv_into(_sink)
                if not got:
                    raise EOFError("the other end has hung up")
                left[line] -= got
                if left[line] <= 0:
                    selector.unregister(line.socket)
                    del left[line]
    return time.perf_counter() - started


def burst(lines: Sequence[Line]) -> list[float]:
    """A key on every line at once: the milliseconds of each echo."""
    with selectors.DefaultSelector() as selector:
        started = time.perf_counter()
        for line in lines:
            selector.register(line.socket, selectors.EVENT_READ, line)
            line.send(KEY)
        times: list[float] = []
        while len(times) < len(lines):
            for ready, _ in selector.select(30):
                ready.data.take(len(KEY))
                times.append((time.perf_counter() - started) * 1000)
                selector.unregister(ready.fileobj)
    return times


Open = Callable[[], Line]
