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
from tests.api.asking import Api, make_customer, make_reseller, program, reseller_program
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


RESELLERS = {"accounts", "projects", "tokens"}  # for their programs only
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
    shop = make_reseller()
    project = make_customer(shop, "customer")
    program(project)
    reseller = reseller_program(shop)
    hook, group = make_webhook(world), {"name": "apart", "labels": {"a": "b"}}
    pks = {
        "servers": server.pk,
        "ssh_keys": key,
        "images": image,
        "locations": location,
        "datacenters": location,
        "server_types": plan,
        "primary_ips": PrimaryIP.objects.filter(server=server)[0].pk,
        "webhooks": hook.pk,
        "accounts": project.account_id,
        "projects": project.pk,
        "tokens": project.api_tokens.get().pk,
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
        asks = reseller if resource in RESELLERS else api
        answer = asks.ask("GET", asked + query)
        without = template.startswith(("/images/", "/primary_ips/")) and "/{action_id}" in template
        without |= template == "/images/{id}/actions"
        assert answer.status_code == (404 if without and "{" in template else 200), asked
        conforms(described, "GET", template, answer)


def test_every_order_and_filter_that_is_named_is_taken(
    world: World, api: Api, described: dict[str, Any]
) -> None:
    world.running("web")
    reseller = reseller_program(make_reseller())
    tried = 0
    for path, methods in described["paths"].items():
        if "{" in path:
            continue
        first = "id=1&" if path == f"{BASE}actions" else ""
        for parameter in methods.get("get", {}).get("parameters", ()):
            asks = reseller if path.removeprefix(BASE) in RESELLERS else api
            for word in parameter["schema"].get("items", {}).get("enum", ()):
                query = f"?{first}{parameter['name']}={quote(word)}"
                answer = asks.ask("GET", path.removeprefix(BASE.rstrip("/")) + query)
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


def test_what_a_reseller_changes_answers_as_described(
    world: World, described: dict[str, Any]
) -> None:
    shop = make_reseller()
    seller = reseller_program(shop)

    def ask(method: str, template: str, pk: int = 0, body: Any = None, *, inside: int = 0) -> Any:
        asks = Api(seller.secret, project=inside or None)
        answer = asks.ask(method, template.replace("{id}", str(pk)), body)
        assert answer.status_code < 300, (template, answer.content)
        conforms(described, method, template, answer)
        return json.loads(answer.content) if answer.content else None

    account = ask("POST", "/accounts", body={"name": "Ada", "server_limit": 3})["account"]["id"]
    ask("PUT", "/accounts/{id}", account, {"name": "Eve"})
    ask("POST", "/accounts/{id}/actions/suspend", account, {"reason": "Spam"})
    ask("POST", "/accounts/{id}/actions/unsuspend", account)
    project = ask("POST", "/projects", body={"name": "main", "account": account})["project"]["id"]
    ask("PUT", "/projects/{id}", project, {"name": "prod"})
    token = ask("POST", "/tokens", body={"name": "ci", "project": project})["token"]["id"]
    ask("PUT", "/tokens/{id}", token, {"name": "cd"})
    ask("DELETE", "/tokens/{id}", token)
    order = {"name": "new", "server_type": "nano", "image": "tiny"}
    server = ask("POST", "/servers", body=order, inside=project)["server"]["id"]
    ask("POST", "/servers/{id}/actions/suspend", server, {"reason": "Spam"}, inside=project)
    ask("POST", "/servers/{id}/actions/unsuspend", server, inside=project)
    empty = ask("POST", "/projects", body={"name": "empty", "account": shop.pk})["project"]["id"]
    ask("DELETE", "/projects/{id}", empty)
    closed = ask("POST", "/accounts", body={"name": "Bob"})["account"]["id"]
    ask("DELETE", "/accounts/{id}", closed)
    ask("GET", "/limits")


def test_a_body_says_what_is_refused_and_what_is_needed(described: dict[str, Any]) -> None:
    schemas = described["components"]["schemas"]
    order = schemas["NewServerRequest"]
    assert order["required"] == ["image", "name", "server_type"]
    assert order["additionalProperties"] is False
    codes = described["paths"][f"{BASE}servers"]["post"]["responses"]["409"]["description"]
    assert codes == "conflict, uniqueness_error"
    assert "409" not in described["paths"][f"{BASE}servers"]["get"]["responses"]


def test_every_body_and_every_good_answer_has_an_example_that_fits(
    described: dict[str, Any],
) -> None:
    examples = 0
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            good = [one for status, one in operation["responses"].items() if status < "400"]
            for holder in (operation.get("requestBody", {}), *good):
                for media in holder.get("content", {}).values():
                    schema = _closed({**media["schema"], "components": described["components"]})
                    wrong = list(Draft202012Validator(schema).iter_errors(media["example"]))
                    assert not wrong, (method, path, wrong)
                    examples += 1
    assert examples > len(described["paths"])


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
