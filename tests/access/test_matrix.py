"""Everybody tries every address with every verb. The table below is the plan; nothing else is 2xx.

An address that is not in the table fails the test: whoever adds one says who may use it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models import Model
from django.http import HttpResponseBase
from django.test import Client
from django.urls import reverse

from hosts.models import (
    CapacityClaim,
    Host,
    Image,
    ImageStatus,
    ImageType,
    IPAddress,
    IPPool,
    Location,
    StoragePool,
)
from tests.access.addresses import all_addresses
from tests.access.rows import Rows
from tests.webhooks.receiver import make_webhook
from tests.world import World, make_user, make_world
from vpspanel.accounts.models import Account, ApiToken, Member, Project, SSHKey, User
from vpspanel.accounts.token_services import create_token
from vpspanel.actions.models import Action
from vpspanel.consoles.links import create_link
from vpspanel.consoles.models import Recording, ShareLink
from vpspanel.consoles.recorder import Recorder
from vpspanel.consoles.recordings import keep_recording
from vpspanel.events.actor import Actor
from vpspanel.servers.images import image_owner
from vpspanel.servers.models import PlacementGroup, PrimaryIP, Server, ServerType, ServerTypePrice
from vpspanel.servers.models_announcement import Announcement
from vpspanel.webhooks.models import Delivery, Webhook

# Rows that no address of the pages changes, whoever asks.
UNTOUCHED: tuple[type[Model], ...] = (
    *(Account, Member, Project),
    *(ServerType, ServerTypePrice),
    *(Location, Host, StoragePool, CapacityClaim, IPPool, IPAddress),
)
PUBLIC, SIGNED_IN, READER, OPERATOR, ADMIN = "public", "signed in", "reader", "operator", "admin"

# name -> (who may GET, who may POST); None: the method is not there.
PLAN: dict[str, tuple[str | None, str | None]] = {
    "healthz": (PUBLIC, None),
    "home": (SIGNED_IN, None),
    "servers:list": (SIGNED_IN, None),
    "servers:list_fragment": (SIGNED_IN, None),
    "servers:order": (SIGNED_IN, SIGNED_IN),  # whoever may order in a project of theirs
    "servers:show": (READER, None),
    "servers:fragment": (READER, None),
    "servers:reveal_password": (None, ADMIN),
    "servers:graphs": (READER, None),
    "servers:figures": (READER, None),
    "servers:power_on": (None, OPERATOR),
    "servers:shutdown": (None, OPERATOR),
    "servers:cancel": (None, OPERATOR),
    "servers:reboot": (None, OPERATOR),
    "servers:power_off": (OPERATOR, OPERATOR),
    "servers:reset": (OPERATOR, OPERATOR),
    "servers:reset_password": (ADMIN, ADMIN),
    "servers:rename": (ADMIN, ADMIN),
    "servers:change_protection": (ADMIN, ADMIN),
    "servers:rebuild": (ADMIN, ADMIN),
    "servers:create_image": (ADMIN, ADMIN),
    "snapshots:list": (SIGNED_IN, None),
    "snapshots:change_protection": (ADMIN, ADMIN),
    "snapshots:delete": (ADMIN, ADMIN),
    "servers:enable_rescue": (ADMIN, ADMIN),
    "servers:disable_rescue": (ADMIN, ADMIN),
    "servers:reveal_rescue_password": (None, ADMIN),
    "servers:attach_iso": (ADMIN, ADMIN),
    "servers:detach_iso": (ADMIN, ADMIN),
    "servers:change_type": (ADMIN, ADMIN),
    "servers:delete": (ADMIN, ADMIN),
    "consoles:page": (READER, None),
    "consoles:status": (READER, None),
    "consoles:ticket": (None, READER),
    "consoles:power": (OPERATOR, OPERATOR),
    "consoles:staff": (None, None),  # with the permission only: tests/consoles/test_staff.py
    "consoles:staff_ticket": (None, None),
    "consoles:links": (OPERATOR, OPERATOR),
    "consoles:link_revoke": (None, OPERATOR),
    "consoles:shared": (PUBLIC, None),
    "consoles:shared_enter": (None, PUBLIC),
    "consoles:shared_console": (None, None),  # with a link only: tests/consoles/test_links.py
    "consoles:shared_ticket": (None, None),
    "consoles:embed_serial": (PUBLIC, None),
    "consoles:embed_screen": (PUBLIC, None),
    "consoles:watch_serial": (PUBLIC, None),
    "consoles:watch_screen": (PUBLIC, None),
    "consoles:embed_ticket": (None, None),  # with a secret: tests/consoles/test_embedded.py
    "consoles:recordings": (READER, None),
    "consoles:recording": (READER, None),
    "consoles:recording_delete": (None, OPERATOR),
    "keys:list": (SIGNED_IN, None),
    "keys:add": (SIGNED_IN, SIGNED_IN),
    "keys:delete": (OPERATOR, OPERATOR),
    "tokens:list": (SIGNED_IN, None),
    "tokens:add": (SIGNED_IN, SIGNED_IN),
    "tokens:change": (ADMIN, ADMIN),
    "tokens:revoke": (ADMIN, ADMIN),
    "addresses:list": (SIGNED_IN, None),
    "addresses:add": (SIGNED_IN, SIGNED_IN),
    "addresses:change": (ADMIN, ADMIN),
    "addresses:change_protection": (ADMIN, ADMIN),
    "addresses:assign": (ADMIN, ADMIN),
    "addresses:unassign": (ADMIN, ADMIN),
    "addresses:delete": (ADMIN, ADMIN),
    "groups:list": (SIGNED_IN, None),
    "groups:add": (SIGNED_IN, SIGNED_IN),
    "groups:rename": (ADMIN, ADMIN),
    "groups:join": (ADMIN, ADMIN),
    "groups:leave": (None, ADMIN),
    "groups:delete": (ADMIN, ADMIN),
    "webhooks:list": (SIGNED_IN, None),
    "webhooks:add": (SIGNED_IN, SIGNED_IN),
    "webhooks:show": (READER, None),
    "webhooks:change": (ADMIN, ADMIN),
    "webhooks:switch": (None, ADMIN),
    "webhooks:test": (None, ADMIN),
    "webhooks:rotate": (ADMIN, ADMIN),
    "webhooks:delete": (ADMIN, ADMIN),
    "webhooks:redeliver": (None, ADMIN),
    "announcements:dismiss": (None, SIGNED_IN),
    "projects:choose": (None, SIGNED_IN),
}
PEOPLE = {
    "nobody": "",
    "stranger": SIGNED_IN,
    "staff": SIGNED_IN,
    "bob": READER,
    "olga": OPERATOR,
    "alice": ADMIN,
}
NO_PROJECT_OF_THEIRS = {
    ("servers:order", "bob"),
    ("servers:order", "olga"),
    ("servers:order", "staff"),
    ("keys:add", "bob"),
    ("keys:add", "staff"),
    ("tokens:add", "bob"),
    ("tokens:add", "olga"),
    ("tokens:add", "staff"),
    ("addresses:add", "bob"),
    ("addresses:add", "olga"),
    ("addresses:add", "staff"),
    ("groups:add", "bob"),
    ("groups:add", "olga"),
    ("groups:add", "staff"),
    ("webhooks:add", "bob"),
    ("webhooks:add", "olga"),
    ("webhooks:add", "staff"),
}
RANK = [PUBLIC, SIGNED_IN, READER, OPERATOR, ADMIN]


def our_names() -> list[str]:
    """Every page of ours; the admin's, allauth's and the API's have tests of their own."""
    names = [name for name, _ in all_addresses()]
    others = ("admin:", "account_", "hijack:", "api:")
    return [name for name in names if not name.startswith(others)]


