"""The copies of images that lie on hosts: who needs them, and which are removed.

What a server's disk stands on is not among the records once its image was
fetched anew: only its host knows. So a copy is unused if neither the records
need it nor the host showed anything on it when it was last looked at, and its
removal asks both again (`hosts/unstaging.py`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from hosts.models import HostStatus, Image, ImageStatus, ImageType, StagedImage, StoragePool
from hosts.unstaging import adopt_leftovers
from vpspanel.actions import services as actions
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.services import record_event
from vpspanel.servers.audit_look import Look
from vpspanel.servers.models import Lifecycle, Server

COMMAND = "remove_image_copy"
RESOURCE = "staged_image"
KEPT_UNUSED = timedelta(hours=1)  # for whoever orders the same once more
AGAIN_AFTER = timedelta(hours=1)  # what failed is not repeated at once
AT_ONCE = 20  # copies of a round
NAMES_IMAGES = ("image", "iso")  # arguments of actions


# --- who needs them ---------------------------------------------------------------


class Needs:
    """What the records need on some pools, in a fixed number of queries."""

    def __init__(self, pools: Iterable[StoragePool]) -> None:
        self._storages = _storages(pools)
        self._offered = _offered()
        self._wanted = _wanted_by_actions()
        self._servers: Counter[tuple[str, str]] = Counter()
        self._isos: Counter[tuple[str, str]] = Counter()
        on = {host_id for host_id, _ in self._storages}
        servers = Server.objects.filter(host__in=on).exclude(lifecycle=Lifecycle.DELETED)
        rows = servers.values_list("host_id", "pool", "image__sha256", "iso__sha256")
        for host_id, pool, image, iso in rows:
            storage = self._storages.get((host_id or 0, pool))
            if storage is not None:
                self._servers[storage, image or ""] += 1
                self._isos[storage, iso or ""] += 1

    def why(self, pool: StoragePool, sha256: str) -> str:
        """Why the copy there is needed; "" if it is not."""
        place = (self._storages[pool.host_id, pool.name], sha256)
        if sha256 in self._offered:
            return f"{self._offered[sha256]} is offered."
        if sha256 in self._wanted:
            return "An action that has not ended may need it."
        if count := self._servers[place]:
            return f"{count} servers here are made from it."
        if count := self._isos[place]:
            return f"{count} servers here have it in their CD-ROM."
        return ""


def _storages(pools: Iterable[StoragePool]) -> dict[tuple[int, str], str]:
    """A name of the storage behind each of these pools, and behind all others that are the same."""
    given = list(pools)
    shared = {pool.shared_id for pool in given} - {""}
    others = StoragePool.objects.filter(shared_id__in=shared) if shared else []
    return {
        (pool.host_id, pool.name): pool.shared_id or f"{pool.host_id}/{pool.name}"
        for pool in (*given, *others)
    }


def _offered() -> dict[str, str]:
    """What is kept for the next order, by SHA-256."""
    catalogue = Q(type=ImageType.SYSTEM, owner=None, deprecated=None, status=ImageStatus.AVAILABLE)
    rescue = Q(name=settings.RESCUE_IMAGE, owner=None)
    rows = Image.objects.filter(catalogue | rescue).exclude(sha256="")
    return dict(rows.values_list("sha256", "description"))


def _wanted_by_actions() -> set[str]:
    """What any open action may be about to build on, wherever."""
    servers, images = set[int](), set[int]()
    open_ones = Action.objects.filter(state__in=OPEN_STATES, resource_type="server")
    for server_id, args in open_ones.values_list("resource_id", "args"):
        servers.add(server_id)
        images |= {args[name] for name in NAMES_IMAGES if isinstance(args.get(name), int)}
    named = Image.objects.filter(pk__in=images).values_list("sha256", flat=True)
    below = Server.objects.filter(pk__in=servers, image__isnull=False)
    return {*named, *below.values_list("image__sha256", flat=True)} - {""}


# --- what a look at a host shows --------------------------------------------------


def note_copies(look: Look) -> None:
    """Write down how large the copies on a host are, and since when nothing needs them."""
    pools = [pool for pool in look.host.pools.all() if pool.name not in look.unseen]
    for pool in pools:
        names = {volume.name for volume in look.volumes.get(pool.name, ())}
        adopt_leftovers(pool, names, look.began)
    rows = StagedImage.objects.filter(pool__in=pools, staged_at__lt=look.began)
    copies = list(rows.select_related("pool"))
    if not copies:
        return
    needs, users = Needs(pools), _users_in(look)
    for copy in copies:
        place = (copy.pool.name, copy.volume)
        copy.size_bytes = users.sizes.get(place, 0)
        copy.users, copy.seen_at = users.count[place], look.began
        needed = copy.users or place not in users.sizes or needs.why(copy.pool, copy.sha256)
        copy.unused_since = None if needed else copy.unused_since or look.began
    StagedImage.objects.bulk_update(copies, ("size_bytes", "users", "seen_at", "unused_since"))


@dataclass(frozen=True, slots=True)
class _Users:
    """By pool and volume: how many need it, and the size of each volume that is there."""

    count: Counter[tuple[str, str]]
    sizes: dict[tuple[str, str], int]


def _users_in(look: Look) -> _Users:
    users = _Users(Counter(), {})
    for pool, volumes in look.volumes.items():
        for volume in volumes:
            users.sizes[pool, volume.name] = volume.allocation_bytes
            if volume.base:
                users.count[pool, volume.base.rpartition("/")[2]] += 1
    for domain in look.domains:
        places = set(domain.disks)
        if (definition := look.definitions.get(domain.uuid)) is not None:
            places |= {disk.place for disk in definition.disks}
        for place in places:
            pool, _, name = place.partition("/")
            users.count[pool, name] += 1
    return users


# --- removing them ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """A copy as staff see it. `why` it stays; "" if it can go."""

    copy: StagedImage
    image: str
    why: str

    @property
    def pk(self) -> int:
        """That of the copy, for forms."""
        return self.copy.pk


def shown(copies: Sequence[StagedImage]) -> list[Shown]:
    """The copies with the names of their images and why they stay, in a fixed number of queries."""
    if not copies:
        return []
    needs = Needs({copy.pool for copy in copies})
    digests = {copy.sha256 for copy in copies}
    rows = Image.objects.filter(sha256__in=digests).order_by("-pk")
    names = dict(rows.values_list("sha256", "description"))
    return [
        Shown(
            copy,
            names.get(copy.sha256, "an image that is no longer there"),
            _why_it_stays(copy, needs),
        )
        for copy in copies
    ]


def _why_it_stays(copy: StagedImage, needs: Needs) -> str:
    if why := needs.why(copy.pool, copy.sha256):
        return why
    if copy.users:
        return f"{copy.users} disks or guests on its host need it."
    if copy.unused_since is None:
        return "Its host has not been looked at yet since it was last needed."
    return ""


def remove_copy(actor: Actor, copy: StagedImage) -> Action:
    """Queue its removal; a worker makes sure first that nothing needs it. Raises `Refused`."""
    if why := _why_it_stays(copy, Needs([copy.pool])):
        raise Refused("conflict", why)
    host = copy.pool.host
    args = {
        "pool": copy.pool_id,
        "sha256": copy.sha256,
        "volume": copy.volume,
        "size_bytes": copy.size_bytes,
    }
    with transaction.atomic():
        action = actions.submit(
            COMMAND,
            resource=(RESOURCE, copy.pk),
            actor=actor,
            args=args,
            group=str(host.pk),
            group_limit=host.action_limit,
        )
        if actor.user is not None:
            record_event(
                "host.image_removal",
                f"The copy {copy.volume} on {copy.pool.name} is to be removed",
                resource=("host", host.pk),
                actor=actor,
                action_id=action.pk,
                public=False,
            )
    return action


def removable(now: datetime) -> QuerySet[StagedImage]:
    """Those that nothing has needed for a while, on hosts that answer."""
    mine = Action.objects.filter(resource_type=RESOURCE, resource_id=OuterRef("pk"))
    busy = mine.filter(state__in=OPEN_STATES)
    failed = mine.filter(state=ActionState.ERROR, finished__gte=now - AGAIN_AFTER)
    unused = StagedImage.objects.filter(
        unused_since__lt=now - KEPT_UNUSED, pool__host__status=HostStatus.REACHABLE
    )
    return unused.filter(~Exists(busy), ~Exists(failed)).select_related("pool__host")


def remove_unused_copies(now: datetime) -> int:
    """Queue the removal of what nothing has needed for a while; how many were queued."""
    queued = 0
    for one in shown(list(removable(now).order_by("unused_since")[:AT_ONCE])):
        if one.why:
            StagedImage.objects.filter(pk=one.copy.pk).update(unused_since=None)
            continue
        try:
            remove_copy(SYSTEM, one.copy)
        except Refused:
            continue  # somebody was quicker
        queued += 1
    return queued
