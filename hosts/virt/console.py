"""A guest's serial console as an asyncio byte stream.

libvirt's event loop thread calls back when there is something to read; all of
it is taken at once, because what is not taken piles up without limit inside
libvirt's client. At most 256 KiB wait here for the reader; a reader that is
slower than the guest loses the oldest bytes, so that a stalled viewer neither
fills our memory nor blocks the guest's own serial port.

Sending may block when the host does not take data, and it must not block
either loop, so it happens in a thread of the stream, started by the first write.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import libvirt

from hosts.virt import domains
from hosts.virt.errors import CallTimeout, HostUnreachable, InvalidState, VirtError
from hosts.virt.lane import Task, close_late
from hosts.virt.translate import translate

R = TypeVar("R")

HELD_LIMIT = 256 * 1024
READ_LIMIT = 64 * 1024
SEND_LIMIT = 16 * 1024
# So many reads in one callback; other consoles share the thread.
READS_AT_ONCE = 8
CLOSE_SECONDS = 2.0
RETRY_SECONDS = 0.01

READABLE = libvirt.VIR_STREAM_EVENT_READABLE
ENDED = libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP
WOULD_BLOCK = -2


async def in_thread(work: Callable[[], R], name: str, timeout: float) -> R:  # noqa: ASYNC109
    """What `work` returns, from a daemon thread of its own, or `CallTimeout`.

    What comes after that is closed. Not asyncio's own pool: calls that hang
    would use it up for everybody.
    """
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()

    def tell() -> None:
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(ended.set)

    task = Task(work, name, after=tell)
    try:
        async with asyncio.timeout(timeout):
            await ended.wait()
    except TimeoutError:
        close_late(task)
        raise CallTimeout(f"No answer within {timeout:g} s") from None
    except asyncio.CancelledError:
        close_late(task)
        raise
    return task.result()


class LibvirtSerial:
    """See `SerialStream`. `dropped` counts the bytes that a slow reader has lost."""

    def __init__(self, connection: Any, stream: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._connection: Any | None = connection
        self._stream: Any | None = stream
        self._loop = loop
        self._lock = threading.Lock()
        self._taking = threading.Lock()  # held while libvirt's thread uses the stream
        self._held = bytearray()
        self._ended = False
        self._listening = True
        self._closing: asyncio.Future[None] | None = None
        self._wake_sent = False
        self._readable = asyncio.Event()
        self._outgoing: queue.SimpleQueue[tuple[bytes, Callable[[VirtError | None], None]] | None]
        self._outgoing = queue.SimpleQueue()
        self._sender: threading.Thread | None = None
        self.dropped = 0
        stream.eventAddCallback(READABLE | ENDED, _Listener(self), None)
        # A stream says nothing when its connection is lost: libvirtd killed, the network down.
        with suppress(libvirt.libvirtError):
            connection.registerCloseCallback(self._on_lost, None)

    # --- libvirt's event loop thread ------------------------------------------

    def on_event(self, stream: Any, events: int) -> None:
        """Take what there is. Called by libvirt only."""
        with self._taking:
            self._take(stream, events)

    def _take(self, stream: Any, events: int) -> None:
        ended = False
        for _ in range(READS_AT_ONCE):
            try:
                data = stream.recv(READ_LIMIT)
            except libvirt.libvirtError:
                ended = True
                break
            if data == WOULD_BLOCK:
                # Told of an end with nothing left to read.
                ended = bool(events & ENDED)
                break
            if not data:
                ended = True
                break
            self._hold(data)
        if ended:
            # At once: a stream that was taken over keeps calling for as long as it is listened to.
            self._stop_listening()
            self._end()

    def _on_lost(self, _connection: Any, _reason: int, _opaque: None) -> None:
        self._end()

    def _hold(self, data: bytes) -> None:
        with self._lock:
            self._held += data
            surplus = len(self._held) - HELD_LIMIT
            if surplus > 0:
                del self._held[:surplus]
                self.dropped += surplus
        self._wake()

    def _end(self) -> None:
        with self._lock:
            self._ended = True
        self._wake()

    def _wake(self) -> None:
        with self._lock:
            if self._wake_sent:
                return
            self._wake_sent = True
        try:
            self._loop.call_soon_threadsafe(self._readable.set)
        except RuntimeError:  # the loop is closed: nobody will ever read
            self._stop_listening()

    def _stop_listening(self) -> None:
        with self._lock:
            listening, self._listening = self._listening, False
            stream = self._stream
        if listening and stream is not None:
            with suppress(libvirt.libvirtError):
                stream.eventRemoveCallback()

    # --- the reader and writer, in asyncio ---------------------------------------

    async def read(self) -> bytes:
        """See `SerialStream.read`."""
        while True:
            with self._lock:
                self._wake_sent = False
                self._readable.clear()
                if self._held:
                    data = bytes(self._held[:READ_LIMIT])
                    del self._held[:READ_LIMIT]
                    return data
                if self._ended:
                    return b""
            await self._readable.wait()

    async def write(self, data: bytes) -> None:
        """See `SerialStream.write`. Raises `HostUnreachable` once the stream has ended."""
        if self._ended or self._closing is not None:
            raise HostUnreachable("The console is closed")
        if not data:
            return
        if self._sender is None:
            self._sender = threading.Thread(
                target=self._send_all, name="libvirt-console", daemon=True
            )
            self._sender.start()
        taken: asyncio.Future[None] = self._loop.create_future()

        def tell(error: VirtError | None) -> None:
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, taken, error)

        self._outgoing.put((bytes(data), tell))
        await taken

    async def close(self) -> None:
        """See `SerialStream.close`. Waits two seconds at most; a host that hangs is left behind."""
        if self._closing is not None:
            await asyncio.shield(self._closing)
            return
        self._closing = self._loop.create_future()
        self._end()
        self._outgoing.put(None)
        try:
            await in_thread(self._release, "libvirt-close", CLOSE_SECONDS)
        except CallTimeout:
            return
        finally:
            if not self._closing.done():
                self._closing.set_result(None)

    # --- threads of their own ---------------------------------------------------

    def _send_all(self) -> None:
        error: VirtError | None = None
        while (item := self._outgoing.get()) is not None:
            data, tell = item
            if error is None:
                error = self._send(data)
            tell(error)
        while not self._outgoing.empty():
            left = self._outgoing.get()
            if left is not None:
                left[1](HostUnreachable("The console was closed"))

    def _send(self, data: bytes) -> VirtError | None:
        view = memoryview(data)
        while view:
            stream = self._stream
            if self._ended or stream is None:
                return HostUnreachable("The console was closed")
            try:
                sent = stream.send(bytes(view[:SEND_LIMIT]))
            except libvirt.libvirtError as error:
                return translate(error)
            if sent == WOULD_BLOCK:
                time.sleep(RETRY_SECONDS)
            else:
                view = view[sent:]
        return None

    def _release(self) -> None:
        """The callback first, then the stream, then its connection: libvirt wants that order."""
        self._stop_listening()
        with self._lock:
            stream, self._stream = self._stream, None
            connection, self._connection = self._connection, None
        if stream is None or connection is None:
            return
        with suppress(libvirt.libvirtError):
            connection.unregisterCloseCallback()
        with suppress(libvirt.libvirtError):
            stream.abort()
        if self._sender is not None:
            self._sender.join(CLOSE_SECONDS)
            if self._sender.is_alive():  # it still uses the stream: better keep it than crash
                return
        with self._taking:
            _let_go(stream)
        with suppress(libvirt.libvirtError):
            connection.close()


def _settle(future: asyncio.Future[None], error: VirtError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)


class _Listener:
    """What libvirt calls instead of the console itself, because it never lets go of it."""

    def __init__(self, console: LibvirtSerial) -> None:
        self.console: LibvirtSerial | None = console

    def __call__(self, stream: Any, events: int, _opaque: None) -> None:
        console = self.console
        if console is not None:
            console.on_event(stream, events)


def _let_go(stream: Any) -> None:
    """Free the stream now.

    libvirt-python keeps every stream that ever had a callback, and with it the
    connection and its socket, which `close` would only count down. Its own
    destructor, called by hand, leaves an empty shell of that.
    """
    listener = stream.cb
    listener.console = None
    stream.__del__()
    stream._conn = None


class _Opened:
    """A console that is open on the host; `close` is for the case that nobody waits for it."""

    def __init__(self, connection: Any, stream: Any) -> None:
        self.connection = connection
        self.stream = stream

    def close(self) -> None:
        with suppress(libvirt.libvirtError):
            self.stream.abort()
        self.connection.close()


async def open_serial(
    connect: Callable[[], Any],
    uuid: UUID,
    *,
    force: bool,
    timeout: float,  # noqa: ASYNC109
) -> LibvirtSerial:
    """See `Driver.open_serial`. `connect` gives a connection that only this console uses."""
    opened = await in_thread(lambda: _open(connect, uuid, force), "libvirt-console", timeout)
    return LibvirtSerial(opened.connection, opened.stream, asyncio.get_running_loop())


def _open(connect: Callable[[], Any], uuid: UUID, force: bool) -> _Opened:
    connection = connect()
    try:
        domain = domains.need_ours(connection, uuid)
        if not domain.isActive():
            raise InvalidState(f"Domain {domain.name()} is off")
        stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        # Without force libvirt refuses a second holder instead of mixing both.
        flags = libvirt.VIR_DOMAIN_CONSOLE_FORCE if force else libvirt.VIR_DOMAIN_CONSOLE_SAFE
        domain.openConsole(None, stream, flags)
    except BaseException:
        connection.close()
        raise
    return _Opened(connection, stream)
