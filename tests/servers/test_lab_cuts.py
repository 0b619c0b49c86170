"""The cable of a real host is pulled in the middle of a build: nothing is made twice or left."""

from __future__ import annotations

import time
from functools import partial

import pytest

from hosts.models import Host, Image
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.lab import Lab
from tests.servers.test_lab_fleet import BOOTED_WITHIN, answers, customer, end, panel
from tests.servers.test_lab_loss import panel_at_work
from tests.servers.test_lab_moves import explained, of_lab
from vpspanel.actions.models import Action
from vpspanel.servers.demo import Demo
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.ordering import order_server

__all__ = ["panel"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CUT_FOR = 6.0
STEPS = ("stage_image", "create_disk", "define_domain")  # uploads, makes a volume, defines
ENDED_WITHIN = 120.0


def ordered(panel: Demo, name: str) -> tuple[Server, Action]:
    made = order_server(
        customer(),
        project=panel.project,
        name=name,
        server_type=ServerType.objects.get(name="nano"),
        image=Image.objects.get(name="tiny"),
        location=panel.location,
    )
    return made.server, made.action


def fresh(action: Action) -> Action:
    action.refresh_from_db()
    return action


def test_the_cable_is_pulled_while_a_server_is_built(lab: Lab, panel: Demo) -> None:
    """CHECKS 35, on one host after the other: each step is looked up, and goes on."""
    servers = []
    with panel_at_work():
        for host, step in zip(Host.objects.order_by("pk"), STEPS, strict=False):
            Host.objects.exclude(pk=host.pk).update(accepting=False)
            Host.objects.filter(pk=host.pk).update(accepting=True)
            servers.append(built_with_a_cut(lab, panel, host, step))
    for server in servers:
        wait_until(partial(answers, server), BOOTED_WITHIN, "it answers")
    assert_clean()
    end(servers)


def built_with_a_cut(lab: Lab, panel: Demo, host: Host, step: str) -> Server:
    """It is there once, whatever had become of the call that was cut."""
    server, action = ordered(panel, f"cut-{step.replace('_', '-')}")
    wait_until(lambda: fresh(action).step == step, 60, f"it is at {step}")
    cable = of_lab(lab, host)
    cable.cut_off()
    began = time.monotonic()
    time.sleep(CUT_FOR)
    cable.reconnect()
    with explained(action):
        wait_until(lambda: over(action), ENDED_WITHIN, "it is built")
    print(f"cut in {step}: {action.state} after {time.monotonic() - began:.1f} s")
    assert action.state == "success", action.error_detail
    server.refresh_from_db()
    assert server.host == host
    seen = [one.uuid for one in driver_for(host.uri).domains() if one.ours]
    assert seen == [server.uuid]
    return server


def over(action: Action) -> bool:
    """It has ended; one that was parked meanwhile goes on once its host is back."""
    return fresh(action).state not in ("queued", "running", "parked")
