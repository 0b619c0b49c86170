"""Whose turn it is to bring an image to a storage, or to take it away from there."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from hosts.errors import StagingBusy
from hosts.models import StagingTurn, StoragePool

TURN_SECONDS = 15.0
# A removal that was sent to a host which then falls silent may still be carried out:
# nobody brings the image back before this has passed.
REMOVAL_SECONDS = 600.0
FAR_AHEAD = timedelta(minutes=1)  # a turn that ends later is from before the clock was set back


def same_storage(pool: StoragePool) -> list[StoragePool]:
    """All pools that are this storage, seen from its hosts: with them, in a fixed order."""
    pools = StoragePool.objects.select_related("host").order_by("pk")
    if not pool.shared_id:
        return list(pools.filter(pk=pool.pk))
    return list(pools.filter(shared_id=pool.shared_id))


class Turn:
    """The only right to change an image's copy on a storage; of somebody who died it passes on.

    What is written in the row tells whose turn it is: who finds something else
    there has lost it. Storage that several hosts see has one turn for all.
    With `removes`, the row of somebody who died also tells what was to go.
    """

    def __init__(self, pool: StoragePool, sha256: str, what: str, *, removes: str = "") -> None:
        keeper = same_storage(pool)[0]
        self._rows = StagingTurn.objects.filter(pool=keeper, sha256=sha256)
        self._what = what
        self._lasts = TURN_SECONDS
        self._renewed = time.monotonic()
        self._until = self._ends()
        now = timezone.now()
        ahead = Q(until__gt=now + FAR_AHEAD, removes="") | Q(
            until__gt=now + FAR_AHEAD + timedelta(seconds=REMOVAL_SECONDS)
        )
        nobodys = Q(until__lt=now) | ahead
        if self._rows.filter(nobodys).update(until=self._until, removes=removes):
            return
        _, made = StagingTurn.objects.get_or_create(
            pool=keeper, sha256=sha256, defaults={"until": self._until, "removes": removes}
        )
        if not made:
            raise StagingBusy(self._what)

    def check(self) -> None:
        """Raises `StagingBusy` if it was not renewed in time; asks nobody."""
        if time.monotonic() - self._renewed > self._lasts:
            raise StagingBusy(self._what)

    def keep(self) -> None:
        """Renew it now and then. Raises `StagingBusy` if it is somebody else's."""
        self.check()
        if time.monotonic() - self._renewed >= self._lasts / 5:
            self._renew()

    def begin_removal(self) -> None:
        """Nobody else comes before the host has surely done it, or never will.

        Raises `StagingBusy` if it is somebody else's.
        """
        self.check()
        self._lasts = REMOVAL_SECONDS
        self._renew()

    def _renew(self) -> None:
        now, until = time.monotonic(), self._ends()
        if not self._rows.filter(until=self._until).update(until=until):
            raise StagingBusy(self._what)
        self._renewed, self._until = now, until

    def _ends(self) -> datetime:
        return timezone.now() + timedelta(seconds=self._lasts)

    def hold(self) -> bool:
        """In a transaction: whether it is ours, and stays so until the transaction ends."""
        return self._rows.filter(until=self._until).update(until=self._until) > 0

    def give_back(self) -> None:
        """It is the next one's, if it was still ours."""
        self._rows.filter(until=self._until).delete()


@contextlib.contextmanager
def turn_at(pool: StoragePool, sha256: str, what: str) -> Iterator[Turn]:
    """Hold the turn. Raises `StagingBusy` while it is somebody else's."""
    turn = Turn(pool, sha256, what)
    try:
        yield turn
    finally:
        turn.give_back()
