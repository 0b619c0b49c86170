"""Room on a second host, held beside the first while an owner moves; and how hosts reach it.

The second claim has an owner of its own, a UUID that the move makes up, so the
counters are sums of claims at every moment and either claim can go back alone.
"""

from __future__ import annotations

from urllib.parse import urlsplit
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F

from hosts.errors import NoCapacity
from hosts.models import CapacityClaim, Host, StoragePool
from hosts.services import release_capacity


def hold_beside(owner: UUID, held_by: UUID, pool_id: int) -> CapacityClaim:
    """Hold for `held_by`, in that pool and on its host, as much as `owner` has where it is.

    The pool and the host must be taking new guests. Must run inside the
    transaction that wants it. Raises `NoCapacity`.
    """
    claim = CapacityClaim.objects.get(owner=owner)
    pool = StoragePool.objects.get(pk=pool_id)
    with transaction.atomic():
        taken = StoragePool.objects.filter(
            pk=pool.pk, accepting=True, used_gib__lte=F("limit_gib") - claim.disk_gib
        ).update(used_gib=F("used_gib") + claim.disk_gib)
        taken = taken and Host.objects.filter(
            pk=pool.host_id,
            accepting=True,
            vcpus_used__lte=F("vcpus_limit") - claim.vcpus,
            memory_used_mib__lte=F("memory_limit_mib") - claim.memory_mib,
        ).update(
            vcpus_used=F("vcpus_used") + claim.vcpus,
            memory_used_mib=F("memory_used_mib") + claim.memory_mib,
        )
        if not taken:
            raise NoCapacity(f"no room for {claim} in {pool}")
        return _copy(claim, held_by, pool)


def _copy(claim: CapacityClaim, held_by: UUID, pool: StoragePool) -> CapacityClaim:
    try:
        with transaction.atomic():
            return CapacityClaim.objects.create(
                owner=held_by,
                host_id=pool.host_id,
                pool=pool,
                vcpus=claim.vcpus,
                memory_mib=claim.memory_mib,
                disk_gib=claim.disk_gib,
                spread=claim.spread,
            )
    except IntegrityError as error:
        raise NoCapacity(f"a server of the same spread group is on the host of {pool}") from error


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
