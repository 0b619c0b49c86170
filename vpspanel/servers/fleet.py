"""The fleet as staff see it: a page of hosts in a fixed number of queries, however many there are.

Nothing here asks a host: it is what the monitor saw and what the records say.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.core.paginator import Page, Paginator
from django.db.models import (
    Case,
    Count,
    F,
    FloatField,
    IntegerField,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    Value,
    When,
)
from django.db.models.functions import Cast, NullIf
from django.utils import timezone

from hosts.figures import MINUTE, latest_of_hosts
from hosts.models import CapacityClaim, Host, HostStatus, StoragePool
from hosts.models_fleet import HostSample
from vpspanel.actions.models import OPEN_STATES, Action, ActionState
from vpspanel.servers.models import Lifecycle, PowerSeen, Server

PER_PAGE = 50
FRESH = timedelta(minutes=5)  # a sample that is older says nothing about now
WORST_FIRST = (HostStatus.UNREACHABLE, HostStatus.DEGRADED, HostStatus.UNKNOWN)
CLOSED, PARKED = "closed", "parked"
STATES = (
    *((status.value, status.label) for status in HostStatus),
    (CLOSED, "takes no new servers"),
    (PARKED, "has parked actions"),
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which hosts, in which order. What makes no sense is as if it was not there."""

    words: str = ""
    location: str = ""
    state: str = ""
    sort: str = "name"
    down: bool = False
    page: str = "1"


@dataclass(frozen=True, slots=True)
class Share:
    """Room that is sold by overcommit: so much is claimed of what may be sold."""

    what: str
    claimed: int
    limit: int
    unit: str
    overcommit: float
    in_use: str = ""  # what the machine really uses, in words

    @property
    def percent(self) -> int:
        """Of what may be sold; more than 100 after a limit was lowered."""
        return round(100 * self.claimed / self.limit) if self.limit else 0


