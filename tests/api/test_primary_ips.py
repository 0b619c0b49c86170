"""Addresses over the API: bought, changed, given to servers, taken from them, deleted."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.api.asking import Api, program
from tests.world import World, work
from vpspanel.accounts.models import Account
from vpspanel.servers.models import PrimaryIP
from vpspanel.servers.public_net import PublicNet

NEW = {"name": "shop", "type": "ipv4", "location": "test1"}


def bought(api: Api, **changes: Any) -> Any:
    """What buying answers."""
    return api.post("/primary_ips", {**NEW, **changes})


def test_one_is_bought_once_and_changed(world: World, api: Api) -> None:
    answer = api.post("/primary_ips", NEW, Idempotency_Key="one")
    assert answer == api.post("/primary_ips", NEW, Idempotency_Key="one")
    ip = answer["primary_ip"]
    assert answer["action"] is None
    assert (ip["assignee_id"], ip["assignee_type"], ip["auto_delete"]) == (
        None,
        "unassigned",
        False,
    )
    assert PrimaryIP.objects.count() == 1
    changes = {"name": "store", "labels": {"a": "b"}, "auto_delete": True}
    changed = api.put(f"/primary_ips/{ip['id']}", changes)["primary_ip"]
    assert changed == {**ip, **changes}
    assert api.refused("POST", "/primary_ips", {**NEW, "name": "store"}) == (
        409,
        "uniqueness_error",
    )


def test_what_is_refused(world: World, api: Api, reader: Api) -> None:
    for changes in (
        {"type": "ipv5"},
        {"name": ""},
        {"location": None},
        {"location": "nowhere"},
        {"auto_delete": "yes"},
        {"labels": {"a b": "c"}},
        {"ip": "10.80.0.9"},
    ):
        assert api.refused("POST", "/primary_ips", {**NEW, **changes}) == (422, "invalid_input")
    assert api.refused("POST", "/primary_ips", {**NEW, "assignee_id": 999_999}) == (
        404,
        "not_found",
    )
    assert reader.refused("POST", "/primary_ips", NEW) == (403, "token_readonly")
    Account.objects.update(address_limit=0)
    assert api.refused("POST", "/primary_ips", NEW) == (403, "resource_limit_exceeded")
    assert not PrimaryIP.objects.exists()


def test_its_actions_are_its_servers_too(world: World, api: Api) -> None:
    server = world.stopped("web", public_net=PublicNet(ipv4=False))
    ip, other = (bought(api, name=name)["primary_ip"] for name in ("shop", "other"))
    path = f"/primary_ips/{ip['id']}"
    whom = {"assignee_id": server.pk, "assignee_type": "server"}
    action = api.post(f"{path}/actions/assign", whom)["action"]
    assert action["command"] == "assign_primary_ip"
    assert action["resources"] == [
        {"id": server.pk, "type": "server"},
        {"id": ip["id"], "type": "primary_ip"},
    ]
    work()
    assert api.get(path)["primary_ip"]["assignee_id"] == server.pk
    shown = api.get(f"/servers/{server.pk}")["server"]["public_net"]["ipv4"]
    assert (shown["id"], shown["ip"]) == (ip["id"], ip["ip"])
    api.post(f"{path}/actions/change_protection", {"delete": True})
    assert api.refused("DELETE", path) == (422, "protected")
    for where, commands in (
        (f"{path}/actions", {"assign_primary_ip", "change_protection"}),
        ("/primary_ips/actions", {"assign_primary_ip", "change_protection"}),
        (f"/primary_ips/{other['id']}/actions", set()),
    ):
        assert {one["command"] for one in api.get(where)["actions"]} == commands
    for where in (f"{path}/actions", "/primary_ips/actions", f"/servers/{server.pk}/actions"):
        assert api.get(f"{where}/{action['id']}")["action"]["status"] == "success"
    other_s = f"/primary_ips/{other['id']}/actions/{action['id']}"
    assert api.refused("GET", other_s) == (404, "not_found")
    assert api.refused("POST", f"{path}/actions/change_dns_ptr", {}) == (422, "unsupported_error")
    assert api.refused("POST", f"{path}/actions/polish", {}) == (404, "not_found")


def test_a_deleted_one_is_not_shown_while_its_server_lets_go(world: World, api: Api) -> None:
    server = world.stopped()
    ip = api.get(f"/servers/{server.pk}")["server"]["public_net"]["ipv4"]["id"]
    api.delete(f"/primary_ips/{ip}")
    assert PrimaryIP.objects.filter(pk=ip).exists()
    assert api.refused("GET", f"/primary_ips/{ip}") == (404, "not_found")
    assert api.get(f"/servers/{server.pk}")["server"]["public_net"]["ipv4"] is None
    work()
    assert not PrimaryIP.objects.filter(pk=ip).exists()


def test_a_new_server_is_where_its_address_is(world: World, api: Api) -> None:
    ip = bought(api)["primary_ip"]
    order = {"name": "web", "server_type": "nano", "image": "tiny"}
    net = {"ipv4": ip["id"], "enable_ipv6": False}
    server = api.post("/servers", {**order, "public_net": net})["server"]
    assert server["public_net"]["ipv4"]["ip"] == ip["ip"]
    assert server["public_net"]["ipv6"] is None
    assert api.refused("POST", "/servers", {**order, "name": "two", "public_net": net}) == (
        409,
        "primary_ip_assigned",
    )


def test_a_token_that_may_change_servers_assigns_and_buys_none(world: World, api: Api) -> None:
    server = world.stopped("web", public_net=PublicNet(ipv4=False))
    path = f"/primary_ips/{bought(api)['primary_ip']['id']}"
    changer = program(world.project, name="c", scopes=["servers:change"])
    assert changer.refused("POST", "/primary_ips", {**NEW, "name": "b"}) == (403, "forbidden")
    assert changer.refused("PUT", path, {"name": "b"}) == (403, "forbidden")
    assert changer.refused("DELETE", path) == (403, "forbidden")
    changer.post(f"{path}/actions/assign", {"assignee_id": server.pk, "assignee_type": "server"})


def test_a_long_list_costs_no_more(world: World, api: Api) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            api.get("/primary_ips")
        return len(captured)

    bought(api)
    few = queries()
    for number in range(6):
        bought(api, name=f"ip{number}")
    assert queries() == few
