"""The rescue system: enabled, booted once by any start, gone again; its secrets with it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone

from hosts.models import Host, ImageStatus
from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.audit import clean_audit
from tests.pages.test_doors import KEY
from tests.world import World, due_now, work
from vpspanel.accounts.services import add_ssh_key
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.housekeeping import end_unused_rescues, forget_old_secrets, scrub_old_seeds
from vpspanel.servers.models import Server
from vpspanel.servers.rescue import (
    UNUSED_FOR,
    disable_rescue,
    enable_rescue,
    reveal_rescue_password,
)

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]

Verb = Callable[[Actor, int], Action]


def rescued(world: World, server: Server) -> Server:
    """It is ready for a rescue."""
    enable_rescue(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.rescue_enabled
    return server


def off(world: World, server: Server) -> None:
    services.power_off(world.alice, server.pk)
    work()


def runs(world: World, server: Server) -> list[str]:
    """The volumes that the running guest has, its boot disk first."""
    record = world.driver().guest_record(server.uuid)
    seen = world.driver().domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.RUNNING
    return [disk.volume for disk in record.live_spec.disks]


def left_of_rescue(world: World, server: Server) -> set[str]:
    names = {volume.name for volume in world.driver().volumes("vpspanel")}
    return names & set(server.rescue_volumes)


def seed_of_rescue(world: World, server: Server) -> bytes:
    record = world.driver().volume_record(server.pool, server.rescue_volumes[1])
    assert record is not None
    return record.head


def last_action(server: Server) -> Action:
    return Action.objects.filter(resource_id=server.pk).latest("id")


def by_reboot(actor: Actor, server_id: int) -> Action:
    """The guest obeys the power button."""
    action = services.reboot(actor, server_id)
    work()
    return action


STARTS: dict[str, Verb] = {"reset": services.reset, "reboot": by_reboot}


@pytest.mark.parametrize("how", STARTS)
def test_once_into_rescue_and_back(world: World, how: str) -> None:
    server = rescued(world, world.running())
    own = [server.disk_volume(), server.seed_volume]
    disk, seed = server.rescue_volumes
    assert runs(world, server) == own  # nothing restarts it
    for expected, in_rescue in (([disk, own[0], seed], True), (own, False)):
        STARTS[how](world.alice, server.pk)
        wait_for_the_guest(world, server)
        server.refresh_from_db()
        assert last_action(server).state == ActionState.SUCCESS
        assert runs(world, server) == expected
        assert (server.rescue_enabled, server.in_rescue) == (False, in_rescue)
        assert bool(left_of_rescue(world, server)) is in_rescue
        assert (server.power_wanted, server.power_seen) == ("on", "running")
    kinds = set(Event.objects.filter(resource_id=server.pk).values_list("kind", flat=True))
    assert {"server.enable_rescue", "server.rescue_started", "server.rescue_left"} <= kinds


def wait_for_the_guest(world: World, server: Server) -> None:
    """A simulated guest that was asked powers off at once; then the worker looks again."""
    if last_action(server).state == ActionState.RUNNING:
        world.driver().guest_poweroff(server.uuid)
    for _ in range(3):
        due_now()
        work()


def test_by_stopping_and_starting(world: World) -> None:
    server = rescued(world, world.stopped())
    for boots_rescue in (True, False):
        services.power_on(world.alice, server.pk)
        work()
        assert (runs(world, server)[0] == server.rescue_volumes[0]) is boots_rescue
        off(world, server)
    assert left_of_rescue(world, server) == set()


def test_a_guest_that_ignores_the_request_stays_as_it_is(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = rescued(world, world.running())
    world.driver().configure_guest(server.uuid, ignore_acpi=True)
    monkeypatch.setattr("vpspanel.servers.power_steps.SHUTDOWN_SECONDS", 0.0)
    Host.objects.update(seen_at=timezone.now())
    services.reboot(world.alice, server.pk)
    work()
    assert last_action(server).error_code == "guest_ignored_reboot"
    server.refresh_from_db()
    assert server.rescue_enabled
    assert runs(world, server)[0] == server.disk_volume()


def test_its_password_is_shown_once_and_is_nowhere_else(world: World) -> None:
    server = world.running()
    rescue = enable_rescue(world.alice, server.pk)
    work()
    assert rescue.root_password
    server.refresh_from_db()
    seed = seed_of_rescue(world, server)
    assert server.rescue_password_hash.encode() in seed
    assert rescue.root_password.encode() not in seed
    assert rescue.root_password not in str(list(Action.objects.values())) + str(
        list(Event.objects.values())
    )
    assert services.reveal_root_password(world.alice, server.pk)  # one of its own, still there
    assert reveal_rescue_password(world.alice, server.pk) == rescue.root_password
    assert reveal_rescue_password(world.alice, server.pk) is None


def test_with_a_key_no_password_is_made(world: World) -> None:
    key = add_ssh_key(world.alice, project=world.project, name="laptop", public_key=KEY)
    server = world.running()
    rescue = enable_rescue(world.alice, server.pk, ssh_keys=[key])
    work()
    assert rescue.root_password is None
    assert KEY.split()[1].encode() in seed_of_rescue(world, server)
    server.refresh_from_db()
    assert (bytes(server.rescue_password_sealed), server.rescue_password_hash) == (b"", "")


def test_disabled_before_it_was_used(world: World) -> None:
    server = rescued(world, world.running())
    disable_rescue(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert not server.rescue_enabled
    assert (bytes(server.rescue_password_sealed), server.rescue_password_hash) == (b"", "")
    assert left_of_rescue(world, server) == set()
    services.reset(world.alice, server.pk)
    work()
    assert runs(world, server) == [server.disk_volume(), server.seed_volume]
    assert world.driver().guest_record(server.uuid).boots == 2  # the same QEMU, reset


def test_unused_for_an_hour_it_disables_itself(world: World) -> None:
    server = rescued(world, world.running())
    now = timezone.now()
    assert end_unused_rescues(now + UNUSED_FOR - timedelta(minutes=1)) == 0
    assert end_unused_rescues(now + UNUSED_FOR + timedelta(seconds=1)) == 1
    work()
    server.refresh_from_db()
    assert not server.rescue_enabled
    assert left_of_rescue(world, server) == set()


def test_its_seed_loses_the_password_once_it_has_booted(world: World) -> None:
    server = rescued(world, world.running())
    services.reset(world.alice, server.pk)
    work()
    server.refresh_from_db()
    secret = server.rescue_password_hash
    an_hour_on = timezone.now() + timedelta(hours=1)
    Server.objects.filter(pk=server.pk).update(seed_secret_since=None)
    assert scrub_old_seeds(timezone.now()) == 0
    assert scrub_old_seeds(an_hour_on) == 1
    work()
    assert secret.encode() not in seed_of_rescue(world, server)
    server.refresh_from_db()
    assert server.rescue_password_hash == ""
    assert scrub_old_seeds(an_hour_on) == 0


def test_a_rescue_is_no_boot_of_its_own_system(world: World) -> None:
    """What the seed of its own system holds has not been read meanwhile."""
    server = rescued(world, world.stopped())
    services.reset_password(world.alice, server.pk)
    work()
    services.power_on(world.alice, server.pk)
    work()
    scrub_old_seeds(timezone.now() + timedelta(hours=1))
    work()
    server.refresh_from_db()
    assert server.seed_secret_since is not None
    assert server.root_password_hash


def test_forgotten_after_a_day(world: World) -> None:
    server = rescued(world, world.running())
    forget_old_secrets(timezone.now() + timedelta(hours=25))
    assert reveal_rescue_password(world.alice, server.pk) is None


def test_a_failure_leaves_nothing(world: World) -> None:
    server = world.running()
    world.driver().inject("write_volume", DiskFull("no room"), times=5)
    enable_rescue(world.alice, server.pk)
    for _ in range(6):
        due_now()
        work()
    assert last_action(server).error_code == "disk_full"
    server.refresh_from_db()
    assert not server.rescue_enabled
    assert server.rescue_password_hash == ""
    assert reveal_rescue_password(world.alice, server.pk) is None
    assert left_of_rescue(world, server) == set()


def test_refused(world: World) -> None:
    server = world.running()
    with pytest.raises(Refused, match="not enabled"):
        disable_rescue(world.alice, server.pk)
    with pytest.raises(NotFound):
        enable_rescue(world.charlie, server.pk)
    with pytest.raises(Refused) as refused:
        enable_rescue(world.olga, server.pk)
    assert refused.value.code == "forbidden"
    rescued(world, server)
    with pytest.raises(Refused, match="already"):
        enable_rescue(world.alice, server.pk)
    services.reset(world.alice, server.pk)
    work()
    with pytest.raises(Refused, match="runs the rescue system now"):
        enable_rescue(world.alice, server.pk)


def test_again_after_it_was_stopped_in_rescue(world: World) -> None:
    server = rescued(world, world.stopped())
    services.power_on(world.alice, server.pk)
    work()
    off(world, server)
    rescued(world, server)
    services.power_on(world.alice, server.pk)
    work()
    assert runs(world, server)[0] == server.rescue_volumes[0]


def test_without_a_rescue_system(world: World) -> None:
    server = world.running()
    world.images[0].status = ImageStatus.UNAVAILABLE
    world.images[0].save(update_fields=["status"])
    with pytest.raises(Refused, match="not available yet"):
        enable_rescue(world.alice, server.pk)


def test_a_rebuild_ends_a_rescue(world: World) -> None:
    server = rescued(world, world.running())
    services.reset(world.alice, server.pk)
    work()
    services.rebuild(world.alice, server.pk, image=world.images[1])
    work()
    server.refresh_from_db()
    assert (server.in_rescue, server.disk_generation) == (False, 2)
    assert runs(world, server) == [server.disk_volume(), server.seed_volume]
    assert left_of_rescue(world, server) == set()


def test_a_rebuild_leaves_a_rescue_to_come(world: World) -> None:
    server = rescued(world, world.running())
    services.rebuild(world.alice, server.pk, image=world.images[1])
    work()
    services.reset(world.alice, server.pk)
    work()
    server.refresh_from_db()
    disk, seed = server.rescue_volumes
    assert runs(world, server) == [disk, server.disk_volume(), seed]


def test_a_rebuild_that_fails_puts_the_rescue_back(world: World) -> None:
    server = rescued(world, world.running())
    services.reset(world.alice, server.pk)
    work()
    before = runs(world, server)
    world.driver().inject("define", DiskFull("no room"), times=5)
    services.rebuild(world.alice, server.pk, image=world.images[1])
    for _ in range(7):
        due_now()
        work()
    assert last_action(server).state == ActionState.ERROR
    assert runs(world, server) == before


def test_deleting_takes_it_along(world: World) -> None:
    server = rescued(world, world.running())
    services.reset(world.alice, server.pk)
    work()
    services.delete(world.alice, server.pk)
    work()
    assert left_of_rescue(world, server) == set()
    server.refresh_from_db()
    assert (bytes(server.rescue_password_sealed), server.rescue_password_hash) == (b"", "")


def test_the_audit_knows_what_belongs_to_a_rescue(world: World) -> None:
    server = rescued(world, world.running())
    assert audit().findings == ()
    Server.objects.filter(pk=server.pk).update(rescue_enabled=False)
    assert {finding.code for finding in audit().errors} == {"disk_extra"}
    Server.objects.filter(pk=server.pk).update(rescue_enabled=True)


def test_the_rescue_system_is_copied_to_the_pool(world: World) -> None:
    server = world.running(image=world.images[1])
    rescued(world, server)
    names = {volume.name for volume in world.driver().volumes("vpspanel")}
    assert world.images[0].volume in names
