"""A worker that dies while it removes a base image: no record without its file, no disk without it.

What is left is at worst a file without a record, and the next looks at the host clear that up.
"""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from hosts.models import Image, StagedImage, StagingTurn
from hosts.staging import stage
from hosts.turns import REMOVAL_SECONDS
from hosts.virt.fake import Fault
from tests.audit import assert_clean
from tests.chaos.mortal import finish_everything, fork, killed_at, let_leases_run_out, outcome
from tests.chaos.test_kill_at_every_step import points
from tests.hosts.test_unstaging import time_passes
from tests.servers.test_copies import copy_of, look, ready, unused_for_long, volumes
from tests.world import World, make_host, make_world, work
from vpspanel.actions.command import registry
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.worker import Worker
from vpspanel.servers import copies
from vpspanel.servers.copies_steps import REMOVE

pytestmark = pytest.mark.both_databases


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> World:
    """A host whose state outlives every worker."""
    world = make_world()
    world.hosts = [make_host(world.location, uri=f"fake:///chaos?dir={tmp_path}&disk_gib=1000")]
    type(world.host).objects.exclude(pk=world.host.pk).update(accepting=False)
    return world


def a_worker() -> None:
    Worker(registry).run_until_idle()


def removal() -> Action:
    return Action.objects.filter(command=copies.COMMAND).latest("pk")


def assert_records_are_true(world: World) -> None:
    lying = volumes(world)
    assert {row.volume for row in StagedImage.objects.all()} <= lying


@pytest.mark.parametrize("point", points(REMOVE))
def test_killed_at_each_point_it_is_removed_by_the_next(world: World, point: str) -> None:
    ready(world)
    let_leases_run_out()
    assert killed_at(removal().pk, point)
    assert_records_are_true(world)
    finish_everything()
    assert removal().state == ActionState.SUCCESS
    assert volumes(world) == set()
    assert not StagedImage.objects.exists()
    assert_clean()


@pytest.mark.parametrize("call", ["volume_users", "delete_volume"])
@pytest.mark.parametrize("fault", [Fault.KILL, Fault.KILL_AFTER])
@pytest.mark.parametrize("next_one", ["the action", "a look", "an order"])
def test_killed_in_each_call_to_the_host(
    world: World, call: str, fault: Fault, next_one: str
) -> None:
    staged = ready(world)
    world.driver().inject(call, fault)
    assert outcome(fork(a_worker)) == signal.SIGKILL
    assert not StagedImage.objects.exists()
    turn = StagingTurn.objects.get()
    assert turn.removes == staged.volume
    was_sent = turn.until > timezone.now() + timedelta(seconds=REMOVAL_SECONDS / 2)
    assert was_sent == (call == "delete_volume")
    time_passes(REMOVAL_SECONDS)
    let_leases_run_out()
    AFTERWARDS[next_one](world, staged)
    assert not StagingTurn.objects.exists()
    assert_records_are_true(world)
    assert_clean()


def _the_action_goes_on(world: World, staged: StagedImage) -> None:
    finish_everything()
    assert removal().state == ActionState.SUCCESS
    assert volumes(world) == set()


def _a_look_comes_first(world: World, staged: StagedImage) -> None:
    """The action came to nothing."""
    Action.objects.update(state=ActionState.ERROR, finished=timezone.now())
    there = staged.volume in volumes(world)
    look(world)
    assert StagedImage.objects.exists() == there
    unused_for_long(world)
    assert copies.remove_unused_copies(timezone.now()) == there
    work()
    assert volumes(world) == set()


def _an_order_comes_first(world: World, staged: StagedImage) -> None:
    Action.objects.update(state=ActionState.ERROR, finished=timezone.now())
    image = Image.objects.get(sha256=staged.sha256)
    Image.objects.filter(pk=image.pk).update(deprecated=None)
    server = world.running(image=image)
    assert copy_of(image).volume in volumes(world)
    assert server.lifecycle == "active"


AFTERWARDS: dict[str, Any] = {
    "the action": _the_action_goes_on,
    "a look": _a_look_comes_first,
    "an order": _an_order_comes_first,
}


def test_the_image_can_be_brought_back_at_once_by_the_next_look(world: World) -> None:
    """A worker that died while it asked was about to do nothing yet: nobody waits for long."""
    staged = ready(world)
    world.driver().inject("volume_users", Fault.KILL)
    assert outcome(fork(a_worker)) == signal.SIGKILL
    time_passes(20)
    image = Image.objects.get(sha256=staged.sha256)
    stage(world.driver(), world.host.pools.get(), image)
    assert copy_of(image).volume == staged.volume
