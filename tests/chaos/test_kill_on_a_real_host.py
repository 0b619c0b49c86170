"""SIGKILL to the worker at every step of create, rebuild and delete, on real libvirt and QEMU.

Each dies when its step has acted and nothing says so yet.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hosts.virt.registry import driver_for
from hosts.virt.spec import Power
from tests.audit import assert_clean
from tests.chaos.mortal import finish_everything
from tests.chaos.zygote import killed_on_a_real_host
from tests.kvm import kvm_host
from tests.servers.conftest import world
from tests.servers.test_audit_kvm import real
from tests.world import World
from vpspanel.actions.command import Command
from vpspanel.actions.models import Action, ActionState
from vpspanel.servers import commands, services
from vpspanel.servers.models import Lifecycle, Server

__all__ = ["kvm_host", "real", "world"]
pytestmark = pytest.mark.qemu


def assert_one_domain_each(real: World) -> None:
    """Exactly the live servers are on the host, each once and running."""
    live = Server.objects.exclude(lifecycle=Lifecycle.DELETED).values_list("uuid", flat=True)
    seen = driver_for(real.host.uri).domains()
    assert sorted(domain.uuid for domain in seen) == sorted(live)
    assert {domain.power for domain in seen} <= {Power.RUNNING}
    assert_clean()


def kill_at_every_step(real: World, command: Command, submit: Callable[[int], Action]) -> None:
    """One action for each step, whose worker dies there; another ends it."""
    for number, step in enumerate(command.steps):
        action = submit(number)
        assert killed_on_a_real_host(action.pk, f"after:{step.name}"), step.name
        finish_everything()
        action.refresh_from_db()
        assert (action.state, action.attempt) == (ActionState.SUCCESS, 2), action.error_detail
        assert action.steps.count() == len(command.steps)
        assert_one_domain_each(real)


def test_killed_at_every_step(real: World) -> None:
    kill_at_every_step(real, commands.CREATE, lambda number: real.order(f"web{number}").action)
    servers = list(Server.objects.order_by("pk"))
    kill_at_every_step(
        real,
        commands.REBUILD,
        lambda number: services.rebuild(
            real.alice, servers[0].pk, image=real.images[(number + 1) % 2]
        ),
    )
    kill_at_every_step(
        real, commands.DELETE, lambda number: services.delete(real.alice, servers[number].pk)
    )
    for server in servers[len(commands.DELETE.steps) :]:
        services.delete(real.alice, server.pk)
    finish_everything()
    assert_one_domain_each(real)
    assert driver_for(real.host.uri).filters() == []
