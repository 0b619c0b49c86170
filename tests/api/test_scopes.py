"""Tokens that may change some things only, and tokens for some servers only."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hosts.models import Image, ImageStatus, ImageType
from tests.api.asking import Api, program
from tests.webhooks.receiver import make_webhook
from tests.world import World
from vpspanel.accounts.models import ApiToken, SSHKey
from vpspanel.accounts.roles import role_in
from vpspanel.accounts.scopes import MEANING, OF_THE_PROJECT, Scope
from vpspanel.accounts.token_services import create_token, find_token
from vpspanel.actions.services import record_done
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.servers.access import SCOPE_OF, may
from vpspanel.servers.images import image_owner
from vpspanel.servers.limited_tokens import create_limited_token
from vpspanel.servers.models import PlacementGroup, Server
from vpspanel.servers.states import Verb
from vpspanel.webhooks.models import Delivery, DeliveryState, Webhook

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7gPPs0cPjHRfzFv4R1Wd1JLjVqgNSPXbGvkxnV0Jxu ci"
HOOK = {"name": "new", "url": "https://hooks.example.com/new"}


@pytest.fixture
def server(world: World) -> Server:
    """A running one of Alice's."""
    return world.running("web")


def snapshot(world: World) -> Image:
    return Image.objects.create(
        type=ImageType.SNAPSHOT,
        status=ImageStatus.AVAILABLE,
        description="before",
        owner=image_owner(world.project.pk),
    )


def requests_of(server: Server, image: Image, key: SSHKey) -> dict[Scope | None, tuple[Any, ...]]:
    """For each scope, a request that nothing but the scope refuses; none that does harm if done."""
    at = f"/servers/{server.pk}"
    return {
        Scope.POWER: ("POST", f"{at}/actions/reboot", {}),
        Scope.CHANGE: ("PUT", at, {"name": "other"}),
        Scope.REBUILD: ("POST", f"{at}/actions/reset_password", {}),
        Scope.CREATE: (
            "POST",
            "/servers",
            {"name": "new", "server_type": "nano", "image": "tiny"},
        ),
        Scope.DELETE: ("DELETE", at, None),
        Scope.IMAGES: ("PUT", f"/images/{image.pk}", {"description": "after"}),
        Scope.SSH_KEYS: ("DELETE", f"/ssh_keys/{key.pk}", None),
        Scope.PLACEMENT_GROUPS: ("POST", "/placement_groups", {"name": "apart"}),
        Scope.WEBHOOKS: ("POST", "/webhooks", HOOK),
    }


def a_key(world: World) -> SSHKey:
    return SSHKey.objects.create(
        project=world.project, name="key", public_key=KEY, fingerprint="aa:bb"
    )


@pytest.mark.parametrize("scope", [scope for scope in Scope if scope is not Scope.CONSOLE])
def test_a_scope_allows_its_own_changes_and_no_others(
    world: World, server: Server, scope: Scope
) -> None:
    wanted = requests_of(server, snapshot(world), a_key(world))
    api = program(world.project, may_write=False, scopes=[scope])
    for other, request in wanted.items():
        if other is scope:
            continue
        answer = api.ask(*request)
        error = json.loads(answer.content)["error"]
        assert (answer.status_code, error["code"]) == (403, "forbidden"), (other, answer.content)
        assert f"the scope {other}" in error["message"]
    assert api.get(f"/servers/{server.pk}")["server"]["name"] == "web"
    answer = api.ask(*wanted[scope])
    assert answer.status_code in (200, 201, 204), answer.content


def test_every_verb_has_a_scope_that_is_explained(world: World, server: Server) -> None:
    assert set(SCOPE_OF) == set(Verb)
    assert set(MEANING) == set(Scope)
    for scope in Scope:
        made = create_token(
            SYSTEM, project=world.project, name=scope, may_write=False, scopes=[scope]
        )
        actor = Actor(None, "api", token=made.token)
        allowed = {verb for verb in Verb if may(actor, server, verb)}
        assert allowed == {verb for verb in Verb if SCOPE_OF[verb] is scope}


def test_what_knows_no_scope_takes_a_limited_token_for_a_reader(
    world: World, server: Server
) -> None:
    limits: list[dict[str, Any]] = [{}, {"scopes": ["images"]}, {"server_ids": [server.pk]}]
    roles = []
    for number, limit in enumerate(limits):
        made = create_token(
            SYSTEM, project=world.project, name=f"t{number}", may_write=True, **limit
        )
        roles.append(role_in(Actor(None, "api", token=made.token), world.project.pk))
    assert roles == ["admin", "reader", "reader"]


def limited(world: World, *servers: str, **more: Any) -> Api:
    wanted = {"name": "limited", "may_write": True, **more}
    made = create_limited_token(world.alice, project=world.project, servers=servers, **wanted)
    return Api(made.secret)


