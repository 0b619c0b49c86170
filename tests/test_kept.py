"""Kept queries find exactly what the querysets find that they were made from."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.db.models import F, ForeignKey, Model, QuerySet
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.world import World, make_world
from vpspanel.kept import LARGEST, Kept, kept
from vpspanel.servers.models import PrimaryIP, Server

pytestmark = [pytest.mark.both_databases, pytest.mark.django_db]

EARLY, LATE = datetime(1990, 1, 1, tzinfo=UTC), datetime(2190, 1, 1, tzinfo=UTC)


def _between(*, name: str, after: datetime, before: datetime) -> QuerySet[Server]:
    return (
        Server.objects.filter(name=name, created__gt=after, created__lt=before)
        .select_related("project__account", "image", "iso", "host")
        .defer("root_password_sealed", "host__uri")
        .annotate(larger=F("disk_gib") + 1)
        .order_by("pk")
    )


@pytest.fixture
def world() -> World:
    made = make_world()
    made.running("one", labels={"env": "prod"})
    made.running("two")
    return made


def facts(one: Model) -> dict[str, object]:
    """All columns that were read, with those of what was joined."""
    found = {}
    for field in one._meta.concrete_fields:
        if field.attname not in one.get_deferred_fields():
            found[field.attname] = getattr(one, field.attname)
        if isinstance(field, ForeignKey) and field.is_cached(one):
            joined = getattr(one, field.name)
            found[field.name] = None if joined is None else facts(joined)
    return found


def test_the_same_objects(world: World) -> None:
    find = Kept(_between)
    for name in ("one", "two", "none of that name"):
        values = {"name": name, "after": EARLY, "before": LATE}
        ordinary = list(_between(**values))  # type: ignore[arg-type]
        for _ in range(2):
            objects = find(**values)  # type: ignore[arg-type]
            assert [facts(one) for one in objects] == [facts(one) for one in ordinary]
            assert all(one.larger == one.disk_gib + 1 for one in objects)  # type: ignore[attr-defined]
            assert all(one.get_deferred_fields() == {"root_password_sealed"} for one in objects)
    assert find(name="one", after=EARLY, before=LATE)[0].labels == {"env": "prod"}


def test_moments_are_compared_to_the_microsecond(world: World) -> None:
    find = Kept(_between)
    created = Server.objects.get(name="one").created
    least = timedelta(microseconds=1)
    assert not find(name="one", after=created, before=LATE)
    assert find(name="one", after=created - least, before=created + least)


def test_it_is_compiled_once_and_read_each_time(world: World) -> None:
    built = []

    @kept
    def by_name(*, name: str) -> QuerySet[Server]:
        built.append(name)
        return Server.objects.filter(name=name)

    assert by_name(name="one")
    Server.objects.filter(name="one").update(name="three")
    with CaptureQueriesContext(connection) as queries:
        assert not by_name(name="one")
        assert by_name(name="three")
    assert (len(built), len(queries)) == (1, 2)


def test_what_is_joined_needs_no_further_query(world: World) -> None:
    @kept
    def of_server(*, server_id: int) -> QuerySet[PrimaryIP]:
        return PrimaryIP.objects.filter(server_id=server_id).select_related("address__pool")

    server = Server.objects.get(name="one")
    addresses = of_server(server_id=server.pk)
    with CaptureQueriesContext(connection) as queries:
        assert {ip.address.pool.location_id for ip in addresses} == {world.location.pk}
    assert not queries


@pytest.mark.parametrize("number", [-1, 0, LARGEST, LARGEST + 1, 10**30])
def test_numbers_that_are_nobodys_find_nothing(world: World, number: int) -> None:
    @kept
    def by_number(*, number: int) -> QuerySet[Server]:
        return Server.objects.filter(pk=number)

    assert by_number(number=number) == []
    assert by_number(number=Server.objects.get(name="two").pk)


def test_a_value_that_the_statement_loses_is_an_error(world: World) -> None:
    @kept
    def forgetful(*, name: str, now: datetime) -> QuerySet[Server]:
        return Server.objects.filter(name=name, created__lt=timezone.now())

    with pytest.raises(TypeError, match="forgetful: now not in the statement"):
        forgetful(name="one", now=timezone.now())
