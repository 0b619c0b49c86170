"""What follows from what a host shows: pure decisions, which `observe.py` carries out.

Nothing here starts, stops or deletes anything; only what is known and wanted
of a server is corrected. "Busy" is a server with an open action, or with one
that ended after the moment of the sighting: then the action says what is wanted.

R1  Power differs: the host wins, for what was seen. What was seen earlier than
    what is known changes nothing. A crashed guest that is merely listed as off
    is still the crashed one.
R2  Missing: only after two full lists at least ten seconds apart, and never
    while it is being created, rebuilt or deleted.
R3  A host that does not answer says nothing: what was seen stays, with its age.
R4  A guest that powered off, or was powered off on the host, is wanted off from
    then on. One that crashed, or that is found off after its host was out of
    sight, is still wanted on: nobody asked for that.
R5  A guest that runs though it was wanted off is wanted on from then on.

A domain that does not carry our metadata is nobody's: it changes nothing.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from hosts.virt.spec import Power
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted

MISSING_AFTER = timedelta(seconds=10)


class Cause(enum.StrEnum):
    """How something came to be seen."""

    LIST = "list"  # a full list while events flowed
    GAP = "gap"  # a full list after the host was out of sight
    STARTED = "started"
    REBOOTED = "rebooted"
    STOPPED = "stopped"
    CRASHED = "crashed"
    PAUSED = "paused"
    RESUMED = "resumed"


LISTS = (Cause.LIST, Cause.GAP)
BOOTS = (Cause.STARTED, Cause.REBOOTED)


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a server. `building`: it is being created, rebuilt or deleted."""

    id: int
    uuid: UUID
    project_id: int
    lifecycle: str
    power_wanted: str
    power_seen: str
    seen_at: datetime | None = None
    booted_at: datetime | None = None
    busy: bool = False
    building: bool = False


