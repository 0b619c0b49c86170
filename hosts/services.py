"""What may be done to the machine room's records.

Capacity and addresses change hands here only. Every change is one
conditional UPDATE whose row count is looked at, so it is right on SQLite and
PostgreSQL alike, and giving back twice gives back once. Callers that take or
give back several things do so in this order, so that two transactions never
wait for each other: capacity (the pool, then its host), IPv4, IPv6.
"""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol
from uuid import UUID

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q
from django.utils import timezone

from hosts.errors import NoAddress, NoCapacity
from hosts.models import (
    CapacityClaim,
    Family,
    Host,
    Image,
    IPAddress,
    IPPool,
    Location,
    StoragePool,
)
from hosts.placement import Need, rank
from hosts.room import best
from hosts.taking import take_best

ROUNDS = 50  # each in which others were quicker has sold something


def claim_capacity(
    owner: UUID,
    need: Need,
    *,
    location: Location,
    image: Image | None = None,
    spread: UUID | None = None,
) -> CapacityClaim:
    """Hold `need` on the best host of the location for `owner`.

    With `spread`, on a host that no other claim of that spread is on. Must run
    inside the transaction of the order. Raises `NoCapacity`.
    """
    # Orders that come at once all see the same best host. Each first takes the best one that nobody
    # else is just taking; only when all that fit are busy does it wait for its turn.
    if connection.vendor == "postgresql":
        claim = take_best(owner, need, location, image, spread)
        if claim is not None:
            return claim
    for _ in range(ROUNDS):
        found = rank(best(location, need, image=image, spread=spread), need)
        for candidate in found:
            with contextlib.suppress(_NoRoom), transaction.atomic():
                return _claim_on(candidate, owner, need, spread)
        if not found:
            break
    raise NoCapacity(f"no host in {location} has room for {need}")


def claim_in(
    pool: StoragePool, owner: UUID, need: Need, *, spread: UUID | None = None
) -> CapacityClaim:
    """Hold `need` in that pool and on its host for `owner`.

    Both must be taking new guests. Must run inside the transaction that wants
    it. Raises `NoCapacity`.
    """
    try:
        with transaction.atomic():
            return _claim_on(_Exactly(pool.host_id, pool.pk), owner, need, spread)
    except _NoRoom:
        raise NoCapacity(f"{pool} has no room for {need}") from None


class _Place(Protocol):
    """A host with one of its pools."""

    @property
    def host_id(self) -> int: ...
    @property
    def pool_id(self) -> int: ...


class _Exactly(NamedTuple):
    """A place that was not chosen by placement."""

    host_id: int
    pool_id: int


class _NoRoom(Exception):
    """Somebody else took it since the candidates were looked at."""


@contextlib.contextmanager
def _spread_taken_is_no_room() -> Iterator[None]:
    """Turn the refusal of a second claim of the spread on a host into `_NoRoom`."""
    try:
        yield
    except IntegrityError as error:
        if "claim_spread" in str(error) or "capacityclaim.spread" in str(error):
            raise _NoRoom from error
        raise


def _claim_on(candidate: _Place, owner: UUID, need: Need, spread: UUID | None) -> CapacityClaim:
    """Room on this host, with its claim. Raises `_NoRoom`.

    Runs in a savepoint: rolling back lets go of the rows, also on PostgreSQL. Who tries the hosts
    in another order must not wait for one that was only tried.
    """
    _take_room(candidate, need)
    with _spread_taken_is_no_room():
        return CapacityClaim.objects.create(
            owner=owner,
            host_id=candidate.host_id,
            pool_id=candidate.pool_id,
            vcpus=need.vcpus,
            memory_mib=need.memory_mib,
            disk_gib=need.disk_gib,
            spread=spread,
        )


def _take_room(candidate: _Place, need: Need) -> None:
    """Raise the counters of pool and host. Raises `_NoRoom` unless both still have room."""
    taken = StoragePool.objects.filter(
        pk=candidate.pool_id, accepting=True, used_gib__lte=F("limit_gib") - need.disk_gib
    ).update(used_gib=F("used_gib") + need.disk_gib)
    if not taken:
        raise _NoRoom
    taken = Host.objects.filter(
        pk=candidate.host_id,
        accepting=True,
        vcpus_used__lte=F("vcpus_limit") - need.vcpus,
        memory_used_mib__lte=F("memory_limit_mib") - need.memory_mib,
    ).update(
        vcpus_used=F("vcpus_used") + need.vcpus,
        memory_used_mib=F("memory_used_mib") + need.memory_mib,
    )
    if not taken:
        raise _NoRoom


