"""Room on a second host, held beside the first while an owner moves; and how hosts reach it.

The second claim has an owner of its own, a UUID that the move makes up, so the
counters are sums of claims at every moment and either claim can go back alone.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction
from django.db.models import F

from hosts.models import CapacityClaim, Host, Image, StoragePool
from hosts.placement import Candidate, Need, rank
from hosts.room import best
from hosts.services import claim_in, release_capacity


def is_same_storage(here: StoragePool, there: StoragePool) -> bool:
    """Whether the files of one pool lie in the other one, too."""
    return bool(here.shared_id) and here.shared_id == there.shared_id


def hold_beside(owner: UUID, held_by: UUID, pool_id: int) -> CapacityClaim:
    """Hold for `held_by`, in that pool and on its host, as much as `owner` has where it is.

    A disk on storage that both hosts see takes no more room. The pool and the
    host must be taking new guests. Must run inside the transaction that wants
    it. Raises `NoCapacity`.
    """
    claim = CapacityClaim.objects.select_related("pool").get(owner=owner)
    pool = StoragePool.objects.get(pk=pool_id)
    disk_gib = 0 if is_same_storage(claim.pool, pool) else claim.disk_gib
    need = Need(claim.vcpus, claim.memory_mib, disk_gib)
    return claim_in(pool, held_by, need, spread=claim.spread)


def places_elsewhere(owner: UUID, tags: frozenset[str], image: Image) -> list[Candidate]:
    """Where a disk made from `image` could take the owner's place, best first. Two queries."""
    claim = CapacityClaim.objects.select_related("host__location").get(owner=owner)
    need = Need(claim.vcpus, claim.memory_mib, claim.disk_gib, tags)
    found = best(claim.host.location, need, image=image, spread=claim.spread)
    return rank([one for one in found if one.host_id != claim.host_id], need)


def take_over(owner: UUID, held_by: UUID) -> bool:
    """What was held for `held_by` is `owner`'s from now on, and what it had goes back.

    False if that has happened before.
    """
    with transaction.atomic():
        held = CapacityClaim.objects.filter(owner=held_by).first()
        if held is None:
            return False
        disk_gib = CapacityClaim.objects.get(owner=owner).disk_gib
        release_capacity(owner)
        # Of a shared disk nothing was held: from now on it is counted where its owner is.
        StoragePool.objects.filter(pk=held.pool_id).update(
            used_gib=F("used_gib") + disk_gib - held.disk_gib
        )
        mine = CapacityClaim.objects.filter(owner=held_by)
        return bool(mine.update(owner=owner, disk_gib=disk_gib))


def move_address(host: Host) -> str:
    """Where running guests are sent to, to reach this host; "" if nobody has said where."""
    parts = urlsplit(host.uri)
    if parts.scheme == "fake":
        return host.name  # nothing is sent
    return host.move_address or parts.hostname or ""
