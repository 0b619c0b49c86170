"""A project's own images, another plan and the rescue system through the API."""

from __future__ import annotations

import pytest

from hosts.models import Image
from tests.accounts.test_keys import ED25519
from tests.api.asking import Api
from tests.world import World, work
from vpspanel.servers.models import Server, ServerType, ServerTypePrice


@pytest.fixture
def off(world: World, api: Api) -> str:
    """The address of a server that is off."""
    server = world.running("web")
    api.post(f"/servers/{server.pk}/actions/poweroff")
    work()
    return f"/servers/{server.pk}"


def ended(api: Api, action: dict[str, object]) -> str:
    """How the action ended."""
    work()
    return str(api.get(f"/actions/{action['id']}")["action"]["status"])


def test_the_life_of_a_snapshot(world: World, api: Api, stranger: Api, off: str) -> None:
    body = {"description": "before", "type": "snapshot", "labels": {"keep": "yes"}}
    made = api.post(f"{off}/actions/create_image", body)
    image = made["image"]
    assert (image["type"], image["status"], image["name"]) == ("snapshot", "creating", None)
    assert image["created_from"] == {"id": int(off.rpartition("/")[2]), "name": "web"}
    assert made["action"]["command"] == "create_image"
    assert ended(api, made["action"]) == "success"
    path = f"/images/{image['id']}"
    shown = api.get(path)["image"]
    assert (shown["status"], shown["labels"]) == ("available", {"keep": "yes"})
    assert shown["image_size"] is not None
    for query in ("type=snapshot", "label_selector=keep", "status=available&type=snapshot"):
        assert [one["id"] for one in api.get(f"/images?{query}")["images"]] == [image["id"]]
    changed = api.put(path, {"description": "after", "type": "snapshot", "labels": {}})["image"]
    assert (changed["description"], changed["labels"]) == ("after", {})

    order = {"name": "two", "server_type": "nano", "image": image["id"]}
    assert stranger.refused("POST", "/servers", order) == (422, "invalid_input")
    for method in ("GET", "PUT", "DELETE"):
        body_ = {"description": "mine"} if method == "PUT" else None
        assert stranger.refused(method, path, body_) == (404, "not_found")
    assert stranger.get("/images?type=snapshot")["images"] == []
    api.post("/servers", order)

    action = api.post(f"{path}/actions/change_protection", {"delete": True})["action"]
    assert action["resources"] == [{"id": image["id"], "type": "image"}]
    assert api.get(f"{path}/actions")["actions"] == [action]
    assert api.refused("DELETE", path) == (422, "protected")
    api.post(f"{path}/actions/change_protection", {"delete": False})
    api.delete(path)
    assert api.refused("GET", path) == (404, "not_found")


def test_the_catalogue_is_nobodys_to_change(world: World, api: Api) -> None:
    path = f"/images/{world.images[0].pk}"
    assert api.refused("PUT", path, {"description": "mine"}) == (404, "not_found")
    assert api.refused("DELETE", path) == (404, "not_found")
    assert api.refused("POST", f"{path}/actions/change_protection", {"delete": True})[0] == 404
    assert Image.objects.get(pk=world.images[0].pk).description == "Tiny"


def test_backups_are_no_snapshots(world: World, api: Api, off: str) -> None:
    path = f"{off}/actions/create_image"
    assert api.refused("POST", path, {"type": "backup"}) == (422, "unsupported_error")
    assert api.refused("POST", path, {"type": "iso"}) == (422, "invalid_input")


def test_another_plan(world: World, api: Api, off: str) -> None:
    plan = ServerType.objects.create(
        name="micro", description="Micro", vcpus=2, memory_mib=256, disk_gib=2
    )
    ServerTypePrice.objects.create(
        server_type=plan, location=world.location, hourly_micros=1, monthly_micros=1
    )
    path = f"{off}/actions/change_type"
    for body in ({}, {"server_type": "micro"}, {"server_type": "none", "upgrade_disk": True}):
        assert api.refused("POST", path, body) == (422, "invalid_input")
    up = api.post(path, {"server_type": "micro", "upgrade_disk": False})["action"]
    assert up["command"] == "change_server_type"
    assert ended(api, up) == "success"
    shown = api.get(off)["server"]
    assert (shown["server_type"]["name"], shown["primary_disk_size"]) == ("micro", 1)
    down = api.post(path, {"server_type": "nano", "upgrade_disk": False})["action"]
    assert ended(api, down) == "success"
    api.post(f"{off}/actions/poweron")
    work()
    body = {"server_type": "micro", "upgrade_disk": True}
    assert api.refused("POST", path, body) == (422, "server_not_stopped")


def test_rescue(world: World, api: Api) -> None:
    server = world.running("web")
    path = f"/servers/{server.pk}"
    key = api.post("/ssh_keys", {"name": "laptop", "public_key": ED25519})["ssh_key"]
    body = {"type": "linux64", "ssh_keys": [key["id"]]}
    with_key = api.post(f"{path}/actions/enable_rescue", body)
    assert with_key["root_password"] is None
    assert ended(api, with_key["action"]) == "success"
    assert api.get(path)["server"]["rescue_enabled"] is True
    assert ended(api, api.post(f"{path}/actions/disable_rescue")["action"]) == "success"
    assert api.get(path)["server"]["rescue_enabled"] is False
    without = api.post(f"{path}/actions/enable_rescue")
    assert len(without["root_password"]) == 20
    assert without["root_password"] not in str(list(Server.objects.values()))
