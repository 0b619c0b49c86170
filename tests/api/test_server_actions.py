"""What is done to a server through the API."""

from __future__ import annotations

import json

import pytest
from django.utils import timezone

from tests.api.asking import Api, program
from tests.world import World, due_now, work
from vpspanel.actions.models import Action
from vpspanel.api.server_actions import UNSUPPORTED, VERBS
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.models import PowerSeen, Server


def act(api: Api, server: Server, verb: str, body: object = None) -> dict[str, str]:
    """The action, which has ended well; and whatever else was answered."""
    answer = api.post(f"/servers/{server.pk}/actions/{verb}", body)
    for _ in range(100):
        work()
        due_now()
        action = api.get(f"/actions/{answer['action']['id']}")["action"]
        if action["status"] != "running":
            break
    assert action["status"] == "success", action
    return {**answer, "command": action["command"]}


def status(api: Api, server: Server) -> str:
    return str(api.get(f"/servers/{server.pk}")["server"]["status"])


def test_power(world: World, api: Api) -> None:
    server = world.running()
    for verb, command, after in (
        ("poweroff", "stop_server", "off"),
        ("poweron", "start_server", "running"),
        ("reset", "reset_server", "running"),
        ("shutdown", "shutdown_server", "off"),
        ("poweron", "start_server", "running"),
    ):
        assert act(api, server, verb, {})["command"] == command
        assert status(api, server) == after
    events = Event.objects.filter(kind="server.reset", via="api")
    assert [event.actor_name for event in events] == ["ci (API token)"]


def test_what_is_so_already_has_succeeded(world: World, api: Api) -> None:
    server = world.running()
    for verb in ("poweron", "poweroff", "poweroff", "shutdown"):
        act(api, server, verb)
    server.refresh_from_db()
    assert server.power_seen == PowerSeen.OFF
    assert api.refused("POST", f"/servers/{server.pk}/actions/reboot") == (
        422,
        "server_not_running",  # not "conflict": that is what clients try again by themselves
    )


def test_one_thing_at_a_time(world: World, api: Api) -> None:
    server = world.running()
    api.post(f"/servers/{server.pk}/actions/poweroff")
    for verb in ("poweroff", "reboot", "reset_password"):
        assert api.refused("POST", f"/servers/{server.pk}/actions/{verb}") == (423, "locked")


def test_rebuild(world: World, api: Api) -> None:
    server = world.running()
    answer = act(api, server, "rebuild", {"image": "other"})
    assert len(answer["root_password"]) == 20
    shown = api.get(f"/servers/{server.pk}")["server"]
    assert (shown["status"], shown["image"]["name"]) == ("running", "other")
    path = f"/servers/{server.pk}/actions/rebuild"
    for body in ({}, {"image": "none"}, {"image": "tiny", "keep": True}):
        assert api.refused("POST", path, body) == (422, "invalid_input")
    body = {"image": "tiny", "user_data": "#cloud-config\n"}
    assert api.refused("POST", path, body) == (422, "unsupported_error")


def test_a_new_password_is_told_and_the_old_one_is_not(world: World, api: Api) -> None:
    ordered = world.order()
    work()
    answer = act(api, ordered.server, "reset_password")
    assert len(answer["root_password"]) == 20
    assert answer["root_password"] != ordered.root_password
    told = Event.objects.filter(kind="server.password_revealed", via="api")
    assert told.count() == 1


def test_protection(world: World, api: Api) -> None:
    server = world.running()
    path = f"/servers/{server.pk}"
    answer = act(api, server, "change_protection", {"delete": True, "rebuild": True})
    assert answer["command"] == "change_protection"
    assert api.get(path)["server"]["protection"] == {"delete": True, "rebuild": True}
    assert api.refused("DELETE", path) == (422, "protected")
    body = {"image": "tiny"}
    assert api.refused("POST", f"{path}/actions/rebuild", body) == (422, "protected")
    half = {"delete": False}
    assert api.refused("POST", f"{path}/actions/change_protection", half)[1] == "invalid_input"
    act(api, server, "change_protection", {"delete": False, "rebuild": False})
    assert api.delete(path)["action"]["command"] == "delete_server"
    work()
    assert api.refused("GET", path) == (404, "not_found")
    assert api.refused("DELETE", path) == (404, "not_found")
    assert api.refused("POST", f"{path}/actions/poweron") == (404, "not_found")


