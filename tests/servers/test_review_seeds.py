"""Secrets stay in a seed until its guest has had the time to read them, and no longer."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from hosts.virt.errors import CallTimeout
from hosts.virt.fake import Fault
from tests.servers.test_verbs import last_action
from tests.world import World, due_now, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.audit_records import check_secrets
from vpspanel.servers.housekeeping import scrub_old_seeds
from vpspanel.servers.models import PowerSeen, Server

pytestmark = pytest.mark.both_databases

AFTER = timedelta(seconds=901)


def seed(world: World, server: Server) -> bytes:
    record = world.driver().volume_record("vpspanel", server.seed_volume)
    assert record is not None
    return record.head


def play() -> None:
    """Work on everything until it has ended or is parked."""
    for _ in range(8):
        due_now()
        work()


def scrubbed(world: World, server: Server) -> Server:
    """A running server whose seed holds nothing any more."""
    services.scrub_seed(server)
    work()
    server.refresh_from_db()
    assert server.seed_secret_since is None
    return server


def test_a_silent_host_does_not_keep_a_server_locked_for_housekeeping(world: World) -> None:
    server = world.running()
    world.driver().set_reachable(False)
    services.scrub_seed(server)
    play()
    assert last_action(server).state == ActionState.ERROR
    services.power_off(world.alice, server.pk)


def test_a_scrub_that_failed_is_not_repeated_at_once(world: World) -> None:
    server = world.running()
    before = timezone.now() - timedelta(hours=1)
    Server.objects.filter(pk=server.pk).update(seed_secret_since=before, booted_at=before)
    world.driver().inject("write_volume", CallTimeout("too slow"), times=5)
    assert scrub_old_seeds(timezone.now()) == 1
    play()
    assert last_action(server).state == ActionState.ERROR
    assert scrub_old_seeds(timezone.now()) == 0
    assert scrub_old_seeds(timezone.now() + AFTER) == 1


def test_no_seed_is_written_for_a_server_that_was_deleted_meanwhile(world: World) -> None:
    server = world.running()
    services.delete(world.alice, server.pk)
    work()
    with pytest.raises(Refused):
        services.scrub_seed(server)
    assert not Action.objects.filter(command="scrub_seed").exists()


def test_secrets_that_were_written_meanwhile_are_not_scrubbed(world: World) -> None:
    server = world.running()
    as_found = Server.objects.get(pk=server.pk)
    services.reset_password(world.alice, server.pk)
    work()
    with pytest.raises(Refused):
        services.scrub_seed(as_found)
    server.refresh_from_db()
    assert server.root_password_hash.encode() in seed(world, server)


def test_a_guest_that_is_off_still_finds_its_secrets_when_it_starts(world: World) -> None:
    """It was switched off in the middle of its first boot, or got a new password while off."""
    server = world.running()
    Server.objects.filter(pk=server.pk).update(power_seen=PowerSeen.OFF)
    assert scrub_old_seeds(timezone.now() + AFTER) == 0
    assert not list(check_secrets(timezone.now() + timedelta(hours=3)))
    assert scrub_old_seeds(timezone.now() + timedelta(days=1, seconds=1)) == 1
    assert list(check_secrets(timezone.now() + timedelta(days=1, hours=2)))


def test_a_password_for_the_next_boot_waits_for_it(world: World) -> None:
    server = scrubbed(world, world.running())
    booted = server.booted_at
    services.reset_password(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.root_password_hash.encode() in seed(world, server)
    assert scrub_old_seeds(timezone.now() + AFTER) == 0
    assert server.booted_at == booted
    Server.objects.filter(pk=server.pk).update(booted_at=timezone.now())
    assert scrub_old_seeds(timezone.now() + AFTER) == 1
    old = server.root_password_hash.encode()
    work()
    assert old not in seed(world, server)


def test_a_password_that_the_agent_set_leaves_no_hash(world: World) -> None:
    server = scrubbed(world, world.running())
    world.driver().configure_guest(server.uuid, has_agent=True)
    services.reset_password(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert last_action(server).state == ActionState.SUCCESS
    assert (server.root_password_hash, server.seed_secret_since) == ("", None)
    assert bytes(server.root_password_sealed)


def test_a_password_that_could_not_be_set_is_not_left_in_the_seed(world: World) -> None:
    server = scrubbed(world, world.running())
    services.reset_password(world.alice, server.pk)
    server.refresh_from_db()
    hashed = server.next_password_hash.encode()
    world.driver().inject("write_volume", Fault.LOST)
    work()
    assert hashed in seed(world, server)
    Action.objects.filter(command="reset_password").update(
        deadline=timezone.now() - timedelta(seconds=1)
    )
    play()
    assert last_action(server).state == ActionState.ERROR
    assert hashed not in seed(world, server)


def test_housekeeping_is_not_told_to_customers(world: World) -> None:
    server = world.running()
    before = Event.objects.filter(public=True).count()
    services.scrub_seed(server)
    world.driver().inject("write_volume", CallTimeout("too slow"), times=5)
    play()
    assert Event.objects.filter(public=True).count() == before
