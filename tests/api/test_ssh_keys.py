"""SSH keys through the API."""

from __future__ import annotations

import json

from tests.accounts.test_keys import ED25519
from tests.api.asking import Api
from tests.world import World
from vpspanel.accounts.models import SSHKey
from vpspanel.events.models import Event

BODY = {"name": "laptop", "public_key": ED25519, "labels": {"owner": "alice"}}


def test_the_life_of_a_key(world: World, api: Api) -> None:
    key = api.post("/ssh_keys", BODY)["ssh_key"]
    assert key["fingerprint"].count(":") == 15
    assert key["labels"] == {"owner": "alice"}
    assert ED25519.startswith(key["public_key"])
    assert api.get(f"/ssh_keys/{key['id']}")["ssh_key"] == key
    assert api.get(f"/ssh_keys?fingerprint={key['fingerprint']}")["ssh_keys"] == [key]
    assert api.get("/ssh_keys?name=laptop")["ssh_keys"] == [key]
    assert api.get("/ssh_keys?label_selector=owner=bob")["ssh_keys"] == []
    changed = api.put(f"/ssh_keys/{key['id']}", {"name": "desk"})["ssh_key"]
    assert changed == {**key, "name": "desk"}
    changed = api.put(f"/ssh_keys/{key['id']}", {"labels": {}})["ssh_key"]
    assert (changed["name"], changed["labels"]) == ("desk", {})
    assert api.ask("DELETE", f"/ssh_keys/{key['id']}").status_code == 204
    assert not SSHKey.objects.exists()
    events = Event.objects.filter(kind__startswith="ssh_key.")
    assert {event.via for event in events} == {"api"}
    assert {event.actor_name for event in events} == {"ci (API token)"}
    assert all(event.data["token"] for event in events)


def test_the_same_key_or_name_twice(world: World, api: Api) -> None:
    api.post("/ssh_keys", BODY)
    answer = api.ask("POST", "/ssh_keys", BODY)
    assert answer.status_code == 409
    error = json.loads(answer.content)["error"]
    assert error["code"] == "uniqueness_error"
    assert error["details"]["fields"] == [{"name": "public_key"}]


def test_what_is_wrong_is_named(world: World, api: Api) -> None:
    for body in (
        {**BODY, "public_key": "ssh-dss AAAA"},
        {**BODY, "name": "a\tb\x7f"},
        {**BODY, "labels": {"-": "x"}},
        {**BODY, "labels": ["x"]},
        {**BODY, "project": 1},
    ):
        assert api.refused("POST", "/ssh_keys", body) == (422, "invalid_input")
    assert not SSHKey.objects.exists()


def test_keys_of_others_are_not_touched(world: World, api: Api, stranger: Api) -> None:
    key = api.post("/ssh_keys", BODY)["ssh_key"]["id"]
    for method in ("GET", "PUT", "DELETE"):
        body = {"name": "mine"} if method == "PUT" else None
        assert stranger.refused(method, f"/ssh_keys/{key}", body) == (404, "not_found")
    assert SSHKey.objects.get().name == "laptop"
