"""The document says what the API does: every route, and every field of every answer."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import pytest
from django.http import HttpResponse
from drf_spectacular.validation import validate_schema
from jsonschema import Draft202012Validator

from tests.accounts.test_keys import ED25519
from tests.api.asking import Api
from tests.servers.test_isos import make_iso
from tests.webhooks.receiver import make_webhook
from tests.world import World, work
from vpspanel.api.hints import Shapes
from vpspanel.api.schema import BASE, Routes, document, operation_of
from vpspanel.servers.models import PrimaryIP
from vpspanel.servers.public_net import PublicNet

# What is there only to say that hcloud's own is not.
NOT_OFFERED = {
    ("AbsentList", "GET"),
    ("AbsentList", "POST"),
    ("AbsentActions", "GET"),
    *(("AbsentOne", method) for method in ("GET", "POST", "PUT", "DELETE")),
}


@pytest.fixture(scope="module")
def described() -> dict[str, Any]:
    """The document."""
    return document()


# What an address needs to be asked at all.
ASKED = {
    "/servers/{id}/metrics": "?type=cpu&start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z",
}


def conforms(described: dict[str, Any], method: str, path: str, answer: HttpResponse) -> None:
    """Fail if a field is missing, unknown or of another type than the document says."""
    operation = described["paths"][BASE.rstrip("/") + path][method.lower()]
    response = operation["responses"].get(str(answer.status_code))
    assert response, (method, path, answer.status_code, answer.content)
    if "content" not in response:
        assert answer.content == b""
        return
    schema = response["content"]["application/json"]["schema"]
    closed = _closed({**schema, "components": described["components"]})
    Draft202012Validator(closed).validate(json.loads(answer.content))


def _closed(node: Any) -> Any:
    """The schema, with no field allowed that it does not name."""
    if isinstance(node, list):
        return [_closed(one) for one in node]
    if not isinstance(node, dict):
        return node
    closed = {name: _closed(one) for name, one in node.items()}
    if isinstance(node.get("properties"), dict) and node.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def test_it_is_openapi_3_1(described: dict[str, Any]) -> None:
    assert described["openapi"].startswith("3.1")
    validate_schema(described)
    ids = [one["operationId"] for path in described["paths"].values() for one in path.values()]
    assert len(ids) == len(set(ids))


def test_every_route_is_described() -> None:
    silent = {
        (type(view).__name__, method)
        for path, _, method, view in Routes().routes()
        if operation_of(view, method) is None
    }
    assert silent == NOT_OFFERED


def test_every_read_answers_as_described(world: World, api: Api, described: dict[str, Any]) -> None:
    world.running("web", labels={"env": "prod"})
    server = world.order("db").server
    action = api.get(f"/servers/{server.pk}/actions")["actions"][0]["id"]
    key = api.post("/ssh_keys", {"name": "k", "public_key": ED25519})["ssh_key"]["id"]
    image = api.get("/images")["images"][0]["id"]
    location = api.get("/locations")["locations"][0]["id"]
    plan = api.get("/server_types")["server_types"][0]["id"]
    hook, group = make_webhook(world), {"name": "apart", "labels": {"a": "b"}}
    pks = {
        "servers": server.pk,
        "ssh_keys": key,
        "images": image,
        "locations": location,
        "datacenters": location,
        "server_types": plan,
        "isos": make_iso().pk,
        "primary_ips": PrimaryIP.objects.filter(server=server)[0].pk,
        "webhooks": hook.pk,
        "placement_groups": api.post("/placement_groups", group)["placement_group"]["id"],
    }
    # The catalogue's images have no actions, and nothing was done to an address: those answer 404,
    # in the described form.
    for path, methods in described["paths"].items():
        if "get" not in methods:
            continue
        template = path.removeprefix(BASE.rstrip("/"))
        resource = template.split("/")[1]
        asked = template.replace("{action_id}", str(action))
        if "{id}" in asked:
            asked = asked.replace("{id}", str(pks[resource]))
        query = f"?id={action}" if template == "/actions" else ASKED.get(template, "")
        answer = api.ask("GET", asked + query)
        without = template.startswith(("/images/", "/primary_ips/")) and "/{action_id}" in template
        without |= template == "/images/{id}/actions"
        assert answer.status_code == (404 if without and "{" in template else 200), asked
        conforms(described, "GET", template, answer)


def test_every_order_and_filter_that_is_named_is_taken(
    world: World, api: Api, described: dict[str, Any]
) -> None:
    world.running("web")
    tried = 0
    for path, methods in described["paths"].items():
        if "{" in path:
            continue
        first = "id=1&" if path == f"{BASE}actions" else ""
        for parameter in methods.get("get", {}).get("parameters", ()):
            for word in parameter["schema"].get("items", {}).get("enum", ()):
                query = f"?{first}{parameter['name']}={quote(word)}"
                answer = api.ask("GET", path.removeprefix(BASE.rstrip("/")) + query)
                assert answer.status_code == 200, (path, query, answer.content)
                tried += 1
    assert tried > 50


def test_what_changes_something_answers_as_described(
    world: World, api: Api, described: dict[str, Any]
) -> None:
    def ask(method: str, template: str, pk: int = 0, body: Any = None) -> Any:
        answer = api.ask(method, template.replace("{id}", str(pk)), body)
        assert answer.status_code < 300, (template, answer.content)
        conforms(described, method, template, answer)
        return json.loads(answer.content) if answer.content else None

    key = ask("POST", "/ssh_keys", body={"name": "k", "public_key": ED25519})["ssh_key"]["id"]
    ask("PUT", "/ssh_keys/{id}", key, {"name": "laptop"})
    ask("DELETE", "/ssh_keys/{id}", key)
    ask("POST", "/servers", body={"name": "new", "server_type": "nano", "image": "tiny"})
    verbs = {
        "change_protection": {"delete": False, "rebuild": False},
        "rebuild": {"image": "tiny"},
        "reset_password": None,
        "attach_iso": {"iso": make_iso().pk},
        "enable_rescue": {},
        "poweroff": None,
        "reboot": None,
        "reset": None,
        "shutdown": None,
        "poweron": None,
    }
    for verb, body in verbs.items():
        server = world.running(f"s-{verb.replace('_', '-')}")
        ask("POST", f"/servers/{{id}}/actions/{verb}", server.pk, body)
    asked = {"name": "a", "type": "ipv4", "location": "test1"}
    ip = ask("POST", "/primary_ips", body=asked)["primary_ip"]["id"]
    ask("PUT", "/primary_ips/{id}", ip, {"name": "b", "auto_delete": True})
    ask("POST", "/primary_ips/{id}/actions/change_protection", ip, {"delete": False})
    bare = world.stopped("bare", public_net=PublicNet(ipv4=False))
    whom = {"assignee_id": bare.pk, "assignee_type": "server"}
    ask("POST", "/primary_ips/{id}/actions/assign", ip, whom)
    work()
    ask("POST", "/primary_ips/{id}/actions/unassign", ip)
    work()
    ask("DELETE", "/primary_ips/{id}", ip)
    ask("PUT", "/servers/{id}", server.pk, {"name": "other"})
    ask("DELETE", "/servers/{id}", server.pk)


def test_a_body_says_what_is_refused_and_what_is_needed(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    order = schemas["NewServerRequest"]
    assert order["required"] == ["image", "name", "server_type"]
    assert order["additionalProperties"] is False
    codes = described["paths"][f"{BASE}servers"]["post"]["responses"]["409"]["description"]
    assert codes == "conflict, uniqueness_error"
    assert "409" not in described["paths"][f"{BASE}servers"]["get"]["responses"]


def test_everybody_may_read_it_and_need_not_read_it_twice(db: None) -> None:
    nobody = Api()
    answer = nobody.ask("GET", "/openapi.json")
    assert answer.status_code == 200
    assert json.loads(answer.content)["info"]["title"] == "vpspanel"
    assert "public" in answer["Cache-Control"]
    again = nobody.ask("GET", "/openapi.json", If_None_Match=answer["ETag"])
    assert (again.status_code, again.content) == (304, b"")


def test_a_pair_is_a_list_of_two() -> None:
    pair = Draft202012Validator(Shapes().schema(tuple[float, str]))
    assert [pair.is_valid(value) for value in ([1.5, "a"], [1.5], ["a", "a"], [1, "a", "a"])] == [
        True,
        False,
        False,
        False,
    ]
    with pytest.raises(TypeError, match="no schema"):
        Shapes().schema(set[int])
