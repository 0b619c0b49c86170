"""Every program tries every address of the API with every method. The table is the plan.

An address that is not in the table fails the test: whoever adds one says what is there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.urls import reverse
from django.utils import timezone

from hosts.models import Image, ImageStatus, ImageType
from tests.access.addresses import all_addresses
from tests.access.rows import Rows
from tests.api.asking import (
    Api,
    make_reseller,
    program,
    project_of_charlie,
    reseller_program,
)
from tests.servers.test_isos import make_iso
from tests.webhooks.receiver import make_webhook
from tests.world import World, make_world
from vpspanel.accounts.models import Account, ApiToken, Project, SSHKey
from vpspanel.actions.models import Action
from vpspanel.actions.services import record_done
from vpspanel.api import primary_ips
from vpspanel.api.absent import COLLECTIONS
from vpspanel.api.server_actions import UNSUPPORTED, VERBS
from vpspanel.servers.images import image_owner
from vpspanel.servers.models import PlacementGroup, PrimaryIP, Server
from vpspanel.webhooks.models import Delivery, Webhook

ADDRESS_VERBS = (*primary_ips.VERBS, *primary_ips.UNSUPPORTED)
# What everybody's is the same for all; what is a project's is not there for others.
EVERYBODYS, PROJECTS, MINE = "everybody's", "the project's", "one of the project's"
# What is there for a reseller's programs only; and what is a project's or, without one, theirs.
RESELLERS, THEIRS, EITHERS, EITHER = (
    "resellers'",
    "one of a reseller's",
    "anybody's own",
    "one's own",
)

# name -> (whose it is, methods). A token that only reads may GET.
PLAN: dict[str, tuple[str, str]] = {
    "actions": (PROJECTS, "GET"),
    "action": (MINE, "GET"),
    "locations": (EVERYBODYS, "GET"),
    "location": (EVERYBODYS, "GET"),
    "datacenters": (EVERYBODYS, "GET"),
    "datacenter": (EVERYBODYS, "GET"),
    "server_types": (EVERYBODYS, "GET"),
    "server_type": (EVERYBODYS, "GET"),
    "pricing": (EVERYBODYS, "GET"),
    "images": (EVERYBODYS, "GET"),
    "image": (MINE, "GET PUT DELETE"),
    "image_protection": (MINE, "POST"),
    "images_actions": (PROJECTS, "GET"),
    "images_action": (MINE, "GET"),
    "image_actions": (MINE, "GET"),
    "image_action": (MINE, "GET"),
    "primary_ips": (PROJECTS, "GET POST"),
    "primary_ip": (MINE, "GET PUT DELETE"),
    "primary_ips_actions": (PROJECTS, "GET"),
    "primary_ips_action": (MINE, "GET"),
    "primary_ip_actions": (MINE, "GET"),
    "primary_ip_action": (MINE, "GET"),
    **{f"primary_ip_verb:{verb}": (MINE, "POST") for verb in ADDRESS_VERBS},
    "isos": (EVERYBODYS, "GET"),
    "iso": (EVERYBODYS, "GET"),
    "events": (EITHERS, "GET"),
    "limits": (EITHERS, "GET"),
    "stock": (EVERYBODYS, "GET"),
    "usage": (EITHERS, "GET"),
    "ssh_keys": (PROJECTS, "GET POST"),
    "ssh_key": (MINE, "GET PUT DELETE"),
    "webhooks": (EITHERS, "GET POST"),
    "webhook": (EITHER, "GET PUT DELETE"),
    "webhook_test": (EITHER, "POST"),
    "webhook_secret": (EITHER, "POST"),
    "webhook_deliveries": (EITHER, "GET"),
    "webhook_redeliver": (EITHER, "POST"),
    "accounts": (RESELLERS, "GET POST"),
    "account": (THEIRS, "GET PUT DELETE"),
    "account_suspend": (THEIRS, "POST"),
    "account_unsuspend": (THEIRS, "POST"),
    "projects": (RESELLERS, "GET POST"),
    "project": (THEIRS, "GET PUT DELETE"),
    "tokens": (RESELLERS, "GET POST"),
    "token": (THEIRS, "GET PUT DELETE"),
    "placement_groups": (PROJECTS, "GET POST"),
    "placement_group": (MINE, "GET PUT DELETE"),
    "server_metrics": (MINE, "GET"),
    "servers": (PROJECTS, "GET POST"),
    "servers_actions": (PROJECTS, "GET"),
    "servers_action": (MINE, "GET"),
    "server": (MINE, "GET PUT DELETE"),
    "server_actions": (MINE, "GET"),
    "server_action": (MINE, "GET"),
    "console_tickets": (MINE, "POST"),
    **{f"server_verb:{verb}": (MINE, "POST") for verb in (*VERBS, *UNSUPPORTED)},
}
ABSENT = {name for one in COLLECTIONS for name in (one, f"{one}_actions", f"{one}_one")}
# What an address needs to be asked at all.
ASKED = {
    "server_metrics": "?type=cpu&start=2026-01-01T00:00:00Z&end=2026-01-01T01:00:00Z",
    "usage": "?from=2026-01-01T00:00:00Z&to=2026-02-01T00:00:00Z",
}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PEOPLE = ("nobody", "stranger", "reader", "writer", "suspended")
# Resellers: above Alice's account, acting in her project and not; and another one.
SELLERS = ("acting", "seller", "looking", "rival", "rival acting")


@pytest.fixture
def world(db: None) -> World:
    """A running server, a key and a snapshot of Alice, who buys from a reseller."""
    world = make_world()
    world.running("web")
    SSHKey.objects.create(
        project=world.project, name="key", public_key="ssh-ed25519 AAAA", fingerprint="aa:bb"
    )
    image = Image.objects.create(
        type=ImageType.SNAPSHOT,
        status=ImageStatus.AVAILABLE,
        description="before",
        owner=image_owner(world.project.pk),
    )
    make_webhook(world)
    seller = make_reseller("Seller")
    make_reseller("Rival")
    Account.objects.filter(pk=world.project.account_id).update(parent=seller)
    Account.objects.filter(pk=seller.pk).update(servers_used=1)
    program(world.project, name="own")
    PlacementGroup.objects.create(project=world.project, name="apart")
    make_iso()
    ip = PrimaryIP.objects.order_by("pk")[0]
    for resource in (("image", image.pk), ("primary_ip", ip.pk)):
        record_done(
            "change_protection",
            resource=resource,
            actor=world.alice,
            project_id=world.project.pk,
        )
    return world


def program_of(world: World, person: str) -> Api:
    """Somebody's program."""
    if person == "nobody":
        return Api(base="")
    if person in SELLERS:
        account = Account.objects.get(name="Rival" if "rival" in person else "Seller")
        acts_in = world.project if "acting" in person else None
        api = reseller_program(account, may_write=person != "looking", project=acts_in)
        return replace(api, base="")
    project = project_of_charlie(world) if person == "stranger" else world.project
    if person == "suspended":
        Account.objects.filter(pk=project.account_id).update(suspended_at=timezone.now())
    secret = program(project, may_write=person != "reader").secret
    return Api(secret, base="")


