"""Room on a second host, held beside the first while an owner moves; and how hosts reach it.

The second claim has an owner of its own, a UUID that the move makes up, so the
counters are sums of claims at every moment and either claim can go back alone.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from django.db import transaction

from hosts.models import CapacityClaim, Host, StoragePool
from hosts.placement import Need
from hosts.services import claim_in, release_capacity


def hold_beside(owner: UUID, held_by: UUID, pool_id: int) -> CapacityClaim:
    """Hold for `held_by`, in that pool and on its host, as much as `owner` has where it is.

    The pool and the host must be taking new guests. Must run inside the
    transaction that wants it. Raises `NoCapacity`.
    """
    claim = CapacityClaim.objects.get(owner=owner)
    pool = StoragePool.objects.get(pk=pool_id)
    need = Need(claim.vcpus, claim.memory_mib, claim.disk_gib)
    return claim_in(pool, held_by, need, spread=claim.spread)


def take_over(owner: UUID, held_by: UUID) -> bool:
    """What was held for `held_by` is `owner`'s from now on, and what it had goes back.

    False if that has happened before.
    """
    with transaction.atomic():
        if not CapacityClaim.objects.filter(owner=held_by).exists():
            return False
        release_capacity(owner)
        return bool(CapacityClaim.objects.filter(owner=held_by).update(owner=owner))


def move_address(host: Host) -> str:
    """Where running guests are sent to, to reach this host; "" if nobody has said where."""
    parts = urlsplit(host.uri)
    if parts.scheme == "fake":
        return host.name  # nothing is sent
    return host.move_address or parts.hostname or ""
