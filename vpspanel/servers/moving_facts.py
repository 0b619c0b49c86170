"""Where a guest is that was on its way, and what stands in the way of one. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from hosts.models import Host
from hosts.virt.spec import DomainSeen, Power

LIVE, OFFLINE = "live", "offline"


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One thing that stands in the way, in a sentence that says what to do.

    What stops neither kind of move is only good to know.
    """

    code: str
    message: str
    stops_live: bool = True
    stops_offline: bool = True

    def stops(self, how: str) -> bool:
        """Whether a move of that kind, "live" or "offline", cannot be because of it."""
        return self.stops_live if how == LIVE else self.stops_offline


def between_hosts(source: Host, target: Host, address: str) -> list[Obstacle]:
    """What the two machines themselves stand in the way with, as far as the records know."""
    found = []
    if source.architecture != target.architecture:
        found.append(
            Obstacle(
                "architecture",
                f"{target} is a machine of another kind ({target.architecture or 'unknown'}, "
                f"not {source.architecture or 'unknown'}). Choose one of the same kind.",
            )
        )
    if not target.network and not target.bridge:
        found.append(
            Obstacle(
                "no_network",
                f"{target} has neither a network nor a bridge for guests. "
                "Set one on the host's page.",
            )
        )
    return [*found, *_for_running_guests(source, target, address)]


def _for_running_guests(source: Host, target: Host, address: str) -> list[Obstacle]:
    found = []
    if source.virt_type != target.virt_type:
        found.append(
            _only_live(
                "virt_type",
                f"Guests run under {source.virt_type} here and under {target.virt_type} "
                f"on {target}. A running one cannot change that.",
            )
        )
    elif source.virt_type == "kvm" and source.cpu_model != target.cpu_model:
        found.append(
            _only_live(
                "cpu_model",
                f"{target} has another processor ({target.cpu_model or 'unknown'}, "
                f"not {source.cpu_model or 'unknown'}).",
            )
        )
    for name, word in (("libvirt_version", "libvirt"), ("hypervisor_version", "QEMU")):
        here, there = getattr(source, name), getattr(target, name)
        if _numbers(there) < _numbers(here):
            found.append(
                _only_live(
                    "older_software",
                    f"{target} has {word} {there or 'unknown'}, which is older than the {here} "
                    "here. Upgrade it first.",
                )
            )
    if _kind(source) != _kind(target):
        found.append(_only_live("other_kind", f"{target} is not reached in the same way."))
    if not address:
        found.append(
            _only_live(
                "no_address",
                f"Nobody has said where {target} is reached by other hosts. "
                "Set its address for moves on the host's page.",
            )
        )
    return found


def _only_live(code: str, message: str) -> Obstacle:
    return Obstacle(code, f"{message} It can be moved offline.", stops_offline=False)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _kind(host: Host) -> str:
    return host.uri.partition(":")[0].partition("+")[0]


# --- where it is ------------------------------------------------------------------


class Place(enum.Enum):
    """Where a guest is that may have been on its way."""

    SOURCE = "it runs where it was"
    TARGET = "it has arrived"
    STRANDED = "it was paused to leave, and did not arrive"
    STOPPED = "it is off where it was"
    UNDECIDED = "it is on its way, or the hosts are still clearing up"
    UNCLEAR = "it is off on both hosts, and the old one has forgotten why"
    BOTH = "it runs on both hosts"
    NOWHERE = "neither host has it"


class _Half(enum.Enum):
    GONE = enum.auto()
    OFF = enum.auto()
    LEFT = enum.auto()
    FORGOTTEN = enum.auto()
    RUNS = enum.auto()
    PAUSED = enum.auto()  # to leave, or to arrive
    UNKNOWN = enum.auto()


_THERE_IT_RUNS = {
    _Half.RUNS: Place.BOTH,
    _Half.UNKNOWN: Place.UNDECIDED,
}
_THERE_IT_IS_OFF = {
    _Half.RUNS: Place.SOURCE,
    _Half.PAUSED: Place.STRANDED,
    _Half.OFF: Place.STOPPED,
    _Half.LEFT: Place.TARGET,  # and has stopped there since
    _Half.FORGOTTEN: Place.UNCLEAR,
    _Half.UNKNOWN: Place.UNDECIDED,
    _Half.GONE: Place.NOWHERE,
}


def whereabouts(here: DomainSeen | None, there: DomainSeen | None) -> Place:
    """Where the guest is, from what its old and its new host say of it.

    Nobody but the two of them knows: a worker that was killed while it moved
    a guest has written nothing down.
    """
    old, new = _half(here), _half(there)
    if new is _Half.RUNS:
        return _THERE_IT_RUNS.get(old, Place.TARGET)
    if new in (_Half.PAUSED, _Half.UNKNOWN):
        return Place.UNDECIDED
    if new is _Half.GONE and old is _Half.LEFT:
        return Place.NOWHERE
    return _THERE_IT_IS_OFF[old]


def _half(seen: DomainSeen | None) -> _Half:
    if seen is None:
        return _Half.GONE
    if seen.power in (Power.OFF, Power.CRASHED):
        if seen.moved_away is None:
            return _Half.FORGOTTEN
        return _Half.LEFT if seen.moved_away else _Half.OFF
    if seen.power is Power.UNKNOWN or seen.phantom:
        return _Half.UNKNOWN
    return _Half.PAUSED if seen.between else _Half.RUNS
