"""Ordering servers through the API: what a body means, and that one key buys one server."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.db import connections

from tests.accounts.test_keys import ED25519
from tests.api.asking import Api, program, project_of_charlie
from tests.world import World, make_world, work
from vpspanel.accounts.models import Account, StoredAnswer
from vpspanel.accounts.services import add_ssh_key
from vpspanel.events.models import Event
from vpspanel.sealing import unseal
from vpspanel.servers.models import PowerSeen, Server

BODY: dict[str, Any] = {"name": "web", "server_type": "nano", "image": "tiny"}


def test_an_order_is_carried_out(world: World, api: Api) -> None:
    key = api.post("/ssh_keys", {"name": "laptop", "public_key": ED25519})["ssh_key"]
    body = {
        **BODY,
        "location": "test1",
        "ssh_keys": [key["id"], "laptop"],
        "user_data": "#cloud-config\nhostname: x\n",
        "labels": {"env": "prod"},
        "start_after_create": True,
        "automount": False,
        "volumes": [],
        "networks": [],
        "firewalls": [],
        "public_net": {"enable_ipv4": True, "enable_ipv6": True},
    }
    made = api.post("/servers", body)
    assert made["server"]["status"] == "initializing"
    assert made["server"]["locked"] is True
    assert made["server"]["labels"] == {"env": "prod"}
    assert (made["action"]["command"], made["action"]["status"]) == ("create_server", "running")
    assert (made["next_actions"], made["root_password"]) == ([], None)
    work()
    assert api.get(f"/actions/{made['action']['id']}")["action"]["status"] == "success"
    shown = api.get(f"/servers/{made['server']['id']}")["server"]
    assert (shown["status"], shown["locked"]) == ("running", False)
    server = Server.objects.get()
    assert server.authorized_keys == [f"{key['public_key']} laptop"]
    assert unseal(server.user_data_sealed) == body["user_data"]
    event = Event.objects.get(kind="server.ordered")
    assert (event.via, event.actor_name) == ("api", "ci (API token)")


def test_without_a_key_the_password_is_told_once(world: World, api: Api) -> None:
    made = api.post("/servers", BODY)
    assert len(made["root_password"]) == 20
    for path in ("/servers", "/servers/actions", f"/servers/{made['server']['id']}"):
        assert made["root_password"] not in json.dumps(api.get(path))


def test_it_stays_off_if_asked(world: World, api: Api) -> None:
    made = api.post("/servers", {**BODY, "start_after_create": False})
    work()
    assert api.get(f"/actions/{made['action']['id']}")["action"]["status"] == "success"
    assert api.get(f"/servers/{made['server']['id']}")["server"]["status"] == "off"
    server = Server.objects.get()
    assert (server.power_wanted, server.power_seen) == ("off", PowerSeen.OFF)
    api.post(f"/servers/{server.pk}/actions/poweron")
    work()
    assert api.get(f"/servers/{server.pk}")["server"]["status"] == "running"


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"location": None, "datacenter": None},
        {"location": "test1"},
        {"datacenter": "test1-dc1"},
    ],
)
def test_places(world: World, api: Api, where: dict[str, Any]) -> None:
    assert api.post("/servers", {**BODY, **where})["server"]["location"]["name"] == "test1"


def test_ids_and_names(world: World, api: Api) -> None:
    plan, image = world.plan.pk, world.images[1].pk
    for number, (asked, given) in enumerate([(plan, image), (str(plan), str(image))]):
        body = {"name": f"web{number}", "server_type": asked, "image": given}
        assert api.post("/servers", body)["server"]["image"]["name"] == "other"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "-"}, "invalid_input"),
        ({"name": ""}, "invalid_input"),
        ({"name": None}, "invalid_input"),
        ({"server_type": "huge"}, "invalid_input"),
        ({"server_type": True}, "invalid_input"),
        ({"server_type": 2**60}, "invalid_input"),
        ({"image": "none"}, "invalid_input"),
        ({"image": {}}, "invalid_input"),
        ({"location": "nowhere"}, "invalid_input"),
        ({"ssh_keys": ["none"]}, "invalid_input"),
        ({"ssh_keys": "laptop"}, "invalid_input"),
        ({"labels": {"a b": "c"}}, "invalid_input"),
        ({"labels": {"a": 1}}, "invalid_input"),
        ({"user_data": "#cloud-config\n- a: [\n"}, "invalid_input"),
        ({"start_after_create": "no"}, "invalid_input"),
        ({"public_net": {"enable_ipv4": False, "enable_ipv6": False}}, "invalid_input"),
        ({"public_net": {"enable_ipv4": False, "ipv4": 7}}, "invalid_input"),
        ({"public_net": {"ipv4": 999_999}}, "invalid_input"),
        ({"public_net": {"ipv5": 7}}, "invalid_input"),
        ({"volumes": [1]}, "unsupported_error"),
        ({"networks": [1]}, "unsupported_error"),
        ({"firewalls": [{"firewall": 1}]}, "unsupported_error"),
        ({"placement_group": 1}, "invalid_input"),
        # What only the panel may set.
        ({"host": 1}, "invalid_input"),
        ({"project": 1}, "invalid_input"),
        ({"price": "0"}, "invalid_input"),
        ({"id": 1}, "invalid_input"),
        ({"status": "running"}, "invalid_input"),
        ({"created": "2020-01-01T00:00:00Z"}, "invalid_input"),
    ],
)
def test_what_is_refused(world: World, api: Api, changes: dict[str, Any], code: str) -> None:
    assert api.refused("POST", "/servers", {**BODY, **changes}) == (422, code)
    assert not Server.objects.exists()
    assert Account.objects.get(name="Alice").servers_used == 0


def test_a_key_of_another_project_is_not_found(world: World, api: Api) -> None:
    theirs = add_ssh_key(
        world.charlie, project=project_of_charlie(world), name="theirs", public_key=ED25519
    )
    answers = []
    for key in (theirs.pk, 999999):
        answer = api.ask("POST", "/servers", {**BODY, "ssh_keys": [key]})
        assert answer.status_code == 422
        answers.append(answer.content.replace(str(key).encode(), b"N"))
    assert answers[0] == answers[1]


def test_a_name_is_taken_once(world: World, api: Api) -> None:
    api.post("/servers", BODY)
    answer = api.ask("POST", "/servers", BODY)
    error = json.loads(answer.content)["error"]
    assert (answer.status_code, error["code"]) == (409, "uniqueness_error")
    assert error["details"]["fields"] == [{"name": "name"}]


def test_limits(world: World, api: Api) -> None:
    Account.objects.update(server_limit=0)
    assert api.refused("POST", "/servers", BODY) == (403, "resource_limit_exceeded")
    Account.objects.update(server_limit=9)
    type(world.host).objects.update(accepting=False)
    assert api.refused("POST", "/servers", BODY) == (412, "resource_unavailable")
    body = {**BODY, "location": "test1"}
    assert api.refused("POST", "/servers", body) == (412, "resource_unavailable")


def test_one_key_buys_one_server(world: World, api: Api) -> None:
    first = api.ask("POST", "/servers", BODY, Idempotency_Key="a")
    again = api.ask("POST", "/servers", dict(reversed(BODY.items())), Idempotency_Key="a")
    assert (first.status_code, again.status_code) == (201, 201)
    assert json.loads(first.content) == json.loads(again.content)
    assert again["Idempotency-Replayed"] == "true"
    assert Server.objects.count() == 1
    other = {**BODY, "name": "other"}
    refused = api.refused("POST", "/servers", other, Idempotency_Key="a")
    assert refused == (422, "idempotency_key_reused")
    api.post("/servers", other, Idempotency_Key="b")
    assert Server.objects.count() == 2


def test_a_key_is_a_tokens_own(world: World, api: Api, stranger: Api) -> None:
    api.post("/servers", BODY, Idempotency_Key="a")
    theirs = stranger.post("/servers", BODY, Idempotency_Key="a")
    assert theirs["server"]["id"] != Server.objects.order_by("pk")[0].pk


def test_a_refusal_uses_no_key_up(world: World, api: Api) -> None:
    wrong = {**BODY, "image": "none"}
    assert api.refused("POST", "/servers", wrong, Idempotency_Key="a")[1] == "invalid_input"
    api.post("/servers", BODY, Idempotency_Key="a")


def test_what_is_kept_of_an_answer_is_sealed(world: World, api: Api) -> None:
    made = api.post("/servers", BODY, Idempotency_Key="a")
    stored = bytes(StoredAnswer.objects.get().body_sealed)
    assert made["root_password"].encode() not in stored
    assert made["root_password"] in unseal(stored)


def test_a_key_that_is_none(world: World, api: Api) -> None:
    for key in ("x" * 256, "a\tb"):
        refused = api.refused("POST", "/servers", BODY, Idempotency_Key=key)
        assert refused == (422, "invalid_input")


def test_a_crash_leaves_neither_key_nor_server(
    world: World, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr("vpspanel.api.once.seal", dies)
        assert api.refused("POST", "/servers", BODY, Idempotency_Key="a")[0] == 500
    assert not Server.objects.exists()
    assert not StoredAnswer.objects.exists()
    assert Account.objects.get(name="Alice").servers_used == 0
    api.post("/servers", BODY, Idempotency_Key="a")


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_twenty_at_once_with_one_key_buy_one_server() -> None:
    world = make_world()
    api = program(world.project)
    answers: list[tuple[int, bytes]] = []
    start = threading.Barrier(20)

    def buy() -> None:
        start.wait()
        answer = api.ask("POST", "/servers", BODY, Idempotency_Key="a")
        answers.append((answer.status_code, answer.content))
        connections.close_all()

    threads = [threading.Thread(target=buy) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Server.objects.count() == 1
    assert Account.objects.get(name="Alice").servers_used == 1
    assert {status for status, _ in answers} == {201}
    assert len({json.dumps(json.loads(body), sort_keys=True) for _, body in answers}) == 1