@dataclass(frozen=True, slots=True)
class Sighting:
    """A guest as a host showed it at a moment."""

    uuid: UUID
    power: Power
    at: datetime
    cause: Cause
    ours: bool = True
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Correction:
    """What to write, if the row is still as it was. None: leave it."""

    row: Row
    at: datetime
    kind: str
    message: str
    public: bool
    power_seen: PowerSeen | None = None
    power_wanted: PowerWanted | None = None
    booted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The corrections, who is as known (and was looked at), and who was not found since when."""

    corrections: tuple[Correction, ...] = ()
    unchanged: tuple[Row, ...] = ()
    missed: Mapping[UUID, datetime] = field(default_factory=dict)


def reconcile(
    rows: Sequence[Row],
    seen: Iterable[Sighting],
    now: datetime,
    *,
    complete: bool,
    missed: Mapping[UUID, datetime] | None = None,
) -> Verdict:
    """Judge sightings. With `complete`, `seen` is a full list as of `now`: others are missed.

    `missed` is what the verdict on the list before said.
    """
    sightings = {sighting.uuid: sighting for sighting in seen}
    corrections: list[Correction] = []
    unchanged: list[Row] = []
    missing: dict[UUID, datetime] = {}
    for row in rows:
        sighting = sightings.get(row.uuid)
        correction = None
        if sighting is not None:
            correction = judge(row, sighting)
            if correction is None and sighting.ours and sighting.power is not Power.UNKNOWN:
                unchanged.append(row)
        elif complete and not row.building:
            missing[row.uuid] = (missed or {}).get(row.uuid, now)
            correction = _missing(row, missing[row.uuid], now)
        if correction is not None:
            corrections.append(correction)
    return Verdict(tuple(corrections), tuple(unchanged), missing)


def judge(row: Row, sighting: Sighting) -> Correction | None:
    """What follows from one sighting of one server."""
    if not sighting.ours or sighting.power is Power.UNKNOWN:
        return None
    booted_at = _booted_at(row, sighting)
    if row.seen_at is not None and sighting.at < row.seen_at:
        return _only_booted(row, sighting, booted_at)
    power = PowerSeen(sighting.power.value)
    if _is_the_crashed_one(row, sighting):
        power = PowerSeen.CRASHED
    wanted = _wanted(row, sighting, power)
    if power == row.power_seen and wanted is None:
        return _only_booted(row, sighting, booted_at)
    kind, message, public = _words(row, sighting, power)
    return Correction(
        row=row,
        at=sighting.at,
        kind=kind,
        message=message,
        public=public and not row.busy and row.lifecycle == Lifecycle.ACTIVE,
        power_seen=power if power != row.power_seen else None,
        power_wanted=wanted,
        booted_at=booted_at,
    )


def _missing(row: Row, since: datetime, now: datetime) -> Correction | None:
    if row.power_seen == PowerSeen.MISSING or now - since < MISSING_AFTER:
        return None
    return Correction(
        row=row,
        at=now,
        kind="server.missing",
        message="The server is missing on its host. Our staff has to look at it.",
        public=row.lifecycle == Lifecycle.ACTIVE,
        power_seen=PowerSeen.MISSING,
    )


def _is_the_crashed_one(row: Row, sighting: Sighting) -> bool:
    """It crashes now, or crashed before and is now listed as off."""
    listed_off = sighting.power is Power.OFF and sighting.cause in LISTS
    return _is_crash(sighting) or (listed_off and row.power_seen == PowerSeen.CRASHED)


def _is_crash(sighting: Sighting) -> bool:
    """QEMU that was killed or failed is a crash to its owner as well."""
    return sighting.cause is Cause.CRASHED or (
        sighting.cause is Cause.STOPPED and sighting.detail in ("crashed", "failed")
    )


def _wanted(row: Row, sighting: Sighting, power: PowerSeen) -> PowerWanted | None:
    """R4 and R5: what the customer is taken to want now; None if nothing changes that."""
    if row.busy or row.lifecycle != Lifecycle.ACTIVE:
        return None
    if power == PowerSeen.RUNNING and row.power_wanted == PowerWanted.OFF:
        return PowerWanted.ON
    went_off = power == PowerSeen.OFF and row.power_seen in (PowerSeen.RUNNING, PowerSeen.PAUSED)
    if went_off and row.power_wanted == PowerWanted.ON and sighting.cause is not Cause.GAP:
        return PowerWanted.OFF
    return None


def _booted_at(row: Row, sighting: Sighting) -> datetime | None:
    if sighting.cause not in BOOTS:
        return None
    if row.booted_at is not None and row.booted_at >= sighting.at:
        return None
    return sighting.at


def _only_booted(row: Row, sighting: Sighting, booted_at: datetime | None) -> Correction | None:
    if booted_at is None:
        return None
    rebooted = sighting.cause is Cause.REBOOTED
    return Correction(
        row=row,
        at=sighting.at,
        kind="server.rebooted" if rebooted else "server.booted",
        message="The server rebooted" if rebooted else "The server booted",
        public=rebooted and not row.busy and row.lifecycle == Lifecycle.ACTIVE,
        booted_at=booted_at,
    )


_STOPPED = {
    "shutdown": "The server was shut down from inside, or by its host's power button",
    "destroyed": "The server was powered off on its host, not through this panel",
}
_PAUSED = {
    "io_error": "The server was paused by its host: its disk reported an error, or is full",
    "ioerror": "The server was paused by its host: its disk reported an error, or is full",
}


def _words(row: Row, sighting: Sighting, power: PowerSeen) -> tuple[str, str, bool]:
    """Kind and sentence of the event, and whether it is news for the customer."""
    if power == PowerSeen.RUNNING:
        return _running_words(row, sighting)
    if power == PowerSeen.OFF:
        public = row.power_seen != PowerSeen.UNKNOWN
        if sighting.cause is Cause.GAP:
            return (
                "server.found_off",
                "The server was found off when its host was seen again",
                public,
            )
        default = "The server was powered off from inside or on its host"
        return "server.powered_off", _STOPPED.get(sighting.detail, default), public
    if power == PowerSeen.CRASHED:
        return "server.crashed", "The server crashed", True
    return "server.paused", _PAUSED.get(sighting.detail, "The server was paused by its host"), True


def _running_words(row: Row, sighting: Sighting) -> tuple[str, str, bool]:
    if sighting.cause is Cause.REBOOTED:
        return "server.rebooted", "The server rebooted", True
    if row.power_seen == PowerSeen.PAUSED:
        return "server.resumed", "The server runs again", True
    if row.power_seen in (PowerSeen.OFF, PowerSeen.CRASHED):
        return (
            "server.found_running",
            "The server was started on its host, not through this panel",
            True,
        )
    if row.power_seen == PowerSeen.MISSING:
        return "server.found", "The server was found again on its host, running", True
    return "server.seen_running", "The server runs", False
