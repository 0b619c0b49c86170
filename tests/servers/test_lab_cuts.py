"""The cable of a real host is pulled in the middle of a build: nothing is made twice or left."""

from __future__ import annotations

import threading
import time
from functools import partial

import pytest

from hosts.models import Host, Image
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.lab import Lab
from tests.servers.test_lab_fleet import BOOTED_WITHIN, answers, customer, end, panel
from tests.servers.test_lab_moves import explained, of_lab
from tests.world import due_now
from vpspanel.actions.command import registry
from vpspanel.actions.models import Action
from vpspanel.actions.worker import Worker
from vpspanel.servers.demo import Demo
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.ordering import order_server

__all__ = ["panel"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]

CUT_AFTER, CUT_FOR = 0.02, 8.0  # seconds after the step has begun
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


def test_the_cable_is_pulled_while_a_server_is_built(lab: Lab, panel: Demo) -> None:
    """CHECKS 35, on one host after the other: each step is looked up, and goes on."""
    servers = []
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
    cable, pulled = of_lab(lab, host), threading.Event()

    def pull(moved: Action, where: str) -> None:
        """A moment after the step has begun, once."""
        if where == f"before:{step}" and not pulled.is_set():
            pulled.set()
            for after, act in ((CUT_AFTER, cable.cut_off), (CUT_FOR, cable.reconnect)):
                threading.Timer(after, act).start()

    began = time.monotonic()

    def over() -> bool:
        Worker(registry, observer=pull).run_until_idle()
        due_now()
        action.refresh_from_db()
        return action.state not in ("queued", "running")

    with explained(action):
        wait_until(over, ENDED_WITHIN, "it is built")
    assert pulled.is_set()
    print(f"cut in {step}: {action.state} after {time.monotonic() - began:.1f} s")
    assert action.state == "success", action.error_detail
    server.refresh_from_db()
    assert server.host == host
    seen = [one.uuid for one in driver_for(host.uri).domains() if one.ours]
    assert seen == [server.uuid]
    return server
