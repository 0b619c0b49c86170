"""Bytes between one viewer and one screen, in a process of their own.

websockify's own loop reads from the screen whether or not the viewer takes
what was read, so a stalled viewer grows it without limit; and it cannot be
told to end. This one has at most one piece waiting each way.
"""

from __future__ import annotations

import select
import socket
import time
from typing import Protocol

from vpspanel.consoles.door import Admission, last_words
from vpspanel.consoles.rfb import ClientFilter, NotRfb
from vpspanel.consoles.viewer import (
    FRAME_COST,
    IDLE,
    LEFT,
    STALLED_AFTER,
    TYPED_BURST,
    TYPED_PER_SECOND,
    Bucket,
    Ended,
)

READ_SIZE = 64 * 1024
LOOK_EVERY = 1.0  # seconds; for what no socket tells
PING_EVERY = 20.0  # so that no proxy between thinks it idle, and a browser that vanished is noticed
VANISHED_AFTER = 60.0
LOST = Ended(4500, "The connection to the server was interrupted.")
GONE = select.POLLHUP | select.POLLERR | select.POLLNVAL


class WebSocket(Protocol):
    """What of websockify's request handler is used."""

    def fileno(self) -> int:
        """Of the viewer's connection."""

    def send_frames(self, bufs: list[bytes] | None = None) -> bool:
        """Send, or go on sending; whether some of it has to wait."""

    def send_ping(self) -> None:
        """Ask whether it is there."""

    def recv_frames(self) -> tuple[list[bytes], object]:
        """What has come, and whether that was the end."""


class Pump:
    """One viewer. `idle` is how many seconds nothing may happen; 0: for ever."""

    def __init__(self, viewer: WebSocket, admission: Admission, *, idle: float):
        if admission.screen is None:
            raise ValueError("There is no screen to show.")
        self._viewer = viewer
        self._screen: socket.socket = admission.screen
        self._door = admission.door
        self._filter = ClientFilter(types=admission.types)
        self._bucket = Bucket(TYPED_PER_SECOND, TYPED_BURST)
        self._idle = idle
        self._poll = select.poll()
        self._interest: dict[int, int] = {}
        self._unshown = False  # a frame waits for the viewer to take it
        self._typed = b""  # what waits for QEMU to take it
        self._now = self._shown_at = self._used_at = time.monotonic()
        self._heard_at = self._pinged_at = self._now
        self._listen_at = 0.0  # when the viewer, who typed too fast, is heard again
        self._screen.setblocking(False)

    def run(self) -> Ended:
        """Carry until one side ends it; says why."""
        viewer, screen, door = self._viewer.fileno(), self._screen.fileno(), self._door.fileno()
        self._want(door, select.POLLIN)
        try:
            while True:
                heard = not self._typed and self._now >= self._listen_at
                self._want(viewer, heard * select.POLLIN | self._unshown * select.POLLOUT)
                shows = not self._unshown
                self._want(screen, shows * select.POLLIN | bool(self._typed) * select.POLLOUT)
                ready = dict(self._poll.poll(self._patience() * 1000))
                self._now = time.monotonic()
                if door in ready:
                    return last_words(self._door)
                if state := ready.get(viewer, 0):
                    self._serve_viewer(state)
                if state := ready.get(screen, 0):
                    self._serve_screen(state)
                self._look_at_the_clock()
        except Ended as end:
            return end
        except OSError:
            return LEFT

    def _want(self, descriptor: int, events: int) -> None:
        """Hear of these; of nothing at all if there are none, not even that it hung up."""
        if self._interest.get(descriptor, 0) == events:
            return
        if events:
            self._poll.register(descriptor, events)
        else:
            self._poll.unregister(descriptor)
        self._interest[descriptor] = events

    def _patience(self) -> float:
        late = self._listen_at - self._now
        return min(LOOK_EVERY, late) if late > 0 else LOOK_EVERY

    def _serve_viewer(self, state: int) -> None:
        if state & select.POLLOUT:
            self._unshown = self._viewer.send_frames()
            self._shown_at = self._now
        if state & select.POLLIN:
            self._hear()
        elif state & GONE:
            raise LEFT

    def _hear(self) -> None:
        self._heard_at = self._now
        pieces, closed = self._viewer.recv_frames()
        data = b"".join(pieces)
        if data:
            self._used_at = self._now
        cost = len(data) + FRAME_COST * max(1, len(pieces))
        self._listen_at = self._now + self._bucket.take(cost)
        try:
            self._typed += self._filter.feed(data)
        except NotRfb as reason:
            raise Ended(4400, str(reason)) from None
        self._type()
        if closed:
            raise LEFT

    def _serve_screen(self, state: int) -> None:
        if state & select.POLLOUT:
            self._type()
        if state & (select.POLLIN | GONE):
            data = self._read_screen()
            self._used_at = self._shown_at = self._now
            self._unshown = self._viewer.send_frames([data])

    def _read_screen(self) -> bytes:
        try:
            data = self._screen.recv(READ_SIZE)
        except OSError:  # it hung up with something unread
            raise LOST from None
        if not data:
            raise LOST
        return data

    def _type(self) -> None:
        if not self._typed:
            return
        try:
            self._typed = self._typed[self._screen.send(self._typed) :]
        except BlockingIOError:
            return
        except OSError:
            raise LOST from None

    def _look_at_the_clock(self) -> None:
        if self._unshown:
            if self._now - self._shown_at > STALLED_AFTER:
                raise Ended(4408, "This page did not take the output for a minute.")
        elif self._now - self._pinged_at > PING_EVERY:
            if self._now - self._heard_at > VANISHED_AFTER:
                raise LEFT
            self._pinged_at = self._now
            self._viewer.send_ping()
        if self._idle and self._now - self._used_at > self._idle:
            raise IDLE
