"""ISOs over the API."""

from __future__ import annotations

from tests.api.asking import Api, program
from tests.servers.test_isos import make_iso
from tests.world import World, work
from vpspanel.servers.models import Server


def test_one_is_found_attached_and_detached(world: World, api: Api) -> None:
    iso, server = make_iso(), world.stopped()
    (shown,) = api.get("/isos?architecture=x86&include_architecture_wildcard=true")["isos"]
    assert (shown["id"], shown["name"], shown["type"]) == (iso.pk, "installer", "public")
    assert api.get(f"/isos/{iso.pk}")["iso"] == shown
    assert api.get("/isos?name=other")["isos"] == []
    assert api.refused("GET", f"/isos/{world.images[0].pk}") == (404, "not_found")
    path = f"/servers/{server.pk}"
    action = api.post(f"{path}/actions/attach_iso", {"iso": "installer"})["action"]
    assert action["command"] == "attach_iso"
    work()
    assert api.get(path)["server"]["iso"] == shown
    assert api.get("/servers")["servers"][0]["iso"] == shown
    api.post(f"{path}/actions/detach_iso")
    work()
    assert api.get(path)["server"]["iso"] is None


def test_no_image_is_an_iso_and_no_iso_an_image(world: World, api: Api) -> None:
    iso, server = make_iso(), world.stopped()
    path = f"/servers/{server.pk}/actions/attach_iso"
    assert api.refused("POST", path, {"iso": "tiny"}) == (422, "invalid_input")
    assert iso.pk not in {image["id"] for image in api.get("/images?per_page=50")["images"]}
    order = {"name": "x", "server_type": "nano", "image": "installer"}
    assert api.refused("POST", "/servers", order) == (422, "invalid_input")


def test_a_token_needs_the_scope_of_rebuilding(world: World) -> None:
    iso, server = make_iso(), world.stopped()
    path = f"/servers/{server.pk}/actions/attach_iso"
    for scope, refused in (("servers:change", True), ("servers:rebuild", False)):
        limited = program(world.project, name=scope.replace(":", "-"), scopes=[scope])
        if refused:
            assert limited.refused("POST", path, {"iso": iso.pk}) == (403, "forbidden")
        else:
            limited.post(path, {"iso": iso.pk})
    assert Server.objects.get(pk=server.pk).iso is None
