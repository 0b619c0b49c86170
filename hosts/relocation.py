"""What an owner holds of one host, held of another that sees the same storage.

Its disk is there already, so only CPUs and memory need room; the disk is
counted where its claim is.
"""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from hosts.errors import NoCapacity
from hosts.models import CapacityClaim, Host, StoragePool
from hosts.placement import Candidate, Need, rank
from hosts.room import best


def places_beside(owner: UUID, tags: frozenset[str]) -> list[Candidate]:
    """Where else the owner could run from the storage that it is on, best first. Two queries."""
    claim = CapacityClaim.objects.select_related("pool__host__location").get(owner=owner)
    need = Need(claim.vcpus, claim.memory_mib, 0, tags)
    location = claim.pool.host.location
    return rank(best(location, need, spread=claim.spread, beside=claim.pool), need)


def move_claim(owner: UUID, pool: StoragePool) -> None:
    """Let the owner hold all of it on that pool's host. Raises `NoCapacity` if it has no room.

    Must run inside the transaction that wants it.
    """
    claim = CapacityClaim.objects.get(owner=owner)
    taken = Host.objects.filter(
        pk=pool.host_id,
        vcpus_used__lte=F("vcpus_limit") - claim.vcpus,
        memory_used_mib__lte=F("memory_limit_mib") - claim.memory_mib,
    ).update(
        vcpus_used=F("vcpus_used") + claim.vcpus,
        memory_used_mib=F("memory_used_mib") + claim.memory_mib,
    )
    if not taken:
        raise NoCapacity(f"no room for {claim} on {pool}")
    _move(claim, pool)


def return_claim(owner: UUID, pool: StoragePool) -> None:
    """The way back of `move_claim`, also to a host that is full. Safe to call twice."""
    with transaction.atomic():
        claim = CapacityClaim.objects.get(owner=owner)
        if claim.pool_id == pool.pk:
            return
        Host.objects.filter(pk=pool.host_id).update(
            vcpus_used=F("vcpus_used") + claim.vcpus,
            memory_used_mib=F("memory_used_mib") + claim.memory_mib,
        )
        _move(claim, pool)


def _move(claim: CapacityClaim, pool: StoragePool) -> None:
    """The claim is on the new host, whose CPUs and memory are counted already."""
    as_read = CapacityClaim.objects.filter(
        pk=claim.pk, pool_id=claim.pool_id, vcpus=claim.vcpus, memory_mib=claim.memory_mib
    )
    try:
        with transaction.atomic():
            moved = as_read.update(host_id=pool.host_id, pool=pool)
    except IntegrityError as error:
        raise NoCapacity(f"a server of the same spread group is on {pool}") from error
    if not moved:
        raise NoCapacity(f"{claim} was changed at the same moment")
    StoragePool.objects.filter(pk=pool.pk).update(used_gib=F("used_gib") + claim.disk_gib)
    StoragePool.objects.filter(pk=claim.pool_id).update(used_gib=F("used_gib") - claim.disk_gib)
    Host.objects.filter(pk=claim.host_id).update(
        vcpus_used=F("vcpus_used") - claim.vcpus,
        memory_used_mib=F("memory_used_mib") - claim.memory_mib,
    )
