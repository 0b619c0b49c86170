"""Telling a guest that stopped from one that reboots.

Some reboots arrive as STOPPED, then STARTED. So a STOPPED waits a moment: if
the guest starts meanwhile, the pair becomes one REBOOTED. Full lists wait in
the same way: a guest that is found off in the middle of a reboot is not shown
as off.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from uuid import UUID

from django.utils import timezone

from hosts.virt.spec import DomainEvent, DomainSeen, EventKind, Power

POWER_AFTER = {
    EventKind.STARTED: Power.RUNNING,
    EventKind.REBOOTED: Power.RUNNING,
    EventKind.RESUMED: Power.RUNNING,
    EventKind.STOPPED: Power.OFF,
    EventKind.PAUSED: Power.PAUSED,
    EventKind.CRASHED: Power.CRASHED,
}


@dataclass(slots=True)
class Hold:
    """The stops of one host that are not believed yet. Times are `time.monotonic()`."""

    seconds: float
    _held: dict[UUID, tuple[float, DomainEvent]] = field(default_factory=dict)
    _known: dict[UUID, Power] = field(default_factory=dict)
    _doubted: set[UUID] = field(default_factory=set)

    def take(self, event: DomainEvent, now: float) -> list[DomainEvent]:
        """What may be passed on at once, oldest first; a STOPPED is kept."""
        if event.uuid is None:
            return [*self.flush(), event]
        if event.kind not in POWER_AFTER:
            return [event]  # it says nothing about power: a start may still follow
        held = self._held.pop(event.uuid, None)
        if event.kind is EventKind.STOPPED:
            due = held[0] if held else now + self.seconds
            self._held[event.uuid] = (due, event)
            return []
        if held is None or event.kind is EventKind.REBOOTED:
            return [self._pass(event)]
        if event.kind is EventKind.STARTED:
            return [self._pass(replace(event, kind=EventKind.REBOOTED))]
        return [self._pass(held[1]), self._pass(event)]

    def due(self, now: float) -> list[DomainEvent]:
        """The stops that have been held long enough: they are true."""
        ready = [uuid for uuid, (at, _) in self._held.items() if at <= now]
        return [self._pass(self._held.pop(uuid)[1]) for uuid in ready]

    def flush(self) -> list[DomainEvent]:
        """All held stops, at once: nothing more will be heard of those guests for now."""
        held = [event for _, event in self._held.values()]
        self._held.clear()
        return [self._pass(event) for event in held]

    def next_due(self) -> float | None:
        """When the next held stop becomes true."""
        return min((at for at, _ in self._held.values()), default=None)

    def settle(self, seen: Iterable[DomainSeen]) -> tuple[list[DomainSeen], bool]:
        """The list as it may be judged, and whether it should be taken again in a moment.

        A guest whose stop is held, or that is found off for the first time
        without a word, has the power UNKNOWN: it may be rebooting.
        """
        settled: list[DomainSeen] = []
        doubtful: set[UUID] = set()
        known: dict[UUID, Power] = {}
        for domain in seen:
            is_held = domain.uuid in self._held
            is_new = self._is_news(domain) and domain.uuid not in self._doubted
            if domain.power is Power.OFF and (is_held or is_new):
                settled.append(replace(domain, power=Power.UNKNOWN))
                known[domain.uuid] = Power.RUNNING
                if not is_held:
                    doubtful.add(domain.uuid)
            else:
                settled.append(domain)
                known[domain.uuid] = domain.power
        self._doubted, self._known = doubtful, known
        return settled, bool(doubtful)

    def _is_news(self, domain: DomainSeen) -> bool:
        return domain.power is Power.OFF and self._known.get(domain.uuid) is Power.RUNNING

    def _pass(self, event: DomainEvent) -> DomainEvent:
        """Note what it says. A stop that was held is true now, and was not known to be before."""
        if event.uuid is not None and event.kind in POWER_AFTER:
            self._known[event.uuid] = POWER_AFTER[event.kind]
        if event.kind is EventKind.STOPPED:
            return replace(event, at=timezone.now())
        return event
