"""The page of one server in each of its states, and its live part."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from hosts.models import Host, HostStatus
from tests.world import World, work
from vpspanel.actions.models import Action, ActionState, StepRecord
from vpspanel.events.actor import SYSTEM
from vpspanel.events.services import record_event
from vpspanel.servers.addresses import unassign_primary_ip
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.public_net import PublicNet
from vpspanel.servers.suspending import suspend_account


def page_of(client: Client, server: Server) -> str:
    response = client.get(reverse("servers:show", args=[server.pk]))
    assert response.status_code == 200
    return response.content.decode()


def test_a_running_server(world: World, alice: Client) -> None:
    server = world.running()
    page = page_of(alice, server)
    v4, v6 = (ip.address.address for ip in server.primary_ips.order_by("address__family"))
    for shown in (
        "Running",
        f"ssh root@{v4}",
        f'data-copy="{v6}"',
        f'data-copy="{v6.replace("::/64", "::1")}"',
        server.mac,
        "Testville",
        "€0.005 per hour",
        "web was ordered",
        f'href="/servers/{server.pk}/console/" target="_blank"',
    ):
        assert shown in page, shown
    assert 'id="power_on" disabled title="It is running already."' in page


def test_while_it_is_built_the_steps_are_shown(world: World, alice: Client) -> None:
    ordered = world.order()
    page = page_of(alice, ordered.server)
    for shown in (
        "Being created",
        "Preparing the image",
        "waiting for its turn",
        'data-time="elapsed"',
    ):
        assert shown in page, shown
    now = timezone.now()
    Action.objects.filter(pk=ordered.action.pk).update(
        state=ActionState.RUNNING, step="create_disk", progress=14, detail="40 % copied"
    )
    StepRecord.objects.create(
        action=ordered.action,
        name="stage_image",
        attempt=1,
        started=now - timedelta(seconds=2.5),
        finished=now,
    )
    page = page_of(alice, ordered.server)
    for shown in ("step-done", "2.5 s", "step-running", "40 % copied", 'max="100" value="14"'):
        assert shown in page, shown


def test_what_went_wrong_is_told_without_what_staff_see(world: World, alice: Client) -> None:
    server = world.running()
    action = Action.objects.create(
        command="reboot",
        resource_type="server",
        resource_id=server.pk,
        project_id=server.project_id,
        state=ActionState.ERROR,
        step="reboot",
        error_message="Its system did not answer.",
        error_detail="libvirt: qemu-7 at kvm3.internal",
        run_after=timezone.now(),
        finished=timezone.now(),
    )
    page = page_of(alice, server)
    assert "Its system did not answer." in page
    assert action.error_detail not in page
    assert "kvm3.internal" not in page


def test_never_built(world: World, alice: Client) -> None:
    server = world.order().server
    Server.objects.filter(pk=server.pk).update(
        lifecycle=Lifecycle.DELETED, failed_reason="The image is damaged."
    )
    page = page_of(alice, server)
    assert "It could not be built" in page
    assert "The image is damaged." in page
    assert "Manage" not in page


def test_suspended(world: World, alice: Client) -> None:
    server = world.running()
    Server.objects.filter(pk=server.pk).update(
        suspended_at=timezone.now(), suspended_reason="An invoice is overdue."
    )
    page = page_of(alice, server)
    assert "This server is suspended" in page
    assert "An invoice is overdue." in page
    assert 'id="shutdown" disabled' in page


def test_suspended_with_its_account(world: World, alice: Client) -> None:
    server = world.running()
    suspend_account(SYSTEM, world.project.account_id, reason="An invoice is overdue.")
    page = page_of(alice, server)
    assert "This server is suspended" in page
    assert "An invoice is overdue." in page
    assert "Suspended</span>" in alice.get(reverse("servers:list")).content.decode()


def test_a_host_that_does_not_answer_is_not_guessed_about(world: World, alice: Client) -> None:
    server = world.running()
    Host.objects.update(status=HostStatus.UNREACHABLE, status_since=timezone.now())
    page = page_of(alice, server)
    assert "The machine it runs on does not answer" in page
    assert "Unknown" in page
    assert "Running" not in page
    assert "last seen" in page


@pytest.mark.parametrize(
    ("seen", "said"),
    [(PowerSeen.CRASHED, "It has crashed"), (PowerSeen.MISSING, "It is missing on its host")],
)
def test_what_needs_attention(world: World, alice: Client, seen: PowerSeen, said: str) -> None:
    server = world.running()
    Server.objects.filter(pk=server.pk).update(power_seen=seen)
    assert said in page_of(alice, server)


def test_the_timeline_has_what_is_public(world: World, alice: Client) -> None:
    server = world.running()
    resource = ("server", server.pk)
    record_event("server.note", "Seen by customers", resource=resource, actor=world.alice)
    record_event("server.note", "For staff", resource=resource, public=False)
    page = page_of(alice, server)
    assert "Seen by customers" in page
    assert "alice@example.com" in page
    assert "For staff" not in page


def test_the_live_part_is_sent_only_when_something_changed(world: World, alice: Client) -> None:
    server = world.running()
    address = reverse("servers:fragment", args=[server.pk])
    first = alice.get(address)
    assert b"<html" not in first.content
    assert f'data-etag="{first["ETag"].replace(chr(34), "&quot;")}"' in page_of(alice, server)
    assert alice.get(address, headers={"If-None-Match": first["ETag"]}).status_code == 304
    alice.post(reverse("servers:shutdown", args=[server.pk]))
    changed = alice.get(address, headers={"If-None-Match": first["ETag"]})
    assert changed.status_code == 200
    assert b"Stopping" in changed.content
    assert b"csrfmiddlewaretoken" not in changed.content


def test_its_page_costs_the_same_with_a_long_history(world: World, alice: Client) -> None:
    server = world.running()

    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            page_of(alice, server)
        return len(captured)

    few = queries()
    for n in range(60):
        record_event("server.note", f"Note {n}", resource=("server", server.pk), actor=world.alice)
    assert queries() == few <= 15


def test_a_secret_is_in_no_page(world: World, alice: Client) -> None:
    ordered = world.order(user_data="#!/bin/sh\necho SECRET-TOKEN-1\n")
    work()
    assert ordered.root_password
    pages = [
        reverse("servers:list"),
        *(
            reverse(f"servers:{name}", args=[ordered.server.pk])
            for name in ("show", "fragment", "rebuild", "delete", "reset_password")
        ),
    ]
    for address in pages:
        content = alice.get(address).content.decode()
        assert "SECRET-TOKEN-1" not in content
        assert ordered.root_password not in content


def test_a_server_without_ipv4(world: World, alice: Client) -> None:
    server = world.running("six", public_net=PublicNet(ipv4=False))
    page = page_of(alice, server)
    first = server.primary_ips.get().address.address.replace("::/64", "::1")
    assert f"ssh root@{first}" in page
    assert "IPv4" not in page
    assert f"<code>{first}</code>" in alice.get(reverse("servers:list")).content.decode()


def test_a_server_without_any_address(world: World, alice: Client) -> None:
    server = world.stopped("bare", public_net=PublicNet(ipv4=False))
    unassign_primary_ip(world.alice, server.primary_ips.get().pk)
    work()
    page = page_of(alice, server)
    assert "It has no public address." in page
    assert "ssh root@" not in page