def _give_room(host_id: int, pool_id: int, need: Need) -> None:
    StoragePool.objects.filter(pk=pool_id).update(used_gib=F("used_gib") - need.disk_gib)
    Host.objects.filter(pk=host_id).update(
        vcpus_used=F("vcpus_used") - need.vcpus,
        memory_used_mib=F("memory_used_mib") - need.memory_mib,
    )


def release_capacity(owner: UUID) -> bool:
    """Give back what `owner` holds; False if it held nothing (so: safe to call twice)."""
    with transaction.atomic():
        claim = CapacityClaim.objects.filter(owner=owner).first()
        if claim is None or not CapacityClaim.objects.filter(pk=claim.pk).delete()[0]:
            return False
        need = Need(claim.vcpus, claim.memory_mib, claim.disk_gib)
        _give_room(claim.host_id, claim.pool_id, need)
        return True


def take_spread(owner: UUID, spread: UUID) -> bool:
    """Hold the claim of `owner` apart from others of `spread`; False if one is on its host."""
    try:
        with transaction.atomic():
            return bool(CapacityClaim.objects.filter(owner=owner).update(spread=spread))
    except IntegrityError:
        return False


def leave_spread(owner: UUID) -> None:
    """Hold it apart from nobody any more."""
    CapacityClaim.objects.filter(owner=owner).update(spread=None)


def grow_claim(owner: UUID, need: Need) -> None:
    """Let `owner` hold at least `need`, on the host and pool where it is.

    Of a host that takes no new guests as well. Must run inside the transaction
    that wants it. Raises `NoCapacity`.
    """
    claim = CapacityClaim.objects.get(owner=owner)
    wanted = Need(
        max(claim.vcpus, need.vcpus),
        max(claim.memory_mib, need.memory_mib),
        max(claim.disk_gib, need.disk_gib),
    )
    more = _difference(wanted, claim)
    with transaction.atomic():
        taken = StoragePool.objects.filter(
            pk=claim.pool_id, used_gib__lte=F("limit_gib") - more.disk_gib
        ).update(used_gib=F("used_gib") + more.disk_gib)
        taken = taken and Host.objects.filter(
            pk=claim.host_id,
            vcpus_used__lte=F("vcpus_limit") - more.vcpus,
            memory_used_mib__lte=F("memory_limit_mib") - more.memory_mib,
        ).update(
            vcpus_used=F("vcpus_used") + more.vcpus,
            memory_used_mib=F("memory_used_mib") + more.memory_mib,
        )
        if not taken or not _rewrite(claim, wanted):
            raise NoCapacity(f"no room for {more} more beside {claim}")


def settle_claim(owner: UUID, need: Need) -> None:
    """Let `owner` hold no more than `need`; the rest goes back. Safe to call twice."""
    with transaction.atomic():
        claim = CapacityClaim.objects.get(owner=owner)
        kept = Need(
            min(claim.vcpus, need.vcpus),
            min(claim.memory_mib, need.memory_mib),
            min(claim.disk_gib, need.disk_gib),
        )
        if _rewrite(claim, kept):
            less = _difference(kept, claim)
            _give_room(
                claim.host_id, claim.pool_id, Need(-less.vcpus, -less.memory_mib, -less.disk_gib)
            )


def _difference(need: Need, claim: CapacityClaim) -> Need:
    return Need(
        need.vcpus - claim.vcpus,
        need.memory_mib - claim.memory_mib,
        need.disk_gib - claim.disk_gib,
    )


def _rewrite(claim: CapacityClaim, need: Need) -> bool:
    """Give the claim another size; False if somebody has changed it since it was read."""
    as_read = CapacityClaim.objects.filter(
        pk=claim.pk, vcpus=claim.vcpus, memory_mib=claim.memory_mib, disk_gib=claim.disk_gib
    )
    return bool(
        as_read.update(vcpus=need.vcpus, memory_mib=need.memory_mib, disk_gib=need.disk_gib)
    )


