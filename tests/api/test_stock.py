"""What is left to sell, as the API says it."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.test import override_settings

from hosts.models import Host
from tests.api.asking import Api
from tests.world import World, make_plan


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


def test_many_who_ask_are_answered_from_one_look(
    world: World, api: Api, django_assert_max_num_queries: Any
) -> None:
    api.get("/stock")
    with django_assert_max_num_queries(4):  # the token, its budget, its use
        api.get("/stock")
