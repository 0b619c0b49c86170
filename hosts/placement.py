"""Where a new guest goes: a pure choice among candidates, and the reasons for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

# What a host is worth, in points. An image at hand outweighs everything: the guest is built at
# once. Then comes the share that is free, memory first, for it cannot be shared as CPUs can.
IMAGE_POINTS, MEMORY_POINTS, CPU_POINTS, DISK_POINTS = 100.0, 50.0, 25.0, 25.0


def tags_of(text: str) -> frozenset[str]:
    """The words of a column of tags."""
    return frozenset(text.split())


def tag_column(text: str) -> str:
    """The words with a space on both sides of each, so that the database finds whole ones."""
    words = sorted(tags_of(text.replace(",", " ").lower()))
    return f" {' '.join(words)} " if words else ""


@dataclass(frozen=True, slots=True)
class Need:
    """What a guest takes of a host, and what the host must be."""

    vcpus: int
    memory_mib: int
    disk_gib: int
    tags: frozenset[str] = frozenset()

    def is_within(self, room: Need) -> bool:
        """True if the room is at least as large in every way."""
        return (
            self.vcpus <= room.vcpus
            and self.memory_mib <= room.memory_mib
            and self.disk_gib <= room.disk_gib
        )


@dataclass(frozen=True, slots=True)
class Points:
    """Why a candidate is better than another."""

    image: float
    memory: float
    cpu: float
    disk: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.image + self.memory + self.cpu + self.disk


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a host, with one of its pools, still has.

    `closed` says why it takes nothing at all now: not accepting, unreachable …
    """

    host_id: int
    pool_id: int
    vcpus_free: int
    memory_free_mib: int
    memory_limit_mib: int
    disk_free_gib: int
    has_image: bool = False
    vcpus_limit: int = 0
    disk_limit_gib: int = 0
    tags: frozenset[str] = frozenset()
    tagged_only: bool = False
    name: str = ""
    closed: tuple[str, ...] = ()

    def fits(self, need: Need) -> bool:
        """True if it is open and the whole need fits."""
        return not self.closed and self._suits(need) and self.room_for(need) > 0

    def _suits(self, need: Need) -> bool:
        return need.tags <= self.tags and not (self.tagged_only and not need.tags & self.tags)

    def room_for(self, need: Need) -> int:
        """How many such guests there is room for."""
        return max(
            0,
            min(
                _times(self.vcpus_free, need.vcpus),
                _times(self.memory_free_mib, need.memory_mib),
                _times(self.disk_free_gib, need.disk_gib),
            ),
        )

    def points(self) -> Points:
        """What it is worth."""
        return Points(
            IMAGE_POINTS * self.has_image,
            MEMORY_POINTS * _share(self.memory_free_mib, self.memory_limit_mib),
            CPU_POINTS * _share(self.vcpus_free, self.vcpus_limit),
            DISK_POINTS * _share(self.disk_free_gib, self.disk_limit_gib),
        )

    def score(self) -> tuple[float, int]:
        """Sort key, best last; equals are taken in a fixed order."""
        return (self.points().total, -self.host_id)

    def refusals(self, need: Need) -> list[str]:
        """Why not this one: a sentence for each reason, none if it fits."""
        said = list(self.closed)
        if lacking := need.tags - self.tags:
            said.append(f"It is not tagged {', '.join(sorted(lacking))}.")
        if self.tagged_only and not need.tags & self.tags:
            said.append(f"It is kept for plans tagged {', '.join(sorted(self.tags)) or 'nothing'}.")
        for free, wanted, unit in (
            (self.vcpus_free, need.vcpus, "vCPUs"),
            (self.memory_free_mib, need.memory_mib, "MiB of memory"),
            (self.disk_free_gib, need.disk_gib, "GiB of disk"),
        ):
            if wanted > free:
                said.append(f"{free} {unit} are free, {wanted} are needed.")
        return said


def _times(free: int, wanted: int) -> int:
    """How often; a need of nothing fits once at least wherever nothing is owed."""
    if wanted <= 0:
        return free + 1
    return free // wanted


def _share(free: int, limit: int) -> float:
    return free / limit if limit else 0.0


def rank(candidates: Iterable[Candidate], need: Need) -> list[Candidate]:
    """The candidates that fit, best first."""
    fitting = [candidate for candidate in candidates if candidate.fits(need)]
    return sorted(fitting, key=Candidate.score, reverse=True)


def pick(candidates: Iterable[Candidate], need: Need) -> Candidate | None:
    """The best candidate, or None if none fits."""
    return next(iter(rank(candidates, need)), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A candidate and what was thought of it; `refusals` is empty if it fits."""

    candidate: Candidate
    points: Points
    refusals: list[str]


def explain(candidates: Iterable[Candidate], need: Need) -> list[Verdict]:
    """Every candidate: those that fit as they would be taken, then the others by their points."""
    verdicts = [Verdict(one, one.points(), one.refusals(need)) for one in candidates]
    return sorted(verdicts, key=lambda v: (not v.refusals, v.candidate.score()), reverse=True)


def how_many(candidates: Iterable[Candidate], need: Need) -> int:
    """How many such guests fit in all. The pools of a host share its CPUs and memory."""
    pools: dict[int, list[Candidate]] = defaultdict(list)
    for candidate in candidates:
        if candidate.fits(need):
            pools[candidate.host_id].append(candidate)
    return sum(_on_host(of_host, need) for of_host in pools.values())


def _on_host(pools: list[Candidate], need: Need) -> int:
    any_pool = pools[0]
    on_cpus = _times(any_pool.vcpus_free, need.vcpus)
    in_memory = _times(any_pool.memory_free_mib, need.memory_mib)
    return min(on_cpus, in_memory, sum(_times(pool.disk_free_gib, need.disk_gib) for pool in pools))