def test_changing_name_and_labels(world: World, api: Api) -> None:
    server = world.running()
    world.running("taken")
    path = f"/servers/{server.pk}"
    changed = api.put(path, {"name": "db", "labels": {"env": "prod"}})["server"]
    assert (changed["name"], changed["labels"]) == ("db", {"env": "prod"})
    assert api.put(path, {"labels": {}})["server"]["labels"] == {}
    assert api.put(path, {})["server"]["name"] == "db"
    assert api.refused("PUT", path, {"name": "taken", "labels": {"a": "b"}})[0] == 409
    assert api.get(path)["server"]["labels"] == {}, "both or neither"
    for body in ({"name": "_"}, {"labels": {"": ""}}, {"labels": None}, {"status": "off"}):
        assert api.refused("PUT", path, body) == (422, "invalid_input")


@pytest.mark.parametrize("verb", UNSUPPORTED)
def test_what_there_is_not(world: World, api: Api, verb: str) -> None:
    server = world.order().server
    path = f"/servers/{server.pk}/actions/{verb}"
    assert api.refused("POST", path, {"anything": 1}) == (422, "unsupported_error")


def test_verbs_that_nobody_knows(world: World, api: Api) -> None:
    server = world.order().server
    for verb in ("explode", "delete", "power_on", "__class__"):
        assert api.refused("POST", f"/servers/{server.pk}/actions/{verb}") == (404, "not_found")


@pytest.mark.parametrize("verb", VERBS)
def test_servers_of_others_and_read_only_tokens(
    world: World, reader: Api, stranger: Api, verb: str
) -> None:
    server = world.running()
    before = (list(Server.objects.values()), list(Action.objects.values()))
    path = f"/servers/{server.pk}/actions/{verb}"
    body = {"image": "tiny"} if verb == "rebuild" else {}
    assert stranger.refused("POST", path, body) == (404, "not_found")
    assert reader.refused("POST", path, body) == (403, "token_readonly")
    assert (list(Server.objects.values()), list(Action.objects.values())) == before


def test_a_suspended_server_may_be_stopped_and_deleted_only(world: World, api: Api) -> None:
    server = world.running()
    Server.objects.update(suspended_at=timezone.now())
    for verb in ("reset", "reboot", "reset_password"):
        assert api.refused("POST", f"/servers/{server.pk}/actions/{verb}") == (403, "forbidden")
    assert api.get(f"/servers/{server.pk}")["server"]["suspended"] is True
    act(api, server, "poweroff")
    assert api.refused("POST", f"/servers/{server.pk}/actions/poweron") == (403, "forbidden")
    api.delete(f"/servers/{server.pk}")


def test_a_verb_with_a_key_is_done_once(world: World, api: Api) -> None:
    server = world.running()
    path = f"/servers/{server.pk}/actions/reset_password"
    first = api.ask("POST", path, Idempotency_Key="a")
    again = api.ask("POST", path, Idempotency_Key="a")
    assert json.loads(first.content) == json.loads(again.content)
    assert Action.objects.filter(command="reset_password").count() == 1
    other = f"/servers/{server.pk}/actions/poweroff"
    refused = api.refused("POST", other, Idempotency_Key="a")
    assert refused == (422, "idempotency_key_reused")


def test_the_token_that_was_taken_away_changes_nothing_more(world: World) -> None:
    api = program(world.project)
    server = world.running()
    world.project.api_tokens.all().delete()
    assert api.refused("DELETE", f"/servers/{server.pk}") == (401, "unauthorized")
    services.delete(world.alice, server.pk)
