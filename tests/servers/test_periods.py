"""What servers were and when is recorded without gap or overlap, whatever happens to them."""

from __future__ import annotations

import importlib
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hosts.virt.errors import DiskFull
from tests.world import World, due_now, make_plan, work
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.audit_periods import check_periods
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.models_period import ServerPeriod
from vpspanel.servers.periods import begin_period, end_periods, switch_period
from vpspanel.servers.resizing import change_type

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def large(world: World) -> ServerType:
    """A larger plan."""
    return make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=2)


def change(world: World, server: Server, plan: ServerType, *, keep_disk: bool = True) -> None:
    change_type(world.alice, server.pk, server_type=plan, keep_disk=keep_disk)
    work()


def periods(server: Server) -> list[tuple[str, datetime, datetime | None]]:
    return [(one.server_type.name, one.began, one.ended) for one in server.periods.all()]


def test_from_the_order_over_other_plans_to_the_deletion(world: World, large: ServerType) -> None:
    server = world.stopped()
    assert periods(server) == [("nano", server.created, None)]
    change(world, server, large)
    change(world, server, large, keep_disk=False)  # the same plan, a larger disk
    assert [name for name, _, _ in periods(server)] == ["nano", "large"]
    services.delete(world.alice, server.pk)
    work()
    server.refresh_from_db()
    (_, first, switched), (_, again, last) = periods(server)
    assert (first, switched, last) == (server.created, again, server.deleted_at)
    assert list(check_periods()) == []


def test_a_change_that_fails_changes_nothing(world: World, large: ServerType) -> None:
    server = world.stopped()
    world.driver().inject("define", DiskFull("no room"), times=99)
    change(world, server, large)
    for _ in range(6):
        due_now()
        work()
    assert [name for name, _, _ in periods(server)] == ["nano"]
    assert list(check_periods()) == []


def test_of_one_that_was_never_built_nothing_counts(world: World) -> None:
    world.driver().inject("define", DiskFull("no room"), times=99)
    server = world.order().server
    for _ in range(6):
        due_now()
        work()
    server.refresh_from_db()
    assert server.failed_reason
    assert periods(server) == [("nano", server.created, server.created)]
    assert list(check_periods()) == []


def test_an_order_that_is_refused_leaves_none(world: World) -> None:
    world.order("web")
    with pytest.raises(Refused):
        world.order("web")
    assert ServerPeriod.objects.count() == 1


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(-5, 5)), max_size=8),
    st.none() | st.integers(-5, 5),
)
def test_whatever_the_clock_says_there_is_no_gap_and_no_overlap(
    world: World, switches: list[tuple[bool, int]], end: int | None
) -> None:
    """Times may repeat and go backwards; the sum of the parts is the whole."""
    small, other = world.plan, ServerType.objects.exclude(pk=world.plan.pk).first()
    other = other or make_plan(world, "large", vcpus=2, memory_mib=256, disk_gib=2)
    with transaction.atomic():
        server = world.order(f"s{Server.objects.count()}").server
        for is_large, seconds in switches:
            plan = other if is_large else small
            switch_period(server.pk, plan.pk, server.created + timedelta(seconds=seconds))
            Server.objects.filter(pk=server.pk).update(server_type=plan)
        if end is not None:
            at = server.created + timedelta(seconds=end)
            at = end_periods(server.pk, at, never_built=False)
            Server.objects.filter(pk=server.pk).update(lifecycle="deleted", deleted_at=at)
    rows = list(server.periods.all())
    assert rows[0].began == server.created
    assert all(a.ended == b.began and a.server_type != b.server_type for a, b in pairwise(rows))
    assert all(row.ended is None or row.ended >= row.began for row in rows)
    assert (rows[-1].ended is None) == (end is None)
    assert [f for f in check_periods() if f.subject.startswith(f"server {server.pk} ")] == []


def test_the_database_itself_refuses_a_second_open_one(world: World) -> None:
    server = world.order().server
    with pytest.raises(IntegrityError), transaction.atomic():
        begin_period(server)
    with pytest.raises(IntegrityError), transaction.atomic():
        server.periods.update(ended=server.created - timedelta(seconds=1))


def test_the_audit_finds_every_kind_of_damage(world: World, large: ServerType) -> None:
    server = world.stopped()
    change(world, server, large)
    first, second = server.periods.all()

    def damaged(**changes: object) -> str:
        with transaction.atomic():
            ServerPeriod.objects.filter(pk=first.pk).update(**changes)
            found = [finding.message for finding in check_periods()]
            transaction.set_rollback(True)
        return " ".join(found)

    assert "was ordered at" in damaged(began=first.began - timedelta(seconds=1))
    assert "the next begins" in damaged(ended=second.began - timedelta(microseconds=1))
    second.server_type_id = world.plan.pk
    second.save(update_fields=["server_type"])
    assert "not of the plan" in damaged()
    ServerPeriod.objects.all().delete()
    assert "Nothing says" in damaged()


def test_servers_from_before_get_theirs(world: World, large: ServerType) -> None:
    changed, plain, gone = world.stopped("changed"), world.order("plain").server, world.order("old")
    work()
    change(world, changed, large)
    change(world, changed, large, keep_disk=False)
    services.delete(world.alice, gone.server.pk)
    work()
    before = {server.pk: periods(server) for server in Server.objects.all()}
    ServerPeriod.objects.all().delete()
    fill = importlib.import_module("vpspanel.servers.migrations.0013_fill_server_periods").fill
    with connection.schema_editor() if connection.vendor != "sqlite" else transaction.atomic() as e:
        fill(apps, e)
    assert list(check_periods()) == []
    assert set(before) == {pk for (pk,) in ServerPeriod.objects.values_list("server").distinct()}
    assert [name for name, _, _ in periods(changed)] == ["nano", "large"]
    assert periods(plain) == before[plain.pk]
    assert periods(gone.server) == before[gone.server.pk]
    (_, _, ours), (_, _, theirs) = periods(changed)[0], before[changed.pk][0]
    assert ours is not None
    assert theirs is not None
    assert abs(ours - theirs) < timedelta(seconds=5)  # the end of the action, not of its last step
