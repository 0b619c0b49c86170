"""Taking a base image away from a storage where nothing needs it.

The order keeps every disk on its base, whatever dies or comes in between. The
turn of the image is taken, so nobody brings it there meanwhile. The record
goes: from now on nobody builds on it without a turn, and who has just done so
notices (`staging.create_overlay`). Then the records are asked who needs it,
and every host that sees the storage. Only then does the file go; otherwise the
record comes back. Whoever dies leaves at worst a file without a record, and
its turn as a note of that (`adopt_leftovers`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime

from django.db import transaction

from hosts.models import Host, StagedImage, StagingTurn, StoragePool
from hosts.turns import Turn, same_storage
from hosts.virt.driver import Driver

DriverOf = Callable[[Host], Driver]
Needed = Callable[[], str]  # why the records need it; "" if they do not


def unstage(
    driver_of: DriverOf, pool: StoragePool, sha256: str, volume: str, *, needed: Needed
) -> str:
    """The base volume is gone from the storage, and this is ""; or it stays, and this says why.

    Safe to call twice. Raises `StagingBusy` while somebody is at it, and what
    the hosts' calls raise: if that is of the deletion itself, its outcome may
    be unknown, and nobody brings the image there for a while.
    """
    pools = same_storage(pool)
    turn = Turn(pool, sha256, f"{volume} is at hand on {pool}", removes=volume)
    kept = _forget(pools, sha256) or _listed(driver_of, pool, sha256, volume)
    try:
        why = needed() or _users(driver_of, pools, volume, turn)
    except BaseException:
        if _put_back(turn, kept):
            turn.give_back()
        raise
    if why:
        for row in kept:
            row.unused_since = None
        _put_back(turn, kept)
    else:
        driver = driver_of(pool.host)
        turn.begin_removal()
        driver.delete_volume(pool.name, volume)
    # Whoever does not come to here leaves the turn as a note: see `adopt_leftovers`.
    turn.give_back()
    return why


def _forget(pools: Collection[StoragePool], sha256: str) -> list[StagedImage]:
    """End the records of it; those that there were."""
    with transaction.atomic():
        rows = StagedImage.objects.filter(pool__in=pools, sha256=sha256)
        found = list(rows.select_for_update())
        rows.delete()
    return found


def _listed(driver_of: DriverOf, pool: StoragePool, sha256: str, volume: str) -> list[StagedImage]:
    """What should be recorded of a volume whose record was ended by somebody who then died."""
    listed = driver_of(pool.host).volumes(pool.name)
    there = any(seen.name == volume for seen in listed)
    return [StagedImage(pool=pool, sha256=sha256, volume=volume)] if there else []


def _users(driver_of: DriverOf, pools: Collection[StoragePool], volume: str, turn: Turn) -> str:
    """What the hosts say: a sentence, or ""."""
    for pool in pools:
        names = driver_of(pool.host).volume_users(pool.name, volume)
        turn.keep()
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            return f"{names[0]}{more} on {pool.host} need it."
    return ""


def _put_back(turn: Turn, rows: Collection[StagedImage]) -> bool:
    """It stays, so it is recorded again, if the turn is still ours; whether it was."""
    with transaction.atomic():
        if not turn.hold():
            return False
        StagedImage.objects.bulk_create(rows, ignore_conflicts=True)
    return True


def adopt_leftovers(pool: StoragePool, volumes: Collection[str], looked_at: datetime) -> int:
    """Record what removals that never ended have left; how many. Calls no host.

    `volumes` were on the pool at some moment after `looked_at`: a removal whose
    turn had passed by then was carried out before, or never.
    """
    adopted = 0
    left = StagingTurn.objects.filter(until__lt=looked_at).exclude(removes="")
    if not left.exists():
        return 0
    for turn in left.filter(pool=same_storage(pool)[0]):
        with transaction.atomic():
            # Nobody has taken it over since.
            if not StagingTurn.objects.filter(pk=turn.pk, until=turn.until).delete()[0]:
                continue
            if turn.removes in volumes:
                _, made = StagedImage.objects.get_or_create(
                    pool=pool, sha256=turn.sha256, defaults={"volume": turn.removes}
                )
                adopted += made
    return adopted