def names() -> list[str]:
    """Every address of the API."""
    return [name.removeprefix("api:") for name, _ in all_addresses() if name.startswith("api:")]


# What `pk` stands for below each collection, of Alice's things; elsewhere it is her location.
PKS: dict[str, Callable[[], int]] = {
    "servers": lambda: Server.objects.get().pk,
    "images": lambda: Image.objects.get(owner__isnull=False).pk,
    "isos": lambda: Image.objects.get(type=ImageType.ISO).pk,
    "primary_ips": lambda: Server.objects.get().primary_ips.order_by("pk")[0].pk,
    "ssh_keys": lambda: SSHKey.objects.get().pk,
    "server_types": lambda: Server.objects.get().server_type_id,
    "webhooks": lambda: Webhook.objects.get().pk,
    "accounts": lambda: Server.objects.get().project.account_id,
    "projects": lambda: Server.objects.get().project_id,
    "tokens": lambda: Server.objects.get().project.api_tokens.get(name="own").pk,
    "placement_groups": lambda: PlacementGroup.objects.get().pk,
}


def address(name: str) -> str:
    """With the ids of Alice's things."""
    name, _, verb = name.partition(":")
    route = dict(all_addresses())[f"api:{name}"]
    ids: dict[str, int | str] = {}
    if ":pk>" in route:
        find = PKS.get(route.split("/")[2])
        ids["pk"] = find() if find else Server.objects.get().location_id
    if ":delivery_id>" in route:
        ids["delivery_id"] = Delivery.objects.order_by("pk")[0].pk
    if ":action_id>" in route:
        ids["action_id"] = _action_id(name)
    if verb:
        ids["verb"] = verb
    path = reverse(f"api:{name}", kwargs=ids)
    return path + ASKED.get(name, f"?id={_action_id(name)}" if name == "actions" else "")


