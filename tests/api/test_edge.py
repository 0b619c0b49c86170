"""What holds for everything under /api/: who may ask, and how errors look."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client, override_settings
from django.utils import timezone

from tests.api.asking import Api, program
from tests.world import World
from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_services import revoke_token
from vpspanel.accounts.tokens import new_secret
from vpspanel.api.urls import v1
from vpspanel.body_limit import BodyLimit


def test_nobody_gets_in_without_a_token(world: World) -> None:
    for api in (Api(), Api("vpsp_wrong"), Api(new_secret()), Api("é" * 64)):
        answer = api.ask("GET", "/servers")
        assert answer.status_code == 401
        assert answer["WWW-Authenticate"] == "Bearer"
        assert api.refused("GET", "/servers") == (401, "unauthorized")
        assert api.refused("POST", "/servers", {"name": "x"}) == (401, "unauthorized")
        assert api.refused("GET", "/nothing") == (401, "unauthorized")


def test_a_session_opens_nothing(world: World) -> None:
    browser = Client()
    assert world.alice.user is not None
    browser.force_login(world.alice.user)
    assert browser.get("/api/v1/servers").status_code == 401


def test_a_revoked_token_is_refused_at_its_next_request(world: World, api: Api) -> None:
    api.get("/servers")
    token = ApiToken.objects.get()
    revoke_token(world.alice, project=world.project, token_id=token.pk)
    assert api.refused("GET", "/servers") == (401, "unauthorized")


def test_an_expired_token_is_refused(world: World, api: Api) -> None:
    api.get("/servers")
    ApiToken.objects.update(expires=timezone.now() - timedelta(seconds=1))
    assert api.refused("GET", "/servers") == (401, "unauthorized")


def test_a_token_works_only_from_its_networks(world: World) -> None:
    api = program(world.project, networks=["192.0.2.0/24"])
    assert api.ask("GET", "/servers", ip="192.0.2.9").status_code == 200
    assert api.refused("GET", "/servers", ip="198.51.100.1") == (403, "forbidden")


def test_a_broken_database_denies(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise OperationalError("the disk is gone")

    monkeypatch.setattr("vpspanel.api.auth.find_token", broken)
    assert api.refused("GET", "/servers") == (500, "server_error")
    assert b"disk" not in api.ask("GET", "/servers").content


def test_a_bug_tells_nothing_but_its_number(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vpspanel.api.servers.list_servers", lambda *_: 1 / 0)
    answer = api.ask("GET", "/servers?per_page=1", X_Request_ID="a-number-of-mine")
    assert answer.status_code == 200, "the list is empty, so nothing was asked for"
    monkeypatch.setattr("vpspanel.api.servers.visible_servers", lambda *_: 1 / 0)
    answer = api.ask("GET", "/servers", X_Request_ID="a-number-of-mine")
    assert answer.status_code == 500
    assert answer["X-Correlation-Id"] == "a-number-of-mine"
    assert b"division" not in answer.content


def test_what_is_not_there_is_said_in_json(api: Api) -> None:
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        assert api.refused(method, "/nothing") == (404, "not_found")
        assert api.refused(method, "/servers/") == (404, "not_found")
    assert Api(api.secret, "/api").refused("GET", "/") == (404, "not_found")
    assert api.refused("GET", f"/servers/{2**53}") == (404, "not_found")
    assert api.refused("GET", f"/servers/{'9' * 400}") == (404, "not_found")


def test_methods_and_media_types(api: Api) -> None:
    assert api.refused("DELETE", "/servers") == (405, "method_not_allowed")
    assert "GET" in api.ask("PATCH", "/locations")["Allow"]
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        given = {"Content-Type": kind}
        assert api.refused("POST", "/ssh_keys", "a=b", **given) == (415, "unsupported_media_type")
    assert api.ask("GET", "/servers", Accept="text/html").status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ("{", 400, "json_error"),
        (b"\xff\xfe", 400, "json_error"),
        ('{"name": NaN}', 400, "json_error"),
        ("[]", 422, "invalid_input"),
        ('["name"]', 422, "invalid_input"),
        ("null", 422, "invalid_input"),
        ('"name"', 422, "invalid_input"),
        ("{}", 422, "invalid_input"),
        ('{"name": "a", "public_key": 7}', 422, "invalid_input"),
        ('{"name": "a\\u0000b", "public_key": "x"}', 422, "invalid_input"),
        ('{"name": "a\\ud800b", "public_key": "x"}', 422, "invalid_input"),
        ('{"name": "a", "public_key": "x", "owner": 1}', 422, "invalid_input"),
        ("[" * 100_000, 400, "json_error"),
    ],
)
def test_bodies_that_are_none(api: Api, body: str | bytes, status: int, code: str) -> None:
    assert api.refused("POST", "/ssh_keys", body) == (status, code)


def test_every_wrong_field_is_named(api: Api) -> None:
    answer = api.ask("POST", "/ssh_keys", {"nmae": "a", "owner": 1})
    error = json.loads(answer.content)["error"]
    assert {field["name"] for field in error["details"]["fields"]} == {"nmae", "owner"}
    answer = api.ask("POST", "/ssh_keys", {})
    fields = json.loads(answer.content)["error"]["details"]["fields"]
    assert {field["name"] for field in fields} == {"name", "public_key"}
    assert all(field["messages"] for field in fields)


def test_parameters_that_no_database_takes(api: Api) -> None:
    for path in ("/servers?name=%00", "/ssh_keys?fingerprint=a%00", "/servers?page=0"):
        assert api.refused("GET", path) == (422, "invalid_input")
    for path in ("?page=-1", "?page=x", f"?page={'9' * 30}", "?sort=secret", "?sort=id:up"):
        assert api.refused("GET", f"/servers{path}") == (422, "invalid_input")
    assert api.get("/servers?page=9007199254740991")["servers"] == []


async def test_a_body_that_is_too_long_is_refused_in_json() -> None:
    sent: list[Any] = []

    async def never(*_: object) -> None:
        raise AssertionError("it was let through")

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {"path": "/api/v1/servers", "headers": [(b"content-length", b"99")]}
    await BodyLimit(never, 10)(scope, never, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["error"]["code"] == "payload_too_large"


@override_settings(ALLOWED_HOSTS=["panel.example"])
def test_what_django_refuses_by_itself_is_json_too(api: Api) -> None:
    assert api.refused("GET", "/servers", Host="evil.example") == (400, "invalid_input")


def addresses() -> Iterator[str]:
    """Every address, with a number for each id."""
    for pattern in v1:
        route = str(pattern.pattern)
        if "<" not in route and "^" not in route:
            yield f"/{route}"
        elif "^" not in route:
            yield "/" + "/".join("999999" if "<" in part else part for part in route.split("/"))


def test_a_read_token_writes_nowhere(reader: Api) -> None:
    for path in addresses():
        public = path == "/openapi.json"  # which knows no tokens, and no other method
        refusal = (405, "method_not_allowed") if public else (403, "token_readonly")
        for method in ("POST", "PUT", "DELETE"):
            assert reader.refused(method, path, {}) == refusal


def test_nothing_is_kept_between(api: Api) -> None:
    for path in ("/servers", "/locations", "/nothing"):
        assert api.ask("GET", path)["Cache-Control"] == "no-store"
