"""Announcements: only who is concerned reads them, in their time, until they put them away."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts.models import Location
from tests.pages.conftest import SignIn
from tests.world import World, make_host
from vpspanel.servers.models_announcement import Announcement

LIST = reverse("servers:list")


def say(**changes: Any) -> Announcement:
    return Announcement.objects.create(
        **{"title": "<b>Works</b>", "text": "first\nsecond <i>", **changes}
    )


def reads_it(client: Client) -> bool:
    return "&lt;b&gt;Works" in client.get(LIST).content.decode()


def test_everybody_reads_what_is_for_everybody(world: World, alice: Client) -> None:
    say(severity="warning")
    page = alice.get(LIST).content.decode()
    assert "first<br>second &lt;i&gt;" in page
    assert "alert-warning" in page


@pytest.mark.both_databases
def test_only_who_is_concerned(world: World, alice: Client, sign_in: SignIn) -> None:
    world.order()
    charlie = sign_in(world.charlie)
    other = make_host(Location.objects.create(name="attic"))
    for mine, theirs in (
        ({"location": world.location}, {"location": other.location}),
        ({"host": world.host}, {"host": other}),
        ({"account": world.project.account}, None),
    ):
        told = say(**mine)
        assert (reads_it(alice), reads_it(charlie)) == (True, False), mine
        page = reverse("announcements:dismiss", args=[told.pk])
        assert charlie.post(page).status_code == 404
        told.delete()
        if theirs is not None:
            told = say(**theirs)
            assert not reads_it(alice), theirs
            told.delete()


def test_only_in_its_time(world: World, alice: Client) -> None:
    now, hour = timezone.now(), timedelta(hours=1)
    for begins, ends, shown in (
        (now - hour, now + hour, True),
        (now + hour, None, False),
        (now - 2 * hour, now - hour, False),
    ):
        told = say(begins=begins, ends=ends)
        assert reads_it(alice) is shown, (begins, ends)
        told.delete()


def test_put_away_it_is_gone_for_one_person(world: World, alice: Client, sign_in: SignIn) -> None:
    page = reverse("announcements:dismiss", args=[say().pk])
    for back, there in (("/keys/", "/keys/"), ("//evil.example/", LIST), ("https://x.y/", LIST)):
        assert alice.post(page, {"next": back}).headers["Location"] == there
    assert not reads_it(alice)
    assert reads_it(sign_in(world.bob))


@pytest.mark.both_databases
@pytest.mark.parametrize("wrong", ["backwards", "two targets"])
def test_the_database_takes_no_nonsense(world: World, wrong: str) -> None:
    now = timezone.now()
    rows: dict[str, dict[str, Any]] = {
        "backwards": {"begins": now, "ends": now - timedelta(hours=1)},
        "two targets": {"host": world.host, "location": world.location},
    }
    with pytest.raises(IntegrityError), transaction.atomic():
        say(**rows[wrong])
