"""A rebuild never touches the disk in use, whoever else asks and whatever wakes up late."""

from __future__ import annotations

from typing import Any

import pytest

from hosts.virt.errors import DiskFull
from hosts.virt.spec import Power
from tests.servers.test_verbs import last_action
from tests.world import World, due_now, work
from vpspanel.accounts.models import SSHKey
from vpspanel.accounts.services import add_ssh_key
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.models import Server
from vpspanel.servers.ordering import check_image_fits

pytestmark = pytest.mark.both_databases

PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGk2Vn1m6T0nQ0sYwVQqj6Hq3aGpV9Zk1e7K0QxQ2b3c a@b"


def disks(world: World, server: Server) -> list[str]:
    names = [volume.name for volume in world.driver().volumes("vpspanel")]
    return sorted(n for n in names if str(server.uuid) in n and n.endswith(".qcow2"))


def fail_one(world: World, server: Server) -> Action:
    """A rebuild that is undone."""
    world.driver().inject("start", DiskFull("no room"), times=5)
    services.rebuild(world.alice, server.pk, image=world.images[1])
    for _ in range(6):
        due_now()
        work()
    world.driver().clear_faults()
    action = last_action(server)
    assert action.state == ActionState.ERROR
    return action


def test_the_name_of_a_disk_is_never_used_again(world: World) -> None:
    """A deletion that an old worker was about to send may reach the host long afterwards."""
    server = world.running()
    undone = fail_one(world, server).args["generation"]
    services.rebuild(world.alice, server.pk, image=world.images[1])
    work()
    server.refresh_from_db()
    assert server.disk_generation > undone
    late = server.disk_volume(undone)
    assert not world.driver().delete_volume("vpspanel", late)
    assert disks(world, server) == [server.disk_volume()]


def test_a_rebuild_that_was_prepared_before_another_one_ended_is_refused(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = world.running()
    check = check_image_fits

    def meanwhile(*args: Any) -> None:
        monkeypatch.setattr(services, "check_image_fits", check)
        services.rebuild(world.alice, server.pk, image=world.images[1])
        work()

    monkeypatch.setattr(services, "check_image_fits", meanwhile)
    with pytest.raises(Refused) as refused:
        services.rebuild(world.alice, server.pk, image=world.images[1])
    assert refused.value.code == "conflict"
    assert Action.objects.filter(command="rebuild").count() == 1


@pytest.mark.parametrize("verb", ["rebuild", "delete"])
def test_protection_that_is_switched_on_at_the_same_moment_holds(
    world: World, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    server = world.running()
    check = services._check_state

    def meanwhile(*args: Any) -> None:
        check(*args)
        Server.objects.update(protect_delete=True, protect_rebuild=True)

    monkeypatch.setattr(services, "_check_state", meanwhile)
    options = {"image": world.images[1]} if verb == "rebuild" else {}
    with pytest.raises(Refused):
        getattr(services, verb)(world.alice, server.pk, **options)
    assert not Action.objects.filter(command=verb).exists()


def test_the_way_back_leaves_the_disk_in_use_alone(world: World) -> None:
    server = world.running()
    action = services.rebuild(world.alice, server.pk, image=world.images[1])
    action.args["generation"] = server.disk_generation
    Action.objects.filter(pk=action.pk).update(args=action.args)
    work()
    assert last_action(server).state == ActionState.ERROR
    assert disks(world, server) == [server.disk_volume()]
    seen = world.driver().domain(server.uuid)
    assert seen is not None
    assert seen.power is Power.RUNNING


def test_the_password_of_a_rebuild_is_not_shown_before_it_is_in_use(world: World) -> None:
    server = world.running()
    services.rebuild(world.alice, server.pk, image=world.images[1])
    with pytest.raises(Refused):
        services.reveal_root_password(world.alice, server.pk)
    work()
    assert services.reveal_root_password(world.alice, server.pk)


def test_a_rebuild_with_a_key_ends_the_password(world: World) -> None:
    server = world.running()
    key: SSHKey = add_ssh_key(world.alice, project=world.project, name="k", public_key=PUBLIC)
    old_hash = server.root_password_hash
    assert old_hash
    services.rebuild(world.alice, server.pk, image=world.images[1], ssh_keys=[key])
    work()
    assert last_action(server).state == ActionState.SUCCESS
    seed = world.driver().volume_record("vpspanel", server.seed_volume)
    assert seed is not None
    assert old_hash.encode() not in seed.head
    assert services.reveal_root_password(world.alice, server.pk) is None
