"""Work on a host, watched in a real browser by staff and by a customer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import expect

from tests.pages.test_browser import Open, panel, visit, world
from tests.world import World, make_host, work
from vpspanel.accounts.models import User
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.servers import maintenance as service
from vpspanel.servers.draining import conduct_due

__all__ = ["panel", "visit", "world"]

pytestmark = [pytest.mark.browser]


def staff() -> Actor:
    return Actor(User.objects.create_superuser("root@example.com", "secret"), "page")


def test_a_host_is_drained_before_the_eyes_of_staff(world: World, visit: Open) -> None:
    world.running("lively")
    world.hosts.append(make_host(world.location))
    page = visit(reverse("admin:servers_maintenance", args=[world.host.pk]), staff())
    expect(page.get_by_role("row").filter(has_text="lively")).to_contain_text("running")
    page.get_by_label("Reason").fill("new disks")
    ends = timezone.now() + timedelta(hours=2)
    page.get_by_label("Ends").fill(f"{ends:%Y-%m-%dT%H:%M}")
    page.get_by_role("button", name="Plan it").click()
    expect(page.locator("#content")).to_contain_text("0 of 0 have moved")
    for _ in range(3):
        conduct_due()
        work()
    expect(page.locator("#content")).to_contain_text("1 of 1 have moved", timeout=10_000)
    expect(page.locator(".word-good").first).to_have_text("empty")
    page.get_by_role("button", name="bring its servers back").click()
    expect(page.get_by_text("Its servers come back.")).to_be_visible()
    for _ in range(3):
        conduct_due()
        work()
    expect(page.locator("#content")).to_contain_text("It is over.", timeout=10_000)


def test_a_customer_reads_of_the_window(world: World, visit: Open) -> None:
    server = world.running()
    begins = timezone.now() + timedelta(hours=1)
    service.plan_maintenance(
        SYSTEM, world.host, reason="new disks", begins=begins, ends=begins + timedelta(hours=1)
    )
    page = visit(f"/servers/{server.pk}/", world.alice)
    banner = page.get_by_role("status").filter(has_text="Planned maintenance")
    expect(banner).to_contain_text(f"{begins:%Y-%m-%d %H:%M}")
    expect(banner).to_contain_text("new disks")