def _action_id(name: str) -> int:
    kinds = [kind for kind in ("image", "primary_ip") if name.startswith(kind)]
    action = Action.objects.filter(resource_type=kinds[0] if kinds else "server")
    return action.order_by("pk")[0].pk


# What must not change when somebody is refused.
ROWS = Rows(
    {
        "actions": Action.objects.values_list("pk", "state"),
        "servers": Server.objects.values(),
        "keys": SSHKey.objects.values(),
        "images": Image.objects.values(),
        "webhooks": Webhook.objects.values(),
        "groups": PlacementGroup.objects.values(),
        "addresses": PrimaryIP.objects.values(),
        "deliveries": Delivery.objects.values(),
        "tokens": ApiToken.objects.values_list("pk", "digest", "may_write", "name"),
        "accounts": Account.objects.values(),
        "projects": Project.objects.values(),
    }
)


def test_the_plan_names_every_address() -> None:
    planned = {name.partition(":")[0] for name in PLAN}
    assert sorted(names()) == sorted([*planned, *ABSENT, "not_there", "openapi", "reference"])


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("method", METHODS)
def test_nobody_gets_more_than_planned(world: World, person: str, method: str) -> None:
    api = program_of(world, person)
    before, seen = ROWS.values(), ROWS.read()
    for name, (whose, methods) in PLAN.items():
        answer = api.ask(method, address(name), None if method == "GET" else {})
        told = (name, answer.status_code, answer.content)
        if whose in (RESELLERS, THEIRS) and person != "nobody":
            assert answer.status_code == 403, told
        elif method == "GET" and "GET" in methods and person != "nobody":
            is_there = whose not in (MINE, EITHER) or person != "stranger"
            assert answer.status_code == (200 if is_there else 404), told
        elif person == "nobody":
            assert answer.status_code == 401, told
        elif person == "reader" and method != "GET":
            assert b"token_readonly" in answer.content, told
        elif method not in methods.split():
            assert answer.status_code == 405, told
        elif person == "stranger" and whose in (MINE, EITHER):
            assert answer.status_code == 404, told
        else:
            # An empty body is not enough to do anything, or the thing may be done.
            assert answer.status_code in (200, 201, 204, 403, 409, 422, 423), told
            _put_back(before)
            before, seen = ROWS.values(), ROWS.read()
            continue
        assert ROWS.read() == seen, told