@pytest.mark.both_databases
def test_other_servers_do_not_exist(world: World, server: Server) -> None:
    other, image, key = world.running("db"), snapshot(world), a_key(world)
    theirs = record_done(
        "reboot",
        resource=("server", other.pk),
        actor=world.alice,
        project_id=world.project.pk,
    )
    group = PlacementGroup.objects.create(project=world.project, name="apart")
    world.project.servers.update(placement_group=group)
    hook = make_webhook(world)
    api = limited(world, "web")
    assert [one["name"] for one in api.get("/servers")["servers"]] == ["web"]
    ips = {ip["assignee_id"] for ip in api.get("/primary_ips")["primary_ips"]}
    assert ips == {server.pk}
    about = {one["resources"][0]["id"] for one in api.get("/servers/actions")["actions"]}
    assert about == {server.pk}
    assert api.get(f"/actions?id={theirs.pk}")["actions"] == []
    assert api.get("/images?type=snapshot")["images"] == []
    assert (
        api.get("/webhooks")["webhooks"] == api.get("/placement_groups")["placement_groups"] == []
    )
    assert api.get("/servers")["servers"][0]["placement_group"] is None
    address = other.primary_ips.order_by("pk")[0].pk
    for method, path in (
        ("GET", f"/servers/{other.pk}"),
        ("PUT", f"/servers/{other.pk}"),
        ("DELETE", f"/servers/{other.pk}"),
        ("POST", f"/servers/{other.pk}/actions/poweroff"),
        ("GET", f"/servers/{other.pk}/actions"),
        ("GET", f"/actions/{theirs.pk}"),
        ("GET", f"/primary_ips/{address}"),
        ("GET", f"/images/{image.pk}"),
        ("DELETE", f"/images/{image.pk}"),
        ("GET", f"/webhooks/{hook.pk}/deliveries"),
        ("GET", f"/placement_groups/{group.pk}"),
    ):
        body: Any = None if method in ("GET", "DELETE") else {}
        assert api.refused(method, path, body) == (404, "not_found"), path
    own = requests_of(server, image, key)
    for scope in OF_THE_PROJECT - {Scope.IMAGES}:
        assert api.refused(*own[scope]) == (403, "forbidden")
    assert SSHKey.objects.filter(pk=key.pk).exists()
    assert Server.objects.count() == 2
    api.post(f"/servers/{server.pk}/actions/reboot", {})


def test_every_change_of_a_group_needs_its_scope(world: World, server: Server) -> None:
    group = PlacementGroup.objects.create(project=world.project, name="apart")
    at = f"/placement_groups/{group.pk}"
    other = program(world.project, scopes=["webhooks", "servers:change"])
    assert other.get(at)["placement_group"]["name"] == "apart"
    for method, path, body in (
        ("POST", "/placement_groups", {"name": "more"}),
        ("PUT", at, {"name": "near"}),
        ("DELETE", at, None),
    ):
        assert other.refused(method, path, body) == (403, "forbidden"), method
    assert list(PlacementGroup.objects.values_list("name", flat=True)) == ["apart"]
    joined = {"placement_group": group.pk}
    actions = f"/servers/{server.pk}/actions"
    own = program(world.project, name="own", scopes=["placement_groups"])
    path = f"{actions}/add_to_placement_group"
    assert own.refused("POST", path, joined) == (403, "forbidden")  # that changes the server
    other.post(path, joined)
    other.post(f"{actions}/remove_from_placement_group", {})
    own.post("/placement_groups", {"name": "more"})
    assert own.put(at, {"name": "near"})["placement_group"]["name"] == "near"
    own.delete(at)
    assert list(PlacementGroup.objects.values_list("name", flat=True)) == ["more"]


def test_every_change_of_a_webhook_needs_its_scope(world: World) -> None:
    hook = make_webhook(world)
    at = f"/webhooks/{hook.pk}"
    own = program(world.project, scopes=["webhooks"])
    other = program(world.project, name="other", scopes=["placement_groups"])
    delivery = own.post(f"{at}/actions/test", {})["delivery"]
    Delivery.objects.update(state=DeliveryState.FAILED)
    again = f"{at}/deliveries/{delivery['id']}/actions/redeliver"
    assert other.get(f"{at}/deliveries")["deliveries"] != []
    changes: tuple[tuple[str, str, Any], ...] = (
        ("POST", "/webhooks", HOOK),
        ("PUT", at, {"name": "renamed"}),
        ("POST", f"{at}/actions/test", {}),
        ("POST", f"{at}/actions/rotate_secret", {}),
        ("POST", again, {}),
        ("DELETE", at, None),
    )
    for method, path, body in changes:
        answer = other.ask(method, path, body)
        assert (answer.status_code, b"the scope webhooks" in answer.content) == (403, True), path
    assert list(Webhook.objects.values_list("name", flat=True)) == [hook.name]
    for method, path, body in changes:
        answer = own.ask(method, path, body)
        assert answer.status_code in (200, 201, 204), (path, answer.content)
    assert list(Webhook.objects.values_list("name", flat=True)) == [HOOK["name"]]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"scopes": ["servers:fly"]}, "scopes"),
        *[({"scopes": [scope], "servers": ["web"]}, "scopes") for scope in sorted(OF_THE_PROJECT)],
        ({"servers": ["web", "of-charlie"]}, "servers"),
        ({"servers": ["web"] * 101}, "servers"),
    ],
)
def test_what_is_refused(world: World, server: Server, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Refused) as refusal:
        limited(world, *changes.pop("servers", ()), **changes)
    assert (refusal.value.code, refusal.value.field) == ("invalid_input", field)
    assert not ApiToken.objects.exists()


def test_the_command_takes_every_limit(world: World, server: Server) -> None:
    output = io.StringIO()
    arguments = ["--scope=servers:power", f"--server={server.pk}", "--cidr=192.0.2.0/24"]
    until = "--expires=2099-01-31T12:00Z"
    call_command("token_create", "alice@example.com", *arguments, until, stdout=output)
    token = find_token(output.getvalue().strip())
    assert token is not None
    assert (token.scopes, token.server_ids) == (["servers:power"], [server.pk])
    assert (token.networks, token.may_write) == (["192.0.2.0/24"], True)
    assert token.expires == datetime(2099, 1, 31, 12, tzinfo=UTC)
    for wrong, said in (
        ("--scope=x", "is no scope"),
        ("--server=nowhere", "no server"),
        ("--cidr=x", "not an address"),
        ("--expires=soon", "not a time"),
        ("--expires=2001-01-01", "in the past"),
    ):
        with pytest.raises(CommandError, match=said):
            call_command("token_create", "alice@example.com", "--name=x", wrong)
