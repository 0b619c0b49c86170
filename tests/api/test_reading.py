"""What can be read, in the shape that clients expect."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from hosts.models import Image, ImageStatus
from tests.accounts.test_keys import ED25519
from tests.api.asking import Api
from tests.world import World, make_image
from vpspanel.actions.models import Action
from vpspanel.servers import services
from vpspanel.servers.groups import create_group
from vpspanel.servers.models import Leaving, PrimaryIP, Server, ServerType

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")


def test_a_server_has_every_field_that_clients_read(world: World, api: Api) -> None:
    server = world.running("web", labels={"env": "prod"})
    shown = api.get(f"/servers/{server.pk}")["server"]
    assert shown["id"] == server.pk
    assert (shown["name"], shown["status"], shown["locked"]) == ("web", "running", False)
    assert RFC3339.fullmatch(shown["created"])
    v4, v6 = shown["public_net"]["ipv4"], shown["public_net"]["ipv6"]
    assert isinstance(v4["id"], int)
    assert re.fullmatch(r"10\.80\.0\.\d+", v4["ip"])
    assert v6["ip"].endswith("::/64")
    assert v6["dns_ptr"] == []
    assert shown["public_net"]["floating_ips"] == shown["public_net"]["firewalls"] == []
    assert shown["private_net"] == shown["volumes"] == shown["load_balancers"] == []
    plan = shown["server_type"]
    assert (plan["name"], plan["cores"], plan["memory"], plan["disk"]) == ("nano", 1, 0.125, 1)
    price = plan["prices"][0]
    assert price["location"] == "test1"
    assert price["price_hourly"] == {"net": "0.005000", "gross": "0.005000"}
    assert price["price_monthly"]["net"] == "3.000000"
    assert shown["location"]["name"] == shown["datacenter"]["location"]["name"] == "test1"
    assert shown["image"]["name"] == "tiny"
    assert shown["protection"] == {"delete": False, "rebuild": False}
    assert shown["labels"] == {"env": "prod"}
    assert shown["included_traffic"] == 1024**4
    assert shown["backup_window"] is shown["iso"] is shown["placement_group"] is None
    assert shown["rescue_enabled"] is False


def test_one_server_is_read_as_the_list_reads_it(world: World, api: Api) -> None:
    """The one is read by statements of its own, so nothing may differ in any state."""
    world.stopped("off", labels={"env": "prod"})
    world.order("queued")
    grouped, rescued, bare = world.running("a"), world.running("b"), world.running("c")
    group = create_group(world.alice, project=world.project, name="apart")
    Server.objects.filter(pk=grouped.pk).update(placement_group=group, protect_delete=True)
    Server.objects.filter(pk=rescued.pk).update(rescue_enabled=True, iso=world.images[1])
    Server.objects.filter(pk=bare.pk).update(image=None, host=None, suspended_at=timezone.now())
    PrimaryIP.objects.filter(server=bare).update(server=None)
    PrimaryIP.objects.filter(server=rescued, address__family=4).update(leaving=Leaving.FOR_GOOD)
    listed = api.get("/servers")["servers"]
    assert len(listed) == 5
    for shown in listed:
        with CaptureQueriesContext(connection) as queries:
            assert api.get(f"/servers/{shown['id']}") == {"server": shown}
        # Token, its budget, the server, what is open, addresses, prices; and who is in its group.
        assert len(queries) <= 6 + (shown["placement_group"] is not None)


def test_no_answer_holds_a_secret_or_says_on_which_host(world: World, api: Api) -> None:
    ordered = world.order("web", user_data="#cloud-config\n{}\n")
    texts = [
        json.dumps(api.get(path))
        for path in ("/servers", f"/servers/{ordered.server.pk}", "/servers/actions")
    ]
    for text in texts:
        assert ordered.root_password not in text  # type: ignore[operator]
        assert world.host.name not in text
        assert str(ordered.server.uuid) not in text
        assert "sealed" not in text


def test_what_belongs_to_others_does_not_exist(world: World, api: Api, stranger: Api) -> None:
    ordered = world.order("web")
    key = api.post("/ssh_keys", {"name": "k", "public_key": ED25519})["ssh_key"]["id"]
    paths = [
        f"/servers/{ordered.server.pk}",
        f"/servers/{ordered.server.pk}/actions",
        f"/servers/{ordered.server.pk}/actions/{ordered.action.pk}",
        f"/servers/actions/{ordered.action.pk}",
        f"/actions/{ordered.action.pk}",
        f"/ssh_keys/{key}",
    ]
    for path in paths:
        api.get(path)
        theirs = stranger.ask("GET", path)
        missing = stranger.ask("GET", re.sub(r"\d+", "999999", path))
        assert theirs.status_code == 404
        assert theirs.content == missing.content
    for path in ("/servers", "/servers/actions", "/ssh_keys", f"/actions?id={ordered.action.pk}"):
        assert stranger.get(path)["meta"]["pagination"]["total_entries"] == 0


def test_an_id_of_one_server_does_not_open_the_action_of_another(world: World, api: Api) -> None:
    one, two = world.order("one"), world.order("two")
    assert api.refused("GET", f"/servers/{one.server.pk}/actions/{two.action.pk}")[0] == 404


def test_pages(world: World, api: Api) -> None:
    for number in range(5):
        world.order(f"web{number}")
    answer = api.ask("GET", "/servers?per_page=2&page=2&sort=name:desc")
    body = json.loads(answer.content)
    assert [server["name"] for server in body["servers"]] == ["web2", "web1"]
    assert body["meta"]["pagination"] == {
        "page": 2,
        "per_page": 2,
        "previous_page": 1,
        "next_page": 3,
        "last_page": 3,
        "total_entries": 5,
    }
    links = re.findall(r"<[^>]*/api([^>]+)>; rel=(\w+)", answer["Link"])
    assert {relation: address for address, relation in links} == {
        "prev": "/v1/servers?per_page=2&page=1&sort=name%3Adesc",
        "next": "/v1/servers?per_page=2&page=3&sort=name%3Adesc",
        "last": "/v1/servers?per_page=2&page=3&sort=name%3Adesc",
    }
    assert api.get("/servers?page=9")["servers"] == []
    assert api.get("/servers?per_page=500")["meta"]["pagination"]["per_page"] == 50


@pytest.mark.both_databases
def test_finding_servers(world: World, api: Api) -> None:
    world.running("on", labels={"env": "prod", "1": "one", "a__b": "x"})
    world.order("new", labels={"env": "test", "example.com/tier": "web"})

    def names(query: str) -> list[str]:
        return [server["name"] for server in api.get(f"/servers?{query}")["servers"]]

    assert names("name=on") == ["on"]
    assert names("status=running") == ["on"]
    assert names("status=initializing&status=off") == ["new"]
    assert names("status=running&status=initializing") == ["on", "new"]
    assert api.refused("GET", "/servers?status=broken") == (422, "invalid_input")
    for selector, found in {
        "env=prod": ["on"],
        "env!=prod": ["new"],
        "env": ["on", "new"],
        "!env": [],
        "env in (prod,test)": ["on", "new"],
        "env notin (prod)": ["new"],
        "example.com/tier=web": ["new"],
        "1=one,a__b": ["on"],
        "!1": ["new"],
        "missing!=x": ["on", "new"],
    }.items():
        assert names(f"label_selector={selector}") == found, selector
    assert api.refused("GET", "/servers?label_selector=a=b=c") == (422, "invalid_input")


def test_a_deleted_server_is_gone_and_its_action_stays(world: World, api: Api) -> None:
    server = world.running("web")
    action = services.delete(world.alice, server.pk)
    assert api.get(f"/servers/{server.pk}")["server"]["status"] == "deleting"
    world.running("other")  # the worker does what is due
    assert api.refused("GET", f"/servers/{server.pk}") == (404, "not_found")
    shown = api.get(f"/actions/{action.pk}")["action"]
    assert (shown["command"], shown["status"], shown["progress"]) == (
        "delete_server",
        "success",
        100,
    )


def test_lists_take_the_same_queries_whatever_their_length(world: World, api: Api) -> None:
    counts: dict[str, list[int]] = {}
    for number in range(3):
        world.order(f"a{number}")
        world.order(f"b{number}")
        api.post("/ssh_keys", {"name": f"k{number}", "public_key": _key(number)})
        for path in ("/servers", "/servers/actions", "/ssh_keys", "/server_types", "/images"):
            api.get(path)
            with CaptureQueriesContext(
                connection,
            ) as queries:
                api.get(path)
            counts.setdefault(path, []).append(len(queries))
    assert counts == {
        "/servers": [8] * 3,  # token, budget, count, ids, page, addresses, open actions, prices
        "/servers/actions": [3] * 3,
        "/ssh_keys": [4] * 3,
        "/server_types": [5] * 3,
        "/images": [5] * 3,
    }


def _key(number: int) -> str:
    """Another key."""
    blob = base64.b64decode(ED25519.split()[1])
    changed = blob[:-1] + bytes([number])
    return f"ssh-ed25519 {base64.b64encode(changed).decode()}"


def test_actions_are_exactly_those_that_are_asked_for(world: World, api: Api) -> None:
    actions = [world.order(f"web{number}").action.pk for number in range(4)]
    wanted = [actions[3], actions[1]]
    query = "&".join(f"id={pk}" for pk in wanted)
    found = api.get(f"/actions?{query}&sort=id:desc")["actions"]
    assert [action["id"] for action in found] == wanted
    assert api.refused("GET", "/actions") == (422, "invalid_input")
    assert api.refused("GET", "/actions?id=x") == (422, "invalid_input")
    first = found[0]
    assert (first["status"], first["finished"], first["error"]) == ("running", None, None)
    assert RFC3339.fullmatch(first["started"])
    assert first["resources"][0]["type"] == "server"


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("queued", "running", None),
        ("parked", "running", None),
        ("success", "success", None),
        ("error", "error", "host_timeout"),
        ("cancelled", "error", "host_timeout"),
    ],
)
def test_states_of_actions(
    world: World, api: Api, state: str, status: str, code: str | None
) -> None:
    action = world.order().action
    Action.objects.update(state=state, error_code="host_timeout", error_message="Too slow.")
    shown = api.get(f"/actions/{action.pk}")["action"]
    assert shown["status"] == status
    assert (shown["error"] or {}).get("code") == code
    assert len(api.get(f"/servers/actions?status={status}")["actions"]) == 1


def test_housekeeping_is_nobodys_business(world: World, api: Api) -> None:
    action = world.order().action
    Action.objects.update(command="scrub_seed")
    assert api.get("/servers/actions")["actions"] == []
    assert api.refused("GET", f"/actions/{action.pk}") == (404, "not_found")


def test_waiting_for_an_action_that_has_ended_takes_no_time(world: World, api: Api) -> None:
    world.running()
    action = Action.objects.get()
    assert api.get(f"/actions/{action.pk}?wait=60")["action"]["status"] == "success"
    assert api.refused("GET", f"/actions/{action.pk}?wait=soon") == (422, "invalid_input")


def test_waiting_ends_after_its_time(world: World, api: Api) -> None:
    action = world.order().action
    assert api.get(f"/actions/{action.pk}?wait=1")["action"]["status"] == "running"


def test_addresses(world: World, api: Api, stranger: Api) -> None:
    server = world.running("web")
    public = api.get(f"/servers/{server.pk}")["server"]["public_net"]
    found = api.get("/primary_ips")["primary_ips"]
    assert [(ip["id"], ip["ip"], ip["type"]) for ip in found] == [
        (public["ipv4"]["id"], public["ipv4"]["ip"], "ipv4"),
        (public["ipv6"]["id"], public["ipv6"]["ip"], "ipv6"),
    ]
    one = found[0]
    assert (one["assignee_id"], one["assignee_type"]) == (server.pk, "server")
    assert one["location"]["name"] == "test1"
    assert api.get(f"/primary_ips?ip={one['ip']}")["primary_ips"] == [one]
    path = f"/primary_ips/{one['id']}"
    assert api.get(path)["primary_ip"] == one
    assert stranger.refused("GET", path) == (404, "not_found")
    for method, where in (("PUT", path), ("DELETE", path), ("POST", f"{path}/actions/assign")):
        assert stranger.refused(method, where, {}) == (404, "not_found")


def test_images_and_plans_are_found_by_name(world: World, api: Api) -> None:
    assert [i["name"] for i in api.get("/images?name=tiny&architecture=x86")["images"]] == ["tiny"]
    assert api.get("/images?architecture=arm")["images"] == []
    assert api.get("/images?type=snapshot")["images"] == []
    old = make_image("old")
    Image.objects.filter(pk=old.pk).update(deprecated=old.created)
    assert "old" not in str(api.get("/images"))
    unclear = api.refused("GET", "/images?include_deprecated=maybe")
    assert unclear == (422, "invalid_input")
    shown = api.get("/images?name=old&include_deprecated=true")["images"][0]
    assert shown["deprecated"]
    assert shown["deprecation"]["unavailable_after"]
    Image.objects.filter(name="other").update(status=ImageStatus.CREATING)
    assert api.get("/images?name=other")["images"] == []
    plan = api.get("/server_types?name=nano")["server_types"][0]
    assert api.get(f"/server_types/{plan['id']}")["server_type"] == plan
    assert plan["locations"][0]["available"] is True
    ServerType.objects.update(deprecated=old.created)
    plan = api.get("/server_types?name=nano")["server_types"][0]
    assert plan["deprecated"] is True
    assert plan["locations"][0]["available"] is False


def test_a_private_image_is_not_in_the_catalogue(world: World, api: Api) -> None:
    image = make_image("private")
    Image.objects.filter(pk=image.pk).update(owner="0f0e0d0c-0b0a-4908-8706-050403020100")
    assert api.get("/images?name=private")["images"] == []
    assert api.refused("GET", f"/images/{image.pk}") == (404, "not_found")


def test_places_and_prices(world: World, api: Api) -> None:
    place = api.get("/locations?name=test1")["locations"][0]
    assert api.get(f"/locations/{place['id']}")["location"] == place
    assert api.get("/locations?name=nowhere")["locations"] == []
    centre = api.get("/datacenters")["datacenters"][0]
    assert centre["location"] == place
    assert centre["server_types"]["available"] == [world.plan.pk]
    assert api.get(f"/datacenters/{centre['id']}")["datacenter"]["name"] == "test1-dc1"
    pricing = api.get("/pricing")["pricing"]
    assert pricing["currency"] == "EUR"
    assert pricing["server_types"][0]["prices"][0]["price_hourly"]["gross"] == "0.005000"
    for path in ("/locations/99", "/datacenters/99", "/server_types/99", "/images/99"):
        assert api.refused("GET", path) == (404, "not_found")


@pytest.mark.parametrize(
    "name",
    ["volumes", "networks", "firewalls", "floating_ips", "load_balancers", "certificates"],
)
def test_what_there_is_not(api: Api, name: str) -> None:
    body: dict[str, Any] = api.get(f"/{name}?name=x&per_page=50")
    assert body[name] == []
    assert body["meta"]["pagination"]["last_page"] == 1
    assert api.get(f"/{name}/actions")["actions"] == []
    assert api.refused("POST", f"/{name}", {"name": "x"}) == (422, "unsupported_error")
    assert api.refused("GET", f"/{name}/1") == (404, "not_found")
    assert api.refused("POST", f"/{name}/1/actions/attach", {}) == (404, "not_found")