@pytest.fixture
def world(db: None) -> World:
    """A running server, a key and a token of Alice, and one of the staff without any permission."""
    world = make_world()
    world.running("web")
    SSHKey.objects.create(
        project=world.project, name="key", public_key="ssh-ed25519 AAAA", fingerprint="aa:bb"
    )
    create_token(world.alice, project=world.project, name="ci", may_write=True)
    make_webhook(world)
    PlacementGroup.objects.create(project=world.project, name="apart")
    Announcement.objects.create(title="New prices", text="From May on.")
    Image.objects.create(
        type=ImageType.SNAPSHOT,
        status=ImageStatus.AVAILABLE,
        description="before",
        owner=image_owner(world.project.pk),
        created_from_id=Server.objects.get().pk,
        created_from_name="web",
    )
    user = make_user("staff@example.com")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    server = Server.objects.get()
    actor = Actor(world.alice.user, "page")
    create_link(actor, server.pk, "serial", "1h")
    keep_recording(server.pk, Recorder(actor, (80, 24), by_staff=False).finish("It ended."))
    return world


def browser(person: str, *, csrf: bool = False) -> Client:
    """Somebody's browser."""
    client = Client(enforce_csrf_checks=csrf)
    if person != "nobody":
        email = {"stranger": "charlie"}.get(person, person)
        client.force_login(User.objects.get(email=f"{email}@example.com"))
    return client


