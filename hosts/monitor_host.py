"""Watching one host, in a thread of its own: a host that hangs delays nobody else."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

import structlog
from django.db import close_old_connections, transaction
from django.utils import timezone

from hosts.models import HostStatus
from hosts.monitor_boot import note_boot
from hosts.monitor_figures import Meter, owned_here
from hosts.monitor_hold import Hold
from hosts.monitor_status import StatusChange, record_seen, record_status, refuse_other_machine
from hosts.virt.driver import Driver
from hosts.virt.errors import CallTimeout, HostUnreachable, VirtError, WrongHost
from hosts.virt.registry import driver_for
from hosts.virt.spec import DomainEvent, DomainSeen, EventKind, HostLoad, Power

log = structlog.get_logger(__name__)

NOBODY = UUID(int=0)  # asking for a guest that cannot exist is the cheapest question there is
SOON = 0.3  # seconds: several definitions in a row make one list
DOUBT = 1.0  # seconds until a doubtful list is taken again
TIMEOUTS_TOLERATED = 1  # one slow answer is no reason to give a host up
BROKEN_PAUSE = 1.0  # seconds before the next try after something of ours broke


@dataclass(frozen=True, slots=True)
class Pace:
    """How often what is done, in seconds."""

    beat: float = 5.0
    beat_unreachable: float = 2.0
    full_list: float = 60.0
    hold: float = 2.5  # what a stop waits before it is believed: a reboot may follow
    reread: float = 3.0  # looking for new and removed hosts
    sample: float = 60.0  # figures of the host and its guests
    phantom: float = 5.0  # a guest that is starting up, or looks like a phantom, is seen again


class Sink(Protocol):
    """Who hears what the hosts say. Called from the thread of each host; may use the database."""

    def on_list(
        self, host_id: int, seen: list[DomainSeen], at: datetime, *, gap: bool
    ) -> float | None:
        """Every guest of the host as of `at`. Returns in how many seconds to list again, or None.

        `gap`: events may have been lost before this list. A guest whose power
        is UNKNOWN may be rebooting: nothing follows from it.
        """

    def on_event(self, host_id: int, event: DomainEvent) -> None:
        """Something happened to one guest. A STOPPED comes late, when it is no reboot."""

    def on_hint(self, host_id: int, event: DomainEvent) -> None:
        """A guest has just stopped, or is about to reboot: who waits for it may look now."""

    def on_boot(self, host_id: int, last_up: datetime, at: datetime) -> None:
        """The host has booted since `last_up`. Called inside a transaction, after its list."""

    def on_status(self, host_id: int, change: StatusChange, *, changed: bool) -> None:
        """The host's status changed, or (not `changed`) the monitor has just begun to watch it."""


