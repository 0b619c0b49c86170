"""What is left to sell, as the API says it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import override_settings

from hosts.models import Host, IPAddress
from tests.api.asking import Api
from tests.world import World, make_plan
from vpspanel.actions.models import Action
from vpspanel.events.models import Event
from vpspanel.servers.models import Server


@pytest.fixture(autouse=True)
def fresh(world: World) -> None:
    """Nothing from before; a host with room for four of the smallest plan."""
    cache.clear()
    Host.objects.update(vcpus_limit=4)
    make_plan(world, "huge", vcpus=8, memory_mib=256, disk_gib=1)


def left(api: Api) -> dict[str, tuple[int, str | None]]:
    """Asked anew: plan -> (how many, why none)."""
    cache.clear()
    return {
        one["server_type"]["name"]: (one["available"], one["sold_out"])
        for one in api.get("/stock")["stock"]
    }


def test_it_goes_down_with_each_order(world: World, api: Api) -> None:
    stock: Any = api.get("/stock")["stock"]
    assert {one["location"]["name"] for one in stock} == {"test1"}
    before = left(api)
    assert before["nano"] == (4, None)
    assert before["huge"][0] == 0
    assert "room" in str(before["huge"][1])
    world.order("web")
    assert left(api)["nano"] == (3, None)
    assert "kvm" not in str(stock)  # no host is named


def test_a_reserve_is_held_back(world: World, api: Api) -> None:
    with override_settings(STOCK_MARGIN=3):
        assert left(api)["nano"] == (1, None)
        world.order("web")
        assert left(api)["nano"] == (0, "Only the reserve of the site is left.")


ORDER = {"name": "web", "server_type": "nano", "image": "tiny", "dry_run": True}


@pytest.mark.both_databases
@pytest.mark.parametrize("headers", [{}, {"Idempotency_Key": "try"}])
def test_a_dry_run_orders_nothing(world: World, api: Api, headers: dict[str, str]) -> None:
    def kept() -> list[Any]:
        world.project.account.refresh_from_db()
        claims = [Host.objects.get().vcpus_used, world.project.account.servers_used]
        rows = [model.objects.count() for model in (Server, Action, Event, IPAddress)]
        return claims + rows

    before = kept()
    answer = api.post("/servers", ORDER, **headers)["dry_run"]
    assert kept() == before
    assert (answer["price_monthly"]["net"], answer["available"]) == ("3.000000", 4)
    assert (answer["location"], answer["image"]) == ("test1", "tiny")
    assert "kvm" not in str(answer)
    api.post("/servers", {**ORDER, "dry_run": False})
    assert kept() != before


def test_a_dry_run_is_refused_like_the_order(world: World, api: Api, reader: Api) -> None:
    world.order("web")
    for change in ({}, {"name": "a b"}, {"server_type": "huge", "name": "other"}, {"image": "x"}):
        asked = {**ORDER, **change}
        refused = api.refused("POST", "/servers", asked)
        assert refused == api.refused("POST", "/servers", {**asked, "dry_run": False}), change
    assert reader.refused("POST", "/servers", ORDER) == (403, "token_readonly")
    assert Server.objects.count() == 1


def test_many_who_ask_are_answered_from_one_look(
    world: World, api: Api, django_assert_max_num_queries: Any
) -> None:
    api.get("/stock")
    with django_assert_max_num_queries(4):  # the token, its budget, its use
        api.get("/stock")