# What stands in an address, and of which of Alice's things it is.
IDS: dict[str, Callable[[], int]] = {
    "server_id": lambda: Server.objects.get().pk,
    "announcement_id": lambda: Announcement.objects.get().pk,
    "image_id": lambda: Image.objects.get(owner__isnull=False).pk,
    "recording_id": lambda: Recording.objects.get().pk,
    "link_id": lambda: ShareLink.objects.get().pk,
    "key_id": lambda: SSHKey.objects.get().pk,
    "ip_id": lambda: PrimaryIP.objects.order_by("pk")[0].pk,
    "group_id": lambda: PlacementGroup.objects.get().pk,
    "webhook_id": lambda: Webhook.objects.get().pk,
    "delivery_id": lambda: Delivery.objects.order_by("pk")[0].pk,
    "token_id": lambda: ApiToken.objects.get().pk,
}


def address(name: str) -> str:
    """With the ids of Alice's things."""
    route = dict(all_addresses())[name]
    ids = {place: find() for place, find in IDS.items() if place in route}
    return reverse(name, kwargs=ids)


# What must not change when somebody is refused.
ROWS = Rows(
    {
        "actions": Action.objects.values_list("pk", "state"),
        "servers": Server.objects.values(),
        "keys": SSHKey.objects.values(),
        "tokens": ApiToken.objects.values(),
        "addresses": PrimaryIP.objects.order_by("pk").values(),
        "groups": PlacementGroup.objects.values(),
        "webhooks": Webhook.objects.values(),
        "deliveries": Delivery.objects.values(),
        "images": Image.objects.values(),
        "recordings": Recording.objects.values(),
        "people": User.objects.order_by("pk").values_list(
            "email", "password", "is_active", "is_staff", "is_superuser"
        ),
        **{model.__name__: model._default_manager.order_by("pk").values() for model in UNTOUCHED},
    }
)


def asked(client: Client, method: str, name: str) -> HttpResponseBase:
    """The answer."""
    return client.get(address(name)) if method == "GET" else client.post(address(name))


def may(person: str, who: str | None) -> bool:
    """What the plan says."""
    if who is None:
        return False
    return who == PUBLIC or (PEOPLE[person] != "" and RANK.index(PEOPLE[person]) >= RANK.index(who))


def test_the_plan_names_every_address() -> None:
    assert sorted(our_names()) == sorted(PLAN)


@pytest.mark.parametrize("person", PEOPLE)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nobody_gets_more_than_planned(world: World, person: str, method: str) -> None:
    client = browser(person)
    before, seen = ROWS.values(), ROWS.read()
    for name, (get, post) in PLAN.items():
        who = get if method == "GET" else post
        response = asked(client, method, name)
        if (name, person) in NO_PROJECT_OF_THEIRS:
            assert response.status_code == 403
            assert ROWS.read() == seen, name
        elif may(person, who):
            if method == "GET":
                assert response.status_code in (200, 302, 304), (name, response.status_code)
            else:
                assert response.status_code in (200, 302, 303, 422), (name, response.status_code)
            _put_back(before)
            before, seen = ROWS.values(), ROWS.read()
            continue
        assert response.status_code in (302, 303, 401, 403, 404, 405), (name, response.status_code)
        assert ROWS.read() == seen, name
        if who is not None and person in ("stranger", "staff") and who != SIGNED_IN:
            assert response.status_code == 404, f"{name} tells a stranger that it exists"
        if who is not None and person == "nobody" and response.status_code in (302, 303):
            assert "/accounts/login/" in response["Location"], name


