"""What hosts tell by themselves: libvirt's event loop in one thread, and one watcher per host.

The loop must exist before the first connection is opened, because keepalive
and the closing of connections run in it. `libvirtaio` is not used: it hangs
when libvirt is called from threads.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import libvirt
import structlog

from hosts.virt.errors import VirtError
from hosts.virt.spec import DomainEvent, EventKind

log = structlog.get_logger(__name__)

Sink = Callable[[DomainEvent], None]
Open = Callable[[], Any]  # a fresh connection, under a deadline; raises VirtError

_loop_lock = threading.Lock()
_loop_pid: int | None = None


def start_event_loop() -> None:
    """Run libvirt's default event loop in a thread of this process, once.

    Raises `RuntimeError` in a process that was forked from one that had it:
    the thread is not there any more, and libvirt cannot be started twice.
    """
    global _loop_pid  # noqa: PLW0603 (libvirt knows one loop per process as well)
    with _loop_lock:
        if _loop_pid == os.getpid():
            return
        if _loop_pid is not None:
            raise RuntimeError("libvirt was used before the fork: fork first, connect then")
        libvirt.virEventRegisterDefaultImpl()
        # libvirt's own printing of every error to stderr; they are raised as well.
        libvirt.registerErrorHandler(lambda *_: None, None)
        # With no timer at all the loop may sleep for ever on some systems.
        libvirt.virEventAddTimeout(1000, lambda *_: None, None)
        threading.Thread(target=_run_event_loop, name="libvirt-events", daemon=True).start()
        _loop_pid = os.getpid()


def _run_event_loop() -> None:
    while True:
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError as error:
            log.warning("libvirt_event_loop", error=str(error))


# --- what libvirt's numbers mean --------------------------------------------

LIFECYCLE = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: EventKind.DEFINED,
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: EventKind.UNDEFINED,
    libvirt.VIR_DOMAIN_EVENT_STARTED: EventKind.STARTED,
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: EventKind.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: EventKind.PAUSED,
    libvirt.VIR_DOMAIN_EVENT_RESUMED: EventKind.RESUMED,
    libvirt.VIR_DOMAIN_EVENT_STOPPED: EventKind.STOPPED,
    libvirt.VIR_DOMAIN_EVENT_CRASHED: EventKind.CRASHED,
}
STOPPED_BECAUSE = {
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_DESTROYED: "destroyed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED: "crashed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_MIGRATED: "migrated",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_SAVED: "saved",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED: "failed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED_FROM_SNAPSHOT: "snapshot",
}
PAUSED_BECAUSE = {
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_PAUSED: "paused",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED: "migrated",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_IOERROR: "io_error",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG: "watchdog",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED_RESTORED: "restored",
}


def lifecycle_event(uuid: UUID, event: int, detail: int) -> DomainEvent | None:
    """libvirt's lifecycle event as ours; None for SHUTDOWN, which only announces STOPPED."""
    kind = LIFECYCLE.get(event)
    if kind is None:
        return None
    words = ""
    if kind is EventKind.STOPPED:
        words = STOPPED_BECAUSE.get(detail, "")
        if detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_CRASHED:
            kind = EventKind.CRASHED
    elif event == libvirt.VIR_DOMAIN_EVENT_SUSPENDED:
        words = PAUSED_BECAUSE.get(detail, "")
    return DomainEvent(kind, uuid, datetime.now(UTC), words)


class Watcher:
    """Keeps one connection for events open and tells `sink` what comes, until `stop`."""

    def __init__(
        self,
        open_connection: Open,
        sink: Sink,
        *,
        first_wait: float = 0.5,
        longest_wait: float = 5.0,
    ) -> None:
        self._open = open_connection
        self._sink = sink
        self._first_wait = first_wait
        self._longest_wait = longest_wait
        self._stopped = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._run, name="libvirt-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No event reaches the sink after this returns. Waits a moment for the thread, at most."""
        self._stopped.set()
        self._lost.set()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout=2)

    def _run(self) -> None:
        wait = self._first_wait
        told_lost = False
        while not self._stopped.is_set():
            self._lost.clear()
            try:
                connection = self._open()
            except VirtError as error:
                if not told_lost:
                    self._tell(EventKind.DISCONNECTED, detail=str(error))
                    told_lost = True
                self._stopped.wait(wait)
                wait = min(wait * 2, self._longest_wait)
                continue
            wait = self._first_wait
            reason = self._listen(connection)
            if not self._stopped.is_set():
                self._tell(EventKind.DISCONNECTED, detail=reason)
                told_lost = True

    def _listen(self, connection: Any) -> str:
        """Register, say CONNECTED, stay until the connection is lost. Returns why it ended."""
        ids: list[int] = []
        try:
            connection.registerCloseCallback(self._on_close, None)
            for event_id, callback in (
                (libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._on_lifecycle),
                (libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._on_reboot),
                (libvirt.VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON, self._on_io_error),
            ):
                ids.append(connection.domainEventRegisterAny(None, event_id, callback, None))
        except libvirt.libvirtError as error:
            # The test driver knows fewer events; what it has is enough.
            if not ids or not connection.isAlive():
                self._release(connection, ids)
                self._stopped.wait(self._first_wait)
                return str(error)
        self._tell(EventKind.CONNECTED)
        self._lost.wait()
        self._release(connection, ids)
        return "The connection was lost"

    @staticmethod
    def _release(connection: Any, ids: list[int]) -> None:
        """Give everything back; on a dead connection every step fails, and that is fine."""
        steps: list[Callable[[], Any]] = [
            lambda number=number: connection.domainEventDeregisterAny(number)  # type: ignore[misc]
            for number in ids
        ]
        for step in (*steps, connection.unregisterCloseCallback, connection.close):
            try:
                step()
            except libvirt.libvirtError as error:
                log.debug("libvirt_release", error=str(error))

    # Called by libvirt's event loop thread: nothing here may block or call libvirt.

    def _on_close(self, _connection: Any, _reason: int, _opaque: None) -> None:
        self._lost.set()

    def _on_lifecycle(self, _c: Any, domain: Any, event: int, detail: int, _opaque: None) -> None:
        told = lifecycle_event(UUID(bytes=domain.UUID()), event, detail)
        if told is not None:
            self._send(told)

    def _on_reboot(self, _connection: Any, domain: Any, _opaque: None) -> None:
        self._tell(EventKind.REBOOTED, UUID(bytes=domain.UUID()))

    def _on_io_error(
        self,
        _c: Any,
        domain: Any,
        _path: str,
        device: str,
        _action: int,
        reason: str,
        _opaque: None,
    ) -> None:
        words = f"{device}: {reason}" if reason else device
        self._tell(EventKind.IO_ERROR, UUID(bytes=domain.UUID()), words)

    def _tell(self, kind: EventKind, uuid: UUID | None = None, detail: str = "") -> None:
        self._send(DomainEvent(kind, uuid, datetime.now(UTC), detail))

    def _send(self, event: DomainEvent) -> None:
        if self._stopped.is_set():
            return
        try:
            self._sink(event)
        except Exception:
            # A sink that fails must not end the loop that serves every host.
            log.exception("event_sink_failed", kind=event.kind.value)