def room_of(owner: UUID) -> Need:
    """The most that `grow_claim` would let `owner` hold at this moment; takes nothing."""
    claim = CapacityClaim.objects.select_related("host", "pool").get(owner=owner)
    host, pool = claim.host, claim.pool
    return Need(
        claim.vcpus + host.vcpus_limit - host.vcpus_used,
        claim.memory_mib + host.memory_limit_mib - host.memory_used_mib,
        claim.disk_gib + pool.limit_gib - pool.used_gib,
    )


def take_address(owner: UUID, *, location: Location, family: Family) -> IPAddress:
    """An address of the location, for `owner` alone: a rested one first, else a never used one.

    Must run inside the transaction of the order. Raises `NoAddress`.
    """
    pools = IPPool.objects.filter(location=location, family=family, accepting=True)
    for pool in pools:
        address = _take_rested(pool, owner) or _take_new(pool, owner)
        if address is not None:
            return address
    raise NoAddress(f"no free {Family(family).label} address in {location}")


def _take_rested(pool: IPPool, owner: UUID) -> IPAddress | None:
    """A freed address whose quarantine is over, oldest first."""
    now = timezone.now()
    rested = IPAddress.objects.filter(
        Q(free_after__lte=now) | Q(free_after__isnull=True), pool=pool, owner__isnull=True
    )
    while (
        pk := rested.order_by("free_after", "pk").values_list("pk", flat=True).first()
    ) is not None:
        if rested.filter(pk=pk).update(owner=owner, taken_at=now, free_after=None):
            return IPAddress.objects.get(pk=pk)
    return None


def _take_new(pool: IPPool, owner: UUID) -> IPAddress | None:
    """The next address that nobody ever had, past those that staff entered by hand."""
    while True:
        index = IPPool.objects.values_list("next_index", flat=True).get(pk=pool.pk)
        if index > pool.last_index:
            return None
        if not IPPool.objects.filter(pk=pool.pk, next_index=index).update(next_index=index + 1):
            continue
        address, created = IPAddress.objects.get_or_create(
            address=address_at(pool, index),
            defaults={
                "pool": pool,
                "family": pool.family,
                "owner": owner,
                "taken_at": timezone.now(),
            },
        )
        if created:
            return address


def address_at(pool: IPPool, index: int) -> str:
    """The `index`-th IPv4 address of the pool, or its `index`-th /64 in CIDR form."""
    network = ipaddress.ip_network(pool.network)
    if pool.family == Family.V4:
        return str(network[index])
    base = int(network.network_address) + (index << 64)
    return str(ipaddress.IPv6Network((base, 64)))


def free_addresses(owner: UUID) -> int:
    """Give back every address of `owner` into quarantine; how many there were."""
    held = IPAddress.objects.filter(owner=owner).select_related("pool")
    return sum(_free(address, owner) for address in held)


def free_address(pk: int, owner: UUID) -> bool:
    """Give back one address into quarantine; False if `owner` does not hold it."""
    held = IPAddress.objects.filter(pk=pk, owner=owner).select_related("pool")
    return any(_free(address, owner) for address in held)


def _free(address: IPAddress, owner: UUID) -> int:
    return IPAddress.objects.filter(pk=address.pk, owner=owner).update(
        owner=None, taken_at=None, free_after=timezone.now() + address.pool.quarantine
    )


def hand_over_address(pk: int, holder: UUID, to: UUID) -> bool:
    """The address belongs to `to` from now on; False if `holder` does not hold it."""
    return bool(IPAddress.objects.filter(pk=pk, owner=holder).update(owner=to))


def addresses_left(locations: Iterable[Location]) -> dict[tuple[int, int], bool]:
    """For each (location id, family): whether an order would get an address now. Two queries."""
    now = timezone.now()
    left: dict[tuple[int, int], bool] = {}
    pools = list(IPPool.objects.filter(location__in=list(locations), accepting=True))
    rested = set(
        IPAddress.objects.filter(
            Q(free_after__lte=now) | Q(free_after__isnull=True), pool__in=pools, owner__isnull=True
        )
        .values_list("pool_id", flat=True)
        .distinct()
    )
    for pool in pools:
        key = (pool.location_id, pool.family)
        has = pool.next_index <= pool.last_index or pool.pk in rested
        left[key] = left.get(key, False) or has
    return left