def _put_back(before: dict[str, Any]) -> None:
    """Let the next address find what this one found."""
    Action.objects.exclude(pk__in=[pk for pk, _ in before["actions"]]).delete()
    for row in before["servers"]:
        Server.objects.filter(pk=row["id"]).update(**row)
    if Image.objects.count() < len(before["images"]):
        Image.objects.bulk_create([Image(**row) for row in before["images"]], ignore_conflicts=True)
    Image.objects.exclude(pk__in=[row["id"] for row in before["images"]]).delete()
    for row in before["images"]:
        Image.objects.filter(pk=row["id"]).update(**row)
    if not Recording.objects.exists():
        Recording.objects.bulk_create([Recording(**row) for row in before["recordings"]])
    if not SSHKey.objects.exists():
        SSHKey.objects.bulk_create([SSHKey(**row) for row in before["keys"]])
    if not ApiToken.objects.exists():
        ApiToken.objects.bulk_create([ApiToken(**row) for row in before["tokens"]])
    PlacementGroup.objects.exclude(pk__in=[row["id"] for row in before["groups"]]).delete()
    if not PlacementGroup.objects.exists():
        PlacementGroup.objects.bulk_create([PlacementGroup(**row) for row in before["groups"]])
    Webhook.objects.exclude(pk__in=[row["id"] for row in before["webhooks"]]).delete()
    if not Webhook.objects.exists():
        Webhook.objects.bulk_create([Webhook(**row) for row in before["webhooks"]])
    Webhook.objects.update(active=True)
    Delivery.objects.all().delete()
    Delivery.objects.bulk_create([Delivery(**row) for row in before["deliveries"]])


def test_ids_that_do_not_exist_look_like_those_of_others(world: World) -> None:
    client = browser("stranger")
    for name, (get, _) in PLAN.items():
        if get in (None, PUBLIC, SIGNED_IN):
            continue
        theirs = client.get(address(name))
        missing = client.get(re.sub(r"\d+", "999999", address(name), count=1))
        assert (theirs.status_code, _body(theirs)) == (missing.status_code, _body(missing)), name


def _body(response: Any) -> str:
    """The page without what differs at each request."""
    text = response.content.decode()
    return re.sub(r'(nonce|value|content|data-request)="[^"]*"', "", text).replace("999999", "1")


def test_get_changes_nothing(world: World) -> None:
    client = browser("alice")
    before = ROWS.read()
    for name in PLAN:
        client.get(address(name))
    assert ROWS.read() == before


def test_every_post_wants_a_csrf_token(world: World) -> None:
    client = browser("alice", csrf=True)
    before = ROWS.read()
    for name, (_, post) in PLAN.items():
        if post is not None:
            assert client.post(address(name)).status_code == 403, name
    for name in ("account_login", "account_signup", "account_reset_password", "account_logout"):
        assert client.post(reverse(name)).status_code == 403, name
    assert ROWS.read() == before


def _admin_addresses() -> list[str]:
    """Every address of the admin, with ids filled in."""
    paths = []
    for name, route in all_addresses():
        if name.startswith("admin:"):
            path = re.sub(r"<[^>]*object_id>|<[^>]*content_type_id>|<[^>]+>", "1", route)
            paths.append("/" + re.sub(r"[\^$]|\(\?P.*", "", path))
    return sorted(set(paths))


OWN_ACCOUNT = ("/admin/", "/admin/login/", "/admin/logout/", "/admin/password_change/")
HARMLESS = (*OWN_ACCOUNT, "/admin/password_change/done/", "/admin/jsi18n/")


@pytest.mark.parametrize("person", ["nobody", "stranger", "alice", "staff"])
def test_the_admin_is_closed_without_the_permission(world: World, person: str) -> None:
    client = browser(person)
    before = ROWS.read()
    methods: list[Callable[[str], Any]] = [client.get, client.post]
    for path in _admin_addresses():
        if path in HARMLESS:
            continue
        for method in methods:
            response = method(path)
            assert response.status_code in (302, 403, 404, 405), (path, response.status_code)
            if response.status_code == 302:
                location = response["Location"]
                assert "login" in location or location.startswith("/admin/"), (path, location)
    assert ROWS.read() == before