@dataclass(frozen=True, slots=True)
class Queue:
    """The open actions of a host."""

    running: int = 0
    queued: int = 0
    parked: int = 0


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One line of the fleet."""

    host: Host
    pools: Sequence[StoragePool]
    shares: tuple[Share, Share, Share]
    guests: int
    running: int
    load: HostSample | None
    queue: Queue

    @property
    def cpu_load(self) -> int | None:
        """Per cent of the whole machine in the last minute."""
        if self.load is None or self.load.cpu_percent is None or not self.host.cpus:
            return None
        return round(self.load.cpu_percent / self.host.cpus)

    @property
    def memory_load(self) -> int | None:
        """Per cent of its memory that programs held."""
        if self.load is None or self.load.memory_mib is None or not self.host.memory_mib:
            return None
        return round(100 * self.load.memory_mib / self.host.memory_mib)


@dataclass(frozen=True, slots=True)
class Place:
    """A location with its rows on this page, and the sums of all its hosts."""

    name: str
    hosts: int
    troubled: int
    closed: int
    memory: Share
    rows: list[FleetRow]


@dataclass(frozen=True, slots=True)
class Fleet:
    """A page of the fleet."""

    page: Page[Host]
    places: list[Place]


def read_fleet(wanted: Wanted) -> Fleet:
    """The hosts of that page, grouped by location. At most eight queries."""
    page = Paginator(_ordered(_filtered(wanted), wanted), PER_PAGE).get_page(wanted.page)
    hosts = list(page.object_list)
    by_place: dict[int, list[FleetRow]] = defaultdict(list)
    for row in fleet_rows(hosts):
        by_place[row.host.location_id].append(row)
    return Fleet(page, _places(by_place))


def fleet_rows(hosts: Sequence[Host]) -> list[FleetRow]:
    """What is known of each. Four queries, and one for the pools."""
    ids = [host.pk for host in hosts]
    loads = latest_of_hosts(ids, timezone.now() - FRESH)
    guests = _guests(ids)
    queues = open_queues(ids)
    pools = _pools(ids)
    return [
        FleetRow(
            host=host,
            pools=pools[host.pk],
            shares=_shares(host, pools[host.pk], loads.get(host.pk)),
            guests=guests.get(host.pk, (0, 0))[0],
            running=guests.get(host.pk, (0, 0))[1],
            load=loads.get(host.pk),
            queue=queues.get(host.pk, Queue()),
        )
        for host in hosts
    ]


# --- which hosts ----------------------------------------------------------------------


def _filtered(wanted: Wanted) -> QuerySet[Host]:
    hosts = Host.objects.select_related("location")
    if wanted.location:
        hosts = hosts.filter(location__name=wanted.location)
    if wanted.state in HostStatus.values:
        hosts = hosts.filter(status=wanted.state)
    elif wanted.state == CLOSED:
        hosts = hosts.filter(Q(accepting=False) | Q(location__accepting=False))
    elif wanted.state == PARKED:
        hosts = hosts.filter(pk__in=_with_parked_actions())
    for word in wanted.words.split()[:5]:
        hosts = hosts.filter(
            Q(name__icontains=word)
            | Q(hostname__icontains=word)
            | Q(uri__icontains=word)
            | Q(tags__icontains=word)
            | Q(cpu_model__icontains=word)
        )
    return hosts


def _with_parked_actions() -> list[int]:
    groups = Action.objects.filter(state=ActionState.PARKED).values_list("group", flat=True)
    return [int(group) for group in groups.order_by().distinct() if group.isdecimal()]


def _share(used: Any, limit: Any) -> Any:
    return Cast(used, FloatField()) / NullIf(Cast(limit, FloatField()), Value(0.0))


def _sum_of_pools(column: str) -> Subquery:
    pools = StoragePool.objects.filter(host=OuterRef("pk")).order_by().values("host")
    return Subquery(pools.annotate(total=Sum(column)).values("total"))


def _count_of_claims() -> Subquery:
    claims = CapacityClaim.objects.filter(host=OuterRef("pk")).order_by().values("host")
    return Subquery(claims.annotate(total=Count("pk")).values("total"))


def _newest_cpu() -> Subquery:
    samples = HostSample.objects.filter(
        host=OuterRef("pk"), step=MINUTE, at__gte=timezone.now() - FRESH
    )
    return Subquery(samples.order_by("-at").values("cpu_percent")[:1])


def _badness() -> Case:
    ranks = (When(status=status, then=rank) for rank, status in enumerate(WORST_FIRST))
    return Case(*ranks, default=len(WORST_FIRST), output_field=IntegerField())


SORTS: dict[str, Any] = {
    "name": lambda: F("name"),
    "health": _badness,
    "vcpus": lambda: _share(F("vcpus_used"), F("vcpus_limit")),
    "memory": lambda: _share(F("memory_used_mib"), F("memory_limit_mib")),
    "disk": lambda: _share(_sum_of_pools("used_gib"), _sum_of_pools("limit_gib")),
    "guests": _count_of_claims,
    "load": lambda: _share(_newest_cpu(), F("cpus")),
}


def _ordered(hosts: QuerySet[Host], wanted: Wanted) -> QuerySet[Host]:
    """By location first: its hosts stand together. What is not known stands last."""
    by = hosts.annotate(sorted_by=SORTS.get(wanted.sort, SORTS["name"])())
    column = F("sorted_by")
    order = column.desc(nulls_last=True) if wanted.down else column.asc(nulls_last=True)
    return by.order_by("location__name", order, "name")


# --- what is known of them ----------------------------------------------------------------


def _guests(ids: Iterable[int]) -> dict[int, tuple[int, int]]:
    """(all, running) servers of each host."""
    rows = Server.objects.filter(host__in=list(ids)).exclude(lifecycle=Lifecycle.DELETED)
    counted = rows.order_by().values("host")
    running = Count("pk", filter=Q(power_seen=PowerSeen.RUNNING))
    counted = counted.annotate(everything=Count("pk"), running=running)
    return {row["host"]: (row["everything"], row["running"]) for row in counted}


def open_queues(ids: Iterable[int]) -> dict[int, Queue]:
    """The open actions of each host that has some."""
    groups = [str(pk) for pk in ids]
    rows = Action.objects.filter(state__in=OPEN_STATES, group__in=groups).order_by()
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    for row in rows.values("group", "state").annotate(n=Count("pk")):
        counts[int(row["group"])][str(row["state"])] = row["n"]
    return {
        pk: Queue(*(states.get(state.value, 0) for state in _QUEUE_STATES))
        for pk, states in counts.items()
    }


_QUEUE_STATES = (ActionState.RUNNING, ActionState.QUEUED, ActionState.PARKED)


def _pools(ids: Iterable[int]) -> dict[int, list[StoragePool]]:
    by_host: dict[int, list[StoragePool]] = defaultdict(list)
    for pool in StoragePool.objects.filter(host__in=list(ids)):
        by_host[pool.host_id].append(pool)
    return by_host


def _shares(
    host: Host, pools: Sequence[StoragePool], load: HostSample | None
) -> tuple[Share, Share, Share]:
    cpu = memory = ""
    if load is not None and load.cpu_percent is not None:
        cpu = f"{load.cpu_percent / 100:.1f} of {host.cpus} CPUs busy"
    if load is not None and load.memory_mib is not None:
        memory = f"{load.memory_mib / 1024:.1f} of {host.memory_mib / 1024:.1f} GiB used"
    return (
        Share("vCPUs", host.vcpus_used, host.vcpus_limit, "vCPUs", host.cpu_overcommit, cpu),
        _memory(host.memory_used_mib, host.memory_limit_mib, host.memory_overcommit, memory),
        Share(
            "Disk",
            sum(pool.used_gib for pool in pools),
            sum(pool.limit_gib for pool in pools),
            "GiB",
            max((pool.overcommit for pool in pools), default=1.0),
        ),
    )


def _memory(used_mib: int, limit_mib: int, overcommit: float, in_use: str = "") -> Share:
    return Share("Memory", used_mib // 1024, limit_mib // 1024, "GiB", overcommit, in_use)


def _places(by_place: dict[int, list[FleetRow]]) -> list[Place]:
    sums = Host.objects.filter(location__in=list(by_place)).order_by().values("location")
    sums = sums.annotate(
        hosts=Count("pk"),
        troubled=Count("pk", filter=Q(status__in=WORST_FIRST)),
        closed=Count("pk", filter=Q(accepting=False)),
        used=Sum("memory_used_mib"),
        limit=Sum("memory_limit_mib"),
    )
    of_place = {row["location"]: row for row in sums}
    return [
        Place(
            name=rows[0].host.location.name,
            hosts=of_place[pk]["hosts"],
            troubled=of_place[pk]["troubled"],
            closed=of_place[pk]["closed"],
            memory=_memory(of_place[pk]["used"], of_place[pk]["limit"], 1.0),
            rows=rows,
        )
        for pk, rows in by_place.items()
    ]
