"""Placement groups through the API."""

from __future__ import annotations

import pytest

from hosts.models import CapacityClaim
from tests.api.asking import Api
from tests.world import World, make_host, work
from vpspanel.events.models import Event
from vpspanel.servers.models import PlacementGroup, Server

ORDER = {"server_type": "nano", "image": "tiny"}


def order(api: Api, name: str, **more: object) -> dict[str, int]:
    """A server that was ordered, as the API shows it."""
    server: dict[str, int] = api.post("/servers", {"name": name, **ORDER, **more})["server"]
    return server


@pytest.fixture
def fleet(world: World) -> World:
    """Two hosts."""
    world.hosts.append(make_host(world.location))
    return world


def test_the_life_of_a_group(fleet: World, api: Api) -> None:
    group = api.post("/placement_groups", {"name": "web", "type": "spread", "labels": {"a": "b"}})
    group = group["placement_group"]
    assert (group["type"], group["servers"], group["labels"]) == ("spread", [], {"a": "b"})
    first = order(api, "one", placement_group=group["id"])
    second = order(api, "two", placement_group=group["id"])
    assert first["placement_group"]["name"] == "web"  # type: ignore[index]
    third = {"name": "three", **ORDER, "placement_group": group["id"]}
    assert api.refused("POST", "/servers", third) == (412, "placement_error")
    assert len(set(Server.objects.values_list("host", flat=True))) == 2
    path = f"/placement_groups/{group['id']}"
    members = [first["id"], second["id"]]
    assert api.get(path)["placement_group"]["servers"] == members
    assert api.get("/placement_groups?name=web&type=spread")["placement_groups"][0]["id"]
    assert api.get("/placement_groups?label_selector=a!=b")["placement_groups"] == []
    assert api.refused("DELETE", path)[1] == "resource_in_use"
    assert api.put(path, {"name": "apart"})["placement_group"]["name"] == "apart"
    work()
    for server_id in members:
        leave = f"/servers/{server_id}/actions/remove_from_placement_group"
        assert api.post(leave)["action"]["status"] == "success"
        assert api.refused("POST", leave)[1] == "conflict"
        assert api.get(f"/servers/{server_id}")["server"]["placement_group"] is None
    assert not CapacityClaim.objects.exclude(spread=None).exists()
    api.delete(path)
    assert not PlacementGroup.objects.exists()
    assert Event.objects.filter(kind="placement_group.deleted").exists()


def test_who_shares_a_host_with_a_member_stays_out(world: World, api: Api, stranger: Api) -> None:
    group = api.post("/placement_groups", {"name": "web"})["placement_group"]
    one, two = order(api, "one"), order(api, "two")
    join = {"placement_group": group["id"]}
    path = "/servers/{}/actions/add_to_placement_group"
    assert api.refused("POST", path.format(one["id"]), join)[1] == "locked"
    work()
    assert api.post(path.format(one["id"]), join)["action"]["command"] == "add_to_placement_group"
    assert api.refused("POST", path.format(one["id"]), join)[1] == "conflict"
    assert api.refused("POST", path.format(two["id"]), join) == (412, "placement_error")
    assert Server.objects.get(pk=two["id"]).placement_group is None
    theirs = stranger.post("/placement_groups", {"name": "web"})["placement_group"]
    other = {"placement_group": theirs["id"]}
    assert api.refused("POST", path.format(two["id"]), other)[0] == 422
    assert api.refused("GET", f"/placement_groups/{theirs['id']}") == (404, "not_found")
    assert api.refused("POST", "/servers", {"name": "x", **ORDER, **other})[0] == 422


def test_what_is_wrong_is_refused(world: World, api: Api) -> None:
    api.post("/placement_groups", {"name": "web"})
    assert api.refused("POST", "/placement_groups", {"name": "web"}) == (409, "uniqueness_error")
    for body in ({"name": ""}, {"name": "a b"}, {"name": "x", "type": "cluster"}, {}):
        assert api.refused("POST", "/placement_groups", body) == (422, "invalid_input")