@pytest.mark.parametrize("person", SELLERS)
@pytest.mark.parametrize("method", METHODS)
def test_no_reseller_gets_more_than_planned(world: World, person: str, method: str) -> None:
    api = program_of(world, person)
    before, seen = ROWS.values(), ROWS.read()
    for name, (whose, methods) in PLAN.items():
        answer = api.ask(method, address(name), None if method == "GET" else {})
        told = (name, answer.status_code, answer.content)
        good = expected_of(person, method, whose, methods)
        if good is not None:
            assert answer.status_code == good, told
        else:
            assert answer.status_code in (200, 201, 204, 403, 409, 422, 423), told
            assert b"needs the token" not in answer.content, told
            assert b"X-Project" not in answer.content, told
            _put_back(before)
            before, seen = ROWS.values(), ROWS.read()
            continue
        assert ROWS.read() == seen, told


def expected_of(person: str, method: str, whose: str, methods: str) -> int | None:
    """The status of the answer; None where it may be done, as far as an empty body can."""
    if person == "rival acting":
        return 404
    if method != "GET" and person == "looking":
        return 403
    if whose in (PROJECTS, MINE) and person != "acting":
        return 403
    if method not in methods.split():
        return 405
    is_there = True
    if whose == EITHER:
        is_there = person == "acting"  # Alice's webhook is her project's
    elif whose == THEIRS:
        is_there = person != "rival"
    if not is_there:
        return 404
    return 200 if method == "GET" else None


def _put_back(before: dict[str, Any]) -> None:
    """Let the next address find what this one found."""
    Action.objects.exclude(pk__in=[pk for pk, _ in before["actions"]]).delete()
    for row in before["servers"]:
        Server.objects.filter(pk=row["id"]).update(**row)
    if not PlacementGroup.objects.exists():
        PlacementGroup.objects.bulk_create([PlacementGroup(**row) for row in before["groups"]])
    for row in before["accounts"]:
        Account.objects.filter(pk=row["id"]).update(**row)
    for row in before["projects"]:
        Project.objects.filter(pk=row["id"]).update(**row)
    if not ApiToken.objects.filter(name="own").exists():
        pk, digest, may_write, name = next(row for row in before["tokens"] if row[3] == "own")
        project_id = Server.objects.get().project_id
        ApiToken.objects.create(
            pk=pk, digest=digest, may_write=may_write, name=name, project_id=project_id
        )
    if not Webhook.objects.exists():
        Webhook.objects.bulk_create([Webhook(**row) for row in before["webhooks"]])
    Delivery.objects.all().delete()
    Delivery.objects.bulk_create([Delivery(**row) for row in before["deliveries"]])
    if not SSHKey.objects.exists():
        SSHKey.objects.bulk_create([SSHKey(**row) for row in before["keys"]])
    if not Image.objects.filter(owner__isnull=False).exists():
        own = [row for row in before["images"] if row["owner"]]
        Image.objects.bulk_create([Image(**row) for row in own])


MAY_BE_STOPPED = ("server_verb:poweroff",)


def test_a_suspended_account_changes_no_server(world: World) -> None:
    api = program_of(world, "suspended")
    before = ROWS.values()["servers"]
    for name, (_, methods) in PLAN.items():
        if not name.startswith("server") or name in MAY_BE_STOPPED:
            continue
        for method in set(methods.split()) - {"GET", "DELETE"}:
            answer = api.ask(method, address(name), {"name": "x"} if method == "PUT" else {})
            assert answer.status_code in (403, 409, 422), (name, answer.content)
    assert ROWS.values()["servers"] == before


def test_the_same_words_for_what_is_not_there_and_what_is_not_theirs(world: World) -> None:
    api = program_of(world, "stranger")
    for name, (whose, methods) in PLAN.items():
        if whose not in (MINE, EITHER):
            continue
        for method in methods.split():
            theirs = api.ask(method, address(name), {} if method != "GET" else None)
            missing = re.sub(r"(?<=/)\d+", "999999", address(name))
            answer = api.ask(method, missing, {} if method != "GET" else None)
            assert (theirs.status_code, theirs.content) == (answer.status_code, answer.content)
