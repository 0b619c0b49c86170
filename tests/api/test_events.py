"""Events by a cursor: the project's own, each once, none missed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.api.asking import Api
from tests.world import World
from vpspanel.accounts.token_services import create_token
from vpspanel.events.models import Event
from vpspanel.events.services import record_event

OLD = timedelta(minutes=1)


def happened(world: World, kind: str, number: int = 1, *, ago: timedelta = OLD, **more: Any) -> int:
    """An event of Alice's project, some time ago; its id."""
    wanted = {"resource": ("server", number), "actor": world.alice, "project_id": world.project.pk}
    event = record_event(kind, f"{kind} {number}", **{**wanted, **more})
    Event._base_manager.filter(pk=event.pk).update(at=timezone.now() - ago)
    return event.pk


def numbers(answer: Any) -> list[int]:
    return [event["id"] for event in answer["events"]]


@pytest.fixture(autouse=True)
def nothing_before(world: World) -> None:
    """Opening accounts has left events."""
    Event._base_manager.update(public=False)


@pytest.mark.both_databases
def test_both_ways_give_each_event_once(world: World, api: Api) -> None:
    started = happened(world, "server.power_on")
    cursor = started - 1
    made = [started, *(happened(world, "server.renamed", number) for number in range(2, 6))]
    seen: list[int] = []
    for expected, more in ((2, True), (4, True), (5, False), (5, False)):
        answer = api.get(f"/events?after={cursor}&per_page=2")
        seen += numbers(answer)
        cursor = answer["meta"]["cursor"]["after"]
        assert (len(seen), answer["meta"]["cursor"]["more"]) == (expected, more)
    assert [pk for pk in seen if pk in made] == made
    newest = api.get("/events?per_page=2")
    older = api.get(f"/events?per_page=50&before={newest['meta']['cursor']['before']}")
    both = numbers(newest) + numbers(older)
    assert both == sorted(set(both), reverse=True)
    assert set(made) <= set(both)


def test_a_follower_waits_for_what_may_be_committed_late(world: World, api: Api) -> None:
    old = happened(world, "server.renamed")
    fresh = happened(world, "server.renamed", ago=timedelta(0))
    assert numbers(api.get("/events"))[0] == fresh
    answer = api.get(f"/events?after={old - 1}")
    assert numbers(answer) == [old]
    assert api.get(f"/events?after={old}")["meta"]["cursor"] == {"after": old, "more": False}


def test_whose_events(world: World, api: Api, stranger: Api) -> None:
    ours = happened(world, "server.renamed", 7)
    hidden = happened(world, "server.renamed", 7, public=False)
    other = happened(world, "server.renamed", 8)
    key = happened(world, "ssh_key.added", 7, resource=("ssh_key", 7))
    assert set(numbers(stranger.get("/events"))) & {ours, hidden, other, key} == set()
    assert set(numbers(api.get("/events"))) >= {ours, other, key}
    assert hidden not in numbers(api.get("/events"))
    made = create_token(
        world.alice, project=world.project, name="one", may_write=False, server_ids=[7]
    )
    assert numbers(Api(made.secret).get("/events")) == [ours]


def test_filters_and_mistakes(world: World, api: Api) -> None:
    renamed = happened(world, "server.renamed", 3)
    key = happened(world, "ssh_key.added", 3, resource=("ssh_key", 3))
    for query, expected in (
        ("kind=server.*", [renamed]),
        ("kind=ssh_key.added&kind=server.renamed", [key, renamed]),
        ("kind=server.", []),
        ("resource_type=ssh_key&resource_id=3", [key]),
        ("resource_id=4", []),
    ):
        assert numbers(api.get(f"/events?{query}")) == expected, query
    for query in ("after=1&before=2", "after=x", "before=", "after=1&after=2", "per_page=0"):
        assert api.refused("GET", f"/events?{query}") == (422, "invalid_input"), query
    shown = api.get("/events?kind=ssh_key.added")["events"][0]
    assert shown["actor"] == "alice@example.com"
    assert shown["resource"] == {"type": "ssh_key", "id": 3}


def test_a_page_costs_the_same_however_long(world: World, api: Api) -> None:
    counts = []
    for _ in range(2):
        for number in range(5):
            happened(world, "server.renamed", number)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            api.get("/events?per_page=50")
        counts.append(len(queries))
    assert counts[0] >= counts[1]
    assert counts[1] <= 5