class HostWatch:
    """Watches one host from `start` to `stop`."""

    def __init__(self, host_id: int, uri: str, sink: Sink, pace: Pace):
        self.uri = uri
        self._host_id = host_id
        self._sink = sink
        self._pace = pace
        self._log = log.bind(host=host_id, uri=uri)
        self._events: queue.SimpleQueue[DomainEvent | None] = queue.SimpleQueue()
        self._hold = Hold(pace.hold)
        self._unwatch: Callable[[], None] | None = None
        self._stopping = threading.Event()
        self._status: HostStatus | None = None
        self._reason = ""
        self._phantoms: dict[UUID, float] = {}
        self._timeouts = 0
        self._gap = True
        self._beat_due = self._list_due = self._sample_due = time.monotonic()
        self._meter = Meter(host_id)
        self._thread = threading.Thread(target=self._run, name=f"host-{host_id}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the call in hand; does not wait."""
        self._stopping.set()
        self._events.put(None)

    def join(self, timeout: float) -> None:
        """Wait for the end, at most `timeout` seconds: a call to a host may hang."""
        self._thread.join(timeout)

    # --- the loop -------------------------------------------------------------

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:
                self._log.exception("host_watch_failed")
                self._list_soon(self._pace.beat, gap=True)
                self._stopping.wait(BROKEN_PAUSE)
            finally:
                close_old_connections()
        if self._unwatch is not None:
            self._unwatch()

    def _turn(self) -> None:
        self._pass_events(self._next_events())
        now = time.monotonic()
        if now >= self._beat_due:
            self._beat()
        if now >= self._list_due and self._status is not HostStatus.UNREACHABLE:
            self._list()
        if now >= self._sample_due and self._status is not HostStatus.UNREACHABLE:
            self._sample()

    def _next_events(self) -> list[DomainEvent]:
        """Sleep until something happens or is due; what may be passed on now."""
        dues = [self._beat_due, self._hold.next_due()]
        if self._status is not HostStatus.UNREACHABLE:
            dues += [self._list_due, self._sample_due]
        pause = min(due for due in dues if due is not None) - time.monotonic()
        try:
            first = self._events.get(timeout=max(0.0, pause))
        except queue.Empty:
            return self._hold.due(time.monotonic())
        return [*self._take(first), *self._waiting_events()]

    def _waiting_events(self) -> list[DomainEvent]:
        ready: list[DomainEvent] = []
        while not self._events.empty():
            ready += self._take(self._events.get())
        return ready + self._hold.due(time.monotonic())

    def _take(self, event: DomainEvent | None) -> list[DomainEvent]:
        if event is None:
            return []
        if event.kind is EventKind.STOPPED:
            self._sink.on_hint(self._host_id, event)
        return self._hold.take(event, time.monotonic())

    def _pass_events(self, events: list[DomainEvent]) -> None:
        for event in events:
            self._log.debug("host_event", kind=event.kind, guest=str(event.uuid))
            if event.kind in (EventKind.CONNECTED, EventKind.DISCONNECTED):
                self._gap = True
                self._beat_due = self._list_due = time.monotonic()
            elif event.kind in (EventKind.DEFINED, EventKind.UNDEFINED):
                self._list_soon(SOON, gap=False)
            else:
                self._sink.on_event(self._host_id, event)

    def _list_soon(self, seconds: float, *, gap: bool) -> None:
        self._gap = self._gap or gap
        self._list_due = min(self._list_due, time.monotonic() + seconds)

    # --- asking the host --------------------------------------------------------

    def _beat(self) -> None:
        """One cheap question; its answer decides whether the host is reachable."""
        try:
            driver = self._driver()
            driver.domain(NOBODY)
            if self._gap:  # the connection is new: somebody else may be at its end
                refuse_other_machine(self._host_id, driver)
        except (VirtError, ValueError) as error:
            self._no_answer(error)
        else:
            self._answered()
        unreachable = self._status is HostStatus.UNREACHABLE
        pause = self._pace.beat_unreachable if unreachable else self._pace.beat
        self._beat_due = time.monotonic() + pause

    def _list(self) -> None:
        """One full list, and what follows from it."""
        at, gap = timezone.now(), self._gap
        try:
            seen = self._driver().domains()
        except (VirtError, ValueError) as error:
            self._no_answer(error)
            self._list_due = time.monotonic() + self._pace.beat
            return
        self._gap = False
        self._list_due = time.monotonic() + self._pace.full_list
        self._meter.ours = owned_here(self._host_id, [one.uuid for one in seen if one.ours])
        self._pass_events(self._waiting_events())
        settled, doubtful = self._hold.settle(seen)
        self._note_phantoms(seen)
        again = self._sink.on_list(self._host_id, settled, at, gap=gap)
        if gap:
            self._look_for_boot()
        if doubtful:
            self._list_soon(DOUBT, gap=gap)
        if again is not None:
            self._list_soon(again, gap=False)

    def _sample(self) -> None:
        """One look at all counters. A host that is slow with them is not doubted for it."""
        self._sample_due = time.monotonic() + self._pace.sample
        try:
            self._note_boot(self._meter.read(self._driver(), timezone.now()))
        except (VirtError, ValueError) as error:
            self._log.info("host_not_measured", error=str(error))

    def _look_for_boot(self) -> None:
        """Ask at once, because guests may be waiting. Without an answer the next sample tells."""
        try:
            self._note_boot(self._driver().load())
        except (VirtError, ValueError) as error:
            self._log.info("host_not_measured", error=str(error))

    def _note_boot(self, load: HostLoad) -> None:
        at = timezone.now()
        if note_boot(self._host_id, load, at, lambda up: self._sink.on_boot(self._host_id, up, at)):
            self._log.warning("host_booted")
            self._list_soon(self._pace.beat, gap=True)  # what it listed may be from before

    def _driver(self) -> Driver:
        """The driver, with the watch on it begun."""
        driver = driver_for(self.uri)
        if self._unwatch is None:
            self._unwatch = driver.watch(self._events.put)
            self._list_soon(0, gap=True)
        return driver

    def _note_phantoms(self, seen: list[DomainSeen]) -> None:
        """A phantom must be seen twice: a guest looks like one for a moment while it starts."""
        now = time.monotonic()
        found = {domain.uuid: domain for domain in seen if domain.phantom}
        self._phantoms = {uuid: self._phantoms.get(uuid, now) for uuid in found}
        lasting = [
            found[uuid].name
            for uuid, since in self._phantoms.items()
            if now - since >= self._pace.phantom
        ]
        if lasting:
            self._set_status(HostStatus.DEGRADED, phantom_reason(lasting))
        elif self._status in (HostStatus.DEGRADED, None):
            self._set_status(HostStatus.REACHABLE, "")
        starting = any(domain.power is Power.UNKNOWN for domain in seen)
        if starting or len(lasting) < len(found):
            self._list_soon(self._pace.phantom, gap=False)

    # --- what it means ------------------------------------------------------------

    def _answered(self) -> None:
        self._timeouts = 0
        record_seen(self._host_id, timezone.now())
        if self._status is HostStatus.DEGRADED:
            return
        if self._status is not HostStatus.REACHABLE:
            self._list_soon(0, gap=True)
        self._set_status(HostStatus.REACHABLE, "")

    def _no_answer(self, error: Exception) -> None:
        """Unreachable at once if the connection is down, at the second slow answer in a row."""
        if isinstance(error, CallTimeout):
            self._timeouts += 1
            if self._timeouts <= TIMEOUTS_TOLERATED:
                return
        elif isinstance(error, VirtError) and not isinstance(error, HostUnreachable):
            self._set_status(HostStatus.DEGRADED, f"It answers with an error: {error}")
            return
        self._gap = True
        self._set_status(HostStatus.UNREACHABLE, str(error), alarm=isinstance(error, WrongHost))

    def _set_status(self, status: HostStatus, reason: str, *, alarm: bool = False) -> None:
        first = self._status is None
        if not first and (status, reason) == (self._status, self._reason):
            return
        change = StatusChange(status, reason, timezone.now(), self._status, alarm)
        with transaction.atomic():  # what follows from the change is seen together with it
            changed = record_status(self._host_id, change)
            if changed or first or alarm:
                self._sink.on_status(self._host_id, change, changed=changed)
        self._status, self._reason = status, reason
        self._log.info("host_status", status=status.value, reason=reason)


def phantom_reason(names: list[str]) -> str:
    """What staff must know of guests that libvirt believes to be starting for ever."""
    return (
        f"{', '.join(sorted(names))}: paused while starting up, without a QEMU process. Calls into "
        "such a guest hang; restarting libvirtd on that host cures it (running guests go on)."
    )
