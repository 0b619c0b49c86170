"""Where a new guest goes: a pure choice among candidates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Need:
    """What a guest takes of a host."""

    vcpus: int
    memory_mib: int
    disk_gib: int

    def is_within(self, room: Need) -> bool:
        """True if the room is at least as large in every way."""
        return (
            self.vcpus <= room.vcpus
            and self.memory_mib <= room.memory_mib
            and self.disk_gib <= room.disk_gib
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a host, with one of its pools, still has."""

    host_id: int
    pool_id: int
    vcpus_free: int
    memory_free_mib: int
    memory_limit_mib: int
    disk_free_gib: int
    has_image: bool = False

    def fits(self, need: Need) -> bool:
        """True if the whole need fits."""
        return need.is_within(Need(self.vcpus_free, self.memory_free_mib, self.disk_free_gib))

    def score(self) -> tuple[bool, float, int]:
        """Sort key, best last: an image at hand first, then the larger share of free memory."""
        share = self.memory_free_mib / self.memory_limit_mib if self.memory_limit_mib else 0.0
        return (self.has_image, share, -self.host_id)


def rank(candidates: Iterable[Candidate], need: Need) -> list[Candidate]:
    """The candidates that fit, best first."""
    fitting = [candidate for candidate in candidates if candidate.fits(need)]
    return sorted(fitting, key=Candidate.score, reverse=True)


def pick(candidates: Iterable[Candidate], need: Need) -> Candidate | None:
    """The best candidate, or None if none fits."""
    return next(iter(rank(candidates, need)), None)
