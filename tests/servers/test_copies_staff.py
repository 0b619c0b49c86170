"""Copies of images, as staff see them: the command, the list, and removal that asks first."""

from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from hosts.models import Host, StagedImage
from hosts.staging import stage
from tests.hosts.test_staging import big_image
from tests.servers.test_copies import copy_of, look, ready, volumes, withdraw
from tests.world import GIB, World, make_user, work
from vpspanel.actions.models import Action
from vpspanel.events.models import Event
from vpspanel.servers import copies

pytestmark = pytest.mark.both_databases


def clean_up(host: Host, *options: str) -> str:
    out = StringIO()
    call_command("images_clean_up", host.name, *options, stdout=out)
    return out.getvalue()


def test_the_command_shows_what_would_go_and_lets_it_go(world: World) -> None:
    world.running()
    image = withdraw(big_image())
    stage(world.driver(), world.host.pools.get(), image)
    world.driver().add_foreign_volume("vpspanel", "somebody's.iso", GIB)
    said = clean_up(world.host, "--dry-run")
    assert f"{image.volume} (3.0\xa0MB, Big): would go." in said
    assert f"{world.images[0].volume}" in said
    assert "stays. Tiny is offered." in said
    assert f"1 of 2 copies on {world.host} are unused: 3.0\xa0MB." in said
    assert not Action.objects.filter(command=copies.COMMAND).exists()
    assert "goes, action " in clean_up(world.host)
    assert "stays. Please wait" in clean_up(world.host)
    work()
    assert image.volume not in volumes(world)
    assert {world.images[0].volume, "somebody's.iso"} <= volumes(world)


def test_the_command_needs_a_host_that_answers(world: World) -> None:
    with pytest.raises(CommandError, match=r"There is no host nowhere\. Known are: kvm"):
        call_command("images_clean_up", "nowhere")
    world.driver().set_reachable(False)
    with pytest.raises(CommandError, match="does not answer"):
        clean_up(world.host)


@pytest.fixture
def staff(world: World, client: Client) -> Client:
    person = make_user("staff@example.com")
    person.is_staff = person.is_superuser = True
    person.save()
    client.force_login(person)
    return client


LIST = "admin:hosts_stagedimage_changelist"


def test_staff_see_what_each_is_kept_for(world: World, staff: Client) -> None:
    world.running()
    ready(world)
    page = staff.get(reverse(LIST)).content.decode()
    assert "Tiny is offered." in page
    assert "unused" in page
    only = staff.get(reverse(LIST), {"unused": "yes"}).content.decode()
    assert "Tiny is offered." not in only
    one = reverse("admin:hosts_stagedimage_change", args=[copy_of(world.images[0]).pk])
    assert "Tiny is offered." in staff.get(one).content.decode()


def test_staff_have_chosen_copies_removed(world: World, staff: Client) -> None:
    world.running()
    image = withdraw(big_image())
    stage(world.driver(), world.host.pools.get(), image)
    look(world)
    chosen = {"action": "remove", "_selected_action": list(pks())}
    asked = staff.post(reverse(LIST), chosen).content.decode()
    assert "3.0\xa0MB in all" in asked
    assert "Tiny is offered." in asked
    assert not Action.objects.filter(command=copies.COMMAND).exists()
    done = staff.post(reverse(LIST), {**chosen, "confirmed": "yes"}, follow=True).content.decode()
    assert "stays: Tiny is offered." in done
    assert "is removed from" in done
    event = Event.objects.get(kind="host.image_removal")
    assert event.actor_name
    work()
    assert image.volume not in volumes(world)


def pks() -> list[int]:
    return list(StagedImage.objects.values_list("pk", flat=True))
