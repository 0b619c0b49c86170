"""The staff's pages as a whole: everything opens, nothing opens without permission."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from hosts.models import IPAddress, Location, StagedImage
from hosts.models_fleet import Enrolment, KnownHostKey
from tests.world import World, make_image, make_user, make_world
from vpspanel.accounts.models import User
from vpspanel.accounts.services import add_ssh_key
from vpspanel.accounts.token_services import create_token
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.drift import look_at_host
from vpspanel.servers.maintenance import plan_maintenance
from vpspanel.servers.models import Restart, StaleCopy
from vpspanel.servers.models_announcement import Announcement

OURS = ("accounts", "actions", "events", "hosts", "servers")
MODELS = sorted(
    (model for model in admin.site._registry if model._meta.app_label in OURS),
    key=lambda model: model._meta.label,
)
WRITABLE = {  # (change, add): everything else is shown only
    "accounts.Account": (True, False),
    "accounts.Project": (True, False),
    "accounts.User": (True, True),
    "hosts.Enrolment": (True, True),
    "hosts.Host": (True, False),
    "hosts.IPPool": (True, True),
    "hosts.Image": (True, True),  # the form for an ISO
    "hosts.Location": (True, True),
    "hosts.StoragePool": (True, False),
    "servers.Announcement": (True, True),
    "servers.ServerType": (True, True),
}
HOUR = timedelta(hours=1)
DELETABLE = {"servers.Announcement", "hosts.IPPool", "hosts.KnownHostKey", "hosts.Location"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f demo"


@pytest.fixture
def world(transactional_db: None) -> World:
    """A world with a row, or several, in every table."""
    world = make_world()
    for number in range(3):
        server = world.running(f"web{number}")
        services.reboot(world.alice, server.pk)
        now = timezone.now()
        Restart.objects.create(server=server, host=world.host, since=now, next_try=now)
        StaleCopy.objects.create(server=server, host=world.host, power="off", seen_at=now)
    world.driver().add_foreign_volume("vpspanel", "somebody-elses.img", 4096)
    look_at_host(world.host)
    world.order("queued")
    add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    create_token(world.alice, project=world.project, name="ci", may_write=True)
    IPAddress.objects.filter(owner=None).update(free_after=timezone.now() + timedelta(hours=1))
    image = make_image("broken")
    image.status, image.error = "unavailable", "<b>no room</b>"
    image.progress_step, image.progress = "downloading", 40
    image.save()
    assert StagedImage.objects.exists()
    Enrolment.objects.create(name="new", location=world.location, uri="fake:///new", bridge="br0")
    now = timezone.now()
    for title in ("New prices", "New plans"):
        Announcement.objects.create(title=title, text="From May on.")
        now += HOUR
        plan_maintenance(SYSTEM, world.host, reason=title, begins=now, ends=now + HOUR)
    for place in ("192.0.2.1", "192.0.2.2"):
        KnownHostKey.objects.create(place=place, public_key=KEY, fingerprint="SHA256:x")
    return world


@pytest.fixture
def root(world: World, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    return client


def url(model: type[Model], page: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def some(model: type[Model]) -> Model:
    found: Model | None = model._default_manager.order_by("-pk").first()
    assert found is not None, f"the world has no {model._meta.label}"
    return found


def test_all_of_ours_is_there() -> None:
    assert len(MODELS) >= 17


def test_a_superuser_opens_every_page(root: Client) -> None:
    assert root.get(reverse("admin:index")).status_code == 200
    for model in MODELS:
        label = model._meta.label
        assert root.get(url(model, "changelist")).status_code == 200, label
        assert root.get(url(model, "changelist"), {"q": "web"}).status_code == 200, label
        assert root.get(url(model, "change", some(model).pk)).status_code == 200, label
        may_add = WRITABLE.get(label, (False, False))[1]
        assert root.get(url(model, "add")).status_code == (200 if may_add else 403), label


def test_only_what_is_staffs_own_can_be_written(root: Client) -> None:
    for model in MODELS:
        label = model._meta.label
        may_change = WRITABLE.get(label, (False, False))[0]
        page = root.get(url(model, "change", some(model).pk))
        assert page.context["has_change_permission"] is may_change, label
        answer = root.post(url(model, "change", some(model).pk), {})
        assert (answer.status_code != 403) is may_change, label
        answer = root.post(url(model, "delete", some(model).pk), {"post": "yes"})
        if label in DELETABLE:
            assert some(model), label  # protected by what refers to it, or one of several
        else:
            assert answer.status_code == 403, label


def test_changes_of_the_machine_room_are_recorded(root: Client, world: World) -> None:
    hosts = next(model for model in MODELS if model._meta.label == "hosts.Host")
    pressed = {"action": "stop_selling", ACTION_CHECKBOX_NAME: [world.host.pk]}
    assert root.post(url(hosts, "changelist"), pressed).status_code == 302
    place = Location.objects.create(name="attic", description="Attic")
    form = {"name": "attic", "description": "Cellar", "network_zone": "default"}
    root.post(url(Location, "change", place.pk), {**form, "latitude": 0, "longitude": 0})
    root.post(url(Location, "delete", place.pk), {"post": "yes"})
    events = Event.objects.filter(via="admin").order_by("pk")
    assert list(events.values_list("kind", "resource_id", "public")) == [
        ("staff.host_changed", world.host.pk, False),
        ("staff.location_changed", place.pk, False),
        ("staff.location_deleted", place.pk, False),
    ]
    assert events[0].message == f"host {world.host} changed: Stopped selling"


def test_staff_without_permissions_see_nothing(world: World, client: Client) -> None:
    staff = make_user("staff@example.com")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    client.force_login(staff)
    index = client.get(reverse("admin:index"))
    assert index.context["app_list"] == []
    for model in MODELS:
        pages = [url(model, "changelist"), url(model, "add")]
        pages += [url(model, page, some(model).pk) for page in ("change", "delete", "history")]
        for page in pages:
            assert client.get(page).status_code == 403, page
            assert client.post(page, {}).status_code == 403, page


def test_customers_and_visitors_are_not_let_in(world: World, client: Client) -> None:
    pages = [reverse("admin:index"), *(url(model, "changelist") for model in MODELS)]
    for page in pages:
        assert client.get(page).status_code == 302, page
    assert world.alice.user is not None
    client.force_login(world.alice.user)
    for page in pages:
        assert client.get(page).status_code in (302, 403), page


def test_a_viewer_sees_what_may_be_viewed_and_no_actions(world: World, client: Client) -> None:
    staff = make_user("staff@example.com")
    User.objects.filter(pk=staff.pk).update(is_staff=True)
    staff.user_permissions.add(Permission.objects.get(codename="view_server"))
    client.force_login(staff)
    model = next(model for model in MODELS if model._meta.label == "servers.Server")
    page = client.get(url(model, "changelist"))
    assert page.status_code == 200
    assert 'name="action"' not in page.content.decode()
    hosts = next(model for model in MODELS if model._meta.label == "hosts.Host")
    assert client.get(url(hosts, "changelist")).status_code == 403


def test_lists_need_few_queries_however_long(root: Client, world: World) -> None:
    for number in range(5):
        world.running(f"more{number}")
    for model in MODELS:
        root.get(url(model, "changelist"))
        with CaptureQueriesContext(connection) as queries:
            root.get(url(model, "changelist"))
        assert len(queries) <= 12, (model._meta.label, [q["sql"] for q in queries])


def test_no_page_carries_inline_style_or_script(root: Client) -> None:
    for model in MODELS:
        for page in (url(model, "changelist"), url(model, "change", some(model).pk)):
            html = root.get(page).content.decode()
            assert " style=" not in html, page
            assert " onclick=" not in html, page


def test_text_of_others_is_escaped(root: Client) -> None:
    html = root.get(reverse("admin:hosts_image_changelist")).content.decode()
    assert "&lt;b&gt;no room&lt;/b&gt;" in html
    assert "<b>no room</b>" not in html
