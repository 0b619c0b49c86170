"""What room the records say there is: rows become candidates for `placement`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import (
    BooleanField,
    Exists,
    ExpressionWrapper,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Value,
)
from django.db.models.expressions import Case, When
from django.db.models.functions import Cast, Greatest

from hosts.models import CapacityClaim, HostStatus, Image, Location, StagedImage, StoragePool
from hosts.placement import (
    CPU_POINTS,
    DISK_POINTS,
    IMAGE_POINTS,
    MEMORY_POINTS,
    Candidate,
    Need,
    tags_of,
)

AT_ONCE = 24  # the best hosts are looked at closely; in a large fleet the rest need not be read
OPEN = Q(
    accepting=True,
    host__accepting=True,
    host__location__accepting=True,
    host__status=HostStatus.REACHABLE,
)
APART = "A server of the same spread group is there."
COLUMNS = (
    "host_id",
    "pk",
    "host__vcpus_limit",
    "host__vcpus_used",
    "host__memory_limit_mib",
    "host__memory_used_mib",
    "limit_gib",
    "used_gib",
    "has_image",
    "host__tags",
    "host__tagged_only",
)


def candidates(location: Location | None = None, image: Image | None = None) -> list[Candidate]:
    """Every accepting, reachable host with each of its accepting pools. One query."""
    pools = StoragePool.objects.filter(OPEN)
    if location is not None:
        pools = pools.filter(host__location=location)
    return _read(_with_image(pools, image))


def best(
    location: Location,
    need: Need,
    *,
    image: Image | None = None,
    spread: UUID | None = None,
    beside: StoragePool | None = None,
) -> list[Candidate]:
    """The best of those that have room for `need`, at most `AT_ONCE`. One query.

    The order is that of `Candidate.score`, done by the database. Hosts with a
    claim of the same spread are left out. `beside` leaves only other hosts that
    see the storage of that pool.
    """
    pools = StoragePool.objects.filter(
        OPEN,
        host__location=location,
        host__vcpus_used__lte=F("host__vcpus_limit") - need.vcpus,
        host__memory_used_mib__lte=F("host__memory_limit_mib") - need.memory_mib,
        used_gib__lte=F("limit_gib") - need.disk_gib,
    )
    if beside is not None:
        pools = pools.filter(seen_from_elsewhere(beside))
    if spread is not None:
        pools = pools.exclude(Exists(_of_spread(spread)))
    for tag in need.tags:
        pools = pools.filter(host__tags__contains=f" {tag} ")  # as `tag_column` writes them
    if not need.tags:
        pools = pools.filter(host__tagged_only=False)
    ordered = _with_image(pools, image).order_by(_points().desc(), "host_id")
    return _read(ordered[:AT_ONCE])


def seen_from_elsewhere(pool: StoragePool) -> Q:
    """The pools of like hosts in which the files of this one lie, under the same paths.

    A disk names the image that it stands on by its path, and a guest of a host
    with KVM does not go where it would be emulated. None if the pool is not shared.
    """
    if not pool.shared_id:
        return Q(pk__in=())
    same = Q(shared_id=pool.shared_id, path=pool.path, host__virt_type=pool.host.virt_type)
    return same & ~Q(host=pool.host_id)


def everybody(
    location: Location, image: Image | None = None, spread: UUID | None = None
) -> list[Candidate]:
    """Every host of the location with each of its pools, and why some are closed. Two queries."""
    pools = StoragePool.objects.filter(host__location=location).select_related("host__location")
    taken: set[int] = set()
    if spread is not None:
        taken = set(CapacityClaim.objects.filter(spread=spread).values_list("host_id", flat=True))
    return [
        _candidate(
            pool.host_id,
            pool.pk,
            pool.host.vcpus_limit,
            pool.host.vcpus_used,
            pool.host.memory_limit_mib,
            pool.host.memory_used_mib,
            pool.limit_gib,
            pool.used_gib,
            pool.has_image,
            pool.host.tags,
            pool.host.tagged_only,
            name=f"{pool.host.name}, pool {pool.name}",
            closed=_why_closed(pool, taken),
        )
        for pool in _with_image(pools, image)
    ]


def _why_closed(pool: StoragePool, taken: set[int]) -> tuple[str, ...]:
    host = pool.host
    reasons = (
        (not host.location.accepting, f"{host.location} takes no new orders."),
        (not host.accepting, "The host takes no new servers."),
        (not pool.accepting, "The pool takes no new disks."),
        (
            host.status != HostStatus.REACHABLE,
            f"The host is {host.get_status_display()}: {host.status_reason or 'not asked yet'}.",
        ),
        (host.pk in taken, APART),
    )
    return tuple(sentence for holds, sentence in reasons if holds)


def _of_spread(spread: UUID) -> QuerySet[CapacityClaim]:
    return CapacityClaim.objects.filter(spread=spread, host_id=OuterRef("host_id"))


def _with_image(pools: QuerySet[StoragePool], image: Image | None) -> QuerySet[Any]:
    has: Any = Value(False, output_field=BooleanField())
    if image is not None and image.sha256:
        has = Exists(StagedImage.objects.filter(pool_id=OuterRef("pk"), sha256=image.sha256))
    return pools.annotate(has_image=has)


def _points() -> Any:
    """`Candidate.points().total` as the database computes it."""
    image = Case(When(has_image=True, then=Value(IMAGE_POINTS)), default=Value(0.0))
    return (
        image
        + _share("host__memory_limit_mib", "host__memory_used_mib", MEMORY_POINTS)
        + _share("host__vcpus_limit", "host__vcpus_used", CPU_POINTS)
        + _share("limit_gib", "used_gib", DISK_POINTS)
    )


def _share(limit: str, used: str, points: float) -> Any:
    free = Cast(F(limit) - F(used), FloatField())
    whole = Cast(Greatest(F(limit), Value(1)), FloatField())
    return ExpressionWrapper(Value(points) * free / whole, output_field=FloatField())


def _read(pools: QuerySet[Any]) -> list[Candidate]:
    return [_candidate(*row) for row in pools.values_list(*COLUMNS)]


def _candidate(
    host_id: int,
    pool_id: int,
    vcpus_limit: int,
    vcpus_used: int,
    memory_limit_mib: int,
    memory_used_mib: int,
    limit_gib: int,
    used_gib: int,
    has_image: bool,
    tags: str,
    tagged_only: bool,
    *,
    name: str = "",
    closed: tuple[str, ...] = (),
) -> Candidate:
    return Candidate(
        host_id=host_id,
        pool_id=pool_id,
        vcpus_free=vcpus_limit - vcpus_used,
        memory_free_mib=memory_limit_mib - memory_used_mib,
        memory_limit_mib=memory_limit_mib,
        disk_free_gib=limit_gib - used_gib,
        has_image=has_image,
        vcpus_limit=vcpus_limit,
        disk_limit_gib=limit_gib,
        tags=tags_of(tags),
        tagged_only=tagged_only,
        name=name,
        closed=closed,
    )
