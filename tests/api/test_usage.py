"""Who bills asks what servers were and moved: exact hours, and bytes as measured."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.figures import keep_figures
from hosts.models_fleet import GuestSample
from tests.api.asking import Api, make_customer, make_reseller, program, reseller_program
from tests.world import World, make_plan, work
from vpspanel.servers import services
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.models_period import ServerPeriod
from vpspanel.servers.resizing import change_type

JANUARY = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORDER = {"name": "web", "server_type": "nano", "image": "tiny"}


@pytest.fixture
def large(world: World) -> ServerType:
    """A larger plan."""
    return make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=2)


def usage(api: Api, start: datetime, end: datetime, more: str = "") -> list[Any]:
    """What the API says."""
    query = f"?from={start:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%SZ}{more}"
    shown: list[Any] = api.get(f"/usage{query}")["usage"]
    return shown


def lived(server: Server, *stretches: tuple[ServerType, datetime, datetime | None]) -> Server:
    """The server, with this history instead of its own."""
    server.periods.all().delete()
    for plan, began, ended in stretches:
        ServerPeriod.objects.create(server=server, server_type=plan, began=began, ended=ended)
    return server


def test_hours_are_cut_where_the_asking_begins_and_ends(
    world: World, api: Api, large: ServerType
) -> None:
    day = timedelta(days=1)
    switched = JANUARY + 10 * HOUR
    server = lived(
        world.order("web").server,
        (world.plan, JANUARY - day, switched),
        (large, switched, JANUARY + 3 * day),
    )
    Server.objects.filter(pk=server.pk).update(
        created=JANUARY - day, deleted_at=JANUARY + 3 * day, lifecycle="deleted"
    )
    (shown,) = usage(api, JANUARY, JANUARY + day)
    assert shown == {
        "server": server.pk,
        "name": "web",
        "project": world.project.pk,
        "account": world.project.account_id,
        "created": "2025-12-31T00:00:00+00:00",
        "deleted": "2026-01-04T00:00:00+00:00",
        "hours": 24.0,
        "plans": [
            {"server_type": world.plan.pk, "name": "nano", "hours": 10.0},
            {"server_type": large.pk, "name": "large", "hours": 14.0},
        ],
        "periods": [
            {
                "server_type": world.plan.pk,
                "name": "nano",
                "hours": 10.0,
                "began": "2026-01-01T00:00:00+00:00",
                "ended": "2026-01-01T10:00:00+00:00",
            },
            {
                "server_type": large.pk,
                "name": "large",
                "hours": 14.0,
                "began": "2026-01-01T10:00:00+00:00",
                "ended": "2026-01-02T00:00:00+00:00",
            },
        ],
        "traffic": {"incoming": None, "outgoing": None},
    }
    parts = [usage(api, JANUARY + n * HOUR, JANUARY + (n + 1) * HOUR) for n in range(-24, 72)]
    assert sum(one["hours"] for (one,) in parts) == 96.0  # no gap and no overlap between askings
    assert usage(api, JANUARY + 3 * day, JANUARY + 4 * day) == []
    assert usage(api, JANUARY - 3 * day, JANUARY - day) == []


def test_what_lives_counts_until_now(world: World, api: Api) -> None:
    now = timezone.now()
    lived(world.order("web").server, (world.plan, now - 3 * HOUR, None))
    (shown,) = usage(api, now - 2 * HOUR, now + 100 * HOUR)
    assert shown["hours"] == pytest.approx(2, abs=0.01)
    assert shown["deleted"] is None
    assert usage(api, now + HOUR, now + 2 * HOUR) == []


def test_the_records_come_from_what_happens(world: World, api: Api, large: ServerType) -> None:
    server = world.stopped("web")
    change_type(world.alice, server.pk, server_type=large, keep_disk=True)
    work()
    services.delete(world.alice, server.pk)
    work()
    now = timezone.now()
    (shown,) = usage(api, now - HOUR, now + HOUR)
    assert [one["name"] for one in shown["periods"]] == ["nano", "large"]
    assert shown["deleted"] is not None


def sample(server: Server, at: datetime, step: int, rx: float, tx: float) -> None:
    """One measurement, in bytes per second."""
    GuestSample.objects.create(
        owner=server.uuid, step=step, at=at, net_rx_bytes=rx, net_tx_bytes=tx
    )


def test_traffic_is_what_was_measured_each_byte_once(world: World, api: Api) -> None:
    now = timezone.now()
    full = now.replace(minute=0, second=0, microsecond=0)
    old, late = full - timedelta(days=30), full - 4 * HOUR
    server = lived(world.order("web").server, (world.plan, old, None))
    for n in range(3):
        sample(server, old + n * HOUR, 3600, 10.0, 1.0)
    for n in range(180):  # three whole hours, by the minute
        sample(server, late + timedelta(minutes=n), 60, 100.0, 2.0)
    (shown,) = usage(api, old, old + 2 * HOUR)
    assert shown["traffic"] == {"incoming": 2 * 36_000, "outgoing": 2 * 3600}
    (shown,) = usage(api, late, late + HOUR)
    assert shown["traffic"] == {"incoming": 360_000, "outgoing": 7200}
    keep_figures(now)  # the same minutes are there as hours, too
    (shown,) = usage(api, old, now)
    assert shown["traffic"] == {"incoming": 3 * 36_000 + 3 * 360_000, "outgoing": 3 * (3600 + 7200)}


def test_who_sees_whose(world: World, api: Api) -> None:
    shop, rival = make_reseller("Shop"), make_reseller("Rival")
    first, second = make_customer(shop, "first"), make_customer(shop, "second")
    seller = reseller_program(shop)
    for project in (first, second):
        Api(seller.secret, project=project.pk).post("/servers", ORDER)
    world.order("alices")
    work()
    now = timezone.now()
    span = (now - HOUR, now + HOUR)

    def projects(asks: Api, more: str = "") -> set[int]:
        return {one["project"] for one in usage(asks, *span, more)}

    assert projects(api) == {world.project.pk}
    assert projects(seller) == {first.pk, second.pk}
    assert projects(Api(seller.secret, project=first.pk)) == {first.pk}
    assert projects(program(first)) == {first.pk}
    assert projects(reseller_program(rival)) == set()
    assert projects(seller, f"&account={second.account_id}") == {second.pk}
    assert projects(seller, f"&project={first.pk}") == {first.pk}
    assert projects(seller, f"&project={world.project.pk}") == set()
    other = program(first, name="other", server_ids=[999])
    assert projects(other) == set()


def test_a_customer_that_is_gone_is_still_billed(world: World) -> None:
    shop = make_reseller("Shop")
    project, seller = make_customer(shop, "gone"), reseller_program(shop)
    inside = Api(seller.secret, project=project.pk)
    server = inside.post("/servers", ORDER)["server"]["id"]
    work()
    inside.delete(f"/servers/{server}")
    work()
    seller.delete(f"/projects/{project.pk}")
    seller.delete(f"/accounts/{project.account_id}")
    now = timezone.now()
    (shown,) = usage(seller, now - HOUR, now + HOUR)
    assert (shown["server"], shown["account"]) == (server, project.account_id)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?from=2026-01-01T00:00:00Z",
        "?from=x&to=y",
        "?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z",
        "?from=2024-01-01T00:00:00Z&to=2026-01-01T00:00:00Z",
        "?from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00Z&account=x",
    ],
)
def test_what_cannot_be_asked(world: World, api: Api, query: str) -> None:
    assert api.refused("GET", f"/usage{query}") == (422, "invalid_input")


def test_pages_cost_the_same_however_much_there_is(world: World, api: Api) -> None:
    now = timezone.now()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            usage(api, now - HOUR, now + HOUR, "&per_page=3")
        return len(captured)

    world.order("one")
    usage(api, now - HOUR, now + HOUR)
    few = queries()
    for name in ("two", "three", "four", "five"):
        world.order(name)
    assert queries() == few <= 7
