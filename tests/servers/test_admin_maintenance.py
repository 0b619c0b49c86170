"""The staff's pages of work on a host and of moves, and `manage.py host_drain`."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import Host
from hosts.virt.spec import Power
from tests.audit import clean_audit
from tests.servers.moves import ended, lives_on, other, update
from tests.servers.test_maintenance import conducted
from tests.world import World, make_user
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.servers.draining import conduct_due
from vpspanel.servers.models_maintenance import Maintenance

__all__ = ["clean_audit", "other"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("clean_audit")]


@pytest.fixture
def root(world: World, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    return client


def page_of(host: Host) -> str:
    return reverse("admin:servers_maintenance", args=[host.pk])


def window(**more: Any) -> dict[str, Any]:
    ends = timezone.now() + timedelta(hours=2)
    return {"act": "plan", "reason": "new disks", "ends": f"{ends:%Y-%m-%dT%H:%M}", **more}


def test_the_page_says_how_each_would_leave(root: Client, world: World, other: Host) -> None:
    world.running("lively")
    world.stopped("asleep")
    shown = root.get(page_of(world.host)).content.decode()
    assert "lively" in shown
    assert "off, as it is" in shown
    assert '<span class="word word-good">running</span>' in shown
    update(other, virt_type="kvm")
    assert "only if shut down" in root.get(page_of(world.host)).content.decode()
    update(other, accepting=False)
    shown = root.get(page_of(world.host)).content.decode()
    assert "not now" in shown
    assert "The host takes no new servers." in shown


def test_drained_followed_and_restored_from_the_page(
    root: Client, world: World, other: Host
) -> None:
    server = world.running("lively")
    page = page_of(world.host)
    answer = root.post(page, window(at_once=2), follow=True)
    assert "Its servers begin to leave." in answer.content.decode()
    conduct_due()
    rows = root.get(reverse("admin:servers_maintenance_rows", args=[world.host.pk]))
    assert "0 of 1 have moved" in rows.content.decode()
    maintenance = Maintenance.objects.get()
    assert conducted(maintenance) == "drained"
    lives_on(world, server, other, Power.RUNNING)
    assert "1 of 1 have moved" in root.get(page).content.decode()
    answer = root.post(page, {"act": "restore", "maintenance": maintenance.pk}, follow=True)
    assert "Its servers come back." in answer.content.decode()
    assert conducted(maintenance) == "ended"
    lives_on(world, server, world.host, Power.RUNNING)
    answer = root.post(page, {"act": "finish", "maintenance": maintenance.pk})
    assert "It is over already." in answer.content.decode()


def test_planned_and_cancelled(root: Client, world: World) -> None:
    page = page_of(world.host)
    begins = timezone.now() + timedelta(hours=1)
    root.post(page, window(begins=f"{begins:%Y-%m-%dT%H:%M}", at_once=1, announce="on"))
    planned = Maintenance.objects.get()
    assert planned.state == "planned"
    assert planned.announcement is not None
    assert "Begin now" in root.get(page).content.decode()
    root.post(page, {"act": "cancel", "maintenance": planned.pk})
    assert Maintenance.objects.filter(state="cancelled", announcement=None).exists()
    assert root.get(reverse("admin:servers_maintenance_changelist")).status_code == 200


def test_what_is_wrong_is_said_beside_its_field(root: Client, world: World) -> None:
    answer = root.post(page_of(world.host), window(reason="x", at_once=1))
    assert answer.context["form"].errors == {"reason": ["Say why, for example: new disks."]}
    answer = root.post(page_of(world.host), window(at_once=99))
    assert "at_once" in answer.context["form"].errors
    answer = root.post(page_of(world.host), {"act": "begin", "maintenance": "x"})
    assert "There is no such maintenance any more." in answer.content.decode()
    assert not Maintenance.objects.exists()


def test_one_server_is_moved_and_called_off(root: Client, world: World, other: Host) -> None:
    server = world.running()
    page = reverse("admin:servers_move", args=[server.pk])
    assert "is copied there first" in root.get(page).content.decode()
    root.post(page, {"to": other.pk, "how": "auto"})
    action = Action.objects.get(command="migrate")
    assert "Call it off" in root.get(page).content.decode()
    root.post(page, {"act": "cancel"})
    assert ended(action).state == "cancelled"
    lives_on(world, server, world.host, Power.RUNNING)
    root.post(page, {"to": "", "how": "offline", "bandwidth_mib": 100})
    again = Action.objects.filter(command="migrate").latest("pk")
    assert (again.args["how"], again.args["bandwidth_mib"]) == ("offline", 100)
    assert "no longer" not in root.get(page).content.decode()
    root.post(page, {"act": "cancel"})
    update(other, accepting=False)
    answer = root.post(page, {"to": other.pk, "how": "auto"})
    assert "The host takes no new servers." in answer.content.decode()


def test_only_who_may_change_hosts_and_servers(client: Client, world: World) -> None:
    server = world.running()
    somebody = make_user("staff@example.com")
    update(somebody, is_staff=True)
    client.force_login(somebody)
    for page in (
        page_of(world.host),
        reverse("admin:servers_maintenance_rows", args=[world.host.pk]),
        reverse("admin:servers_move", args=[server.pk]),
    ):
        assert client.get(page).status_code == 403
        assert client.post(page, window(at_once=1)).status_code in (403, 405)
    assert not Maintenance.objects.exists()


def test_the_command(world: World, other: Host) -> None:
    server = world.running("lively")
    assert f"lively: running, to {other}" in said(world.host, "--dry-run")
    assert not Maintenance.objects.exists()
    assert "begin to leave" in said(world.host, "--hours", "1")
    maintenance = Maintenance.objects.get()
    assert conducted(maintenance) == "drained"
    lives_on(world, server, other, Power.RUNNING)
    assert f"lively has moved, is on {other}" in said(world.host)
    assert "come back" in said(world.host, "--restore")
    assert conducted(maintenance) == "ended"
    with pytest.raises(CommandError, match="is not in maintenance"):
        said(world.host, "--finish")
    with pytest.raises(CommandError, match="Known are"):
        call_command("host_drain", "nowhere")


def said(host: Host, *options: str) -> str:
    out = StringIO()
    call_command("host_drain", host.name, *options, stdout=out)
    return out.getvalue()
