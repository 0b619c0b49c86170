"""Three real hosts: twelve servers spread over them, one host emptied and filled again."""

from __future__ import annotations

import time
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

import pytest
from django.utils import timezone

from hosts.models import Host
from tests.hosts.contract import wait_until
from tests.lab import Lab
from tests.servers.test_lab_fleet import BOOTED_WITHIN, answers, complete, end, ordered, panel
from tests.servers.test_lab_moves import (
    LONGEST_SILENCE,
    host_of,
    pinging,
    runs_on,
    worker_at_work,
)
from vpspanel.accounts.models import Account
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import maintenance as service
from vpspanel.servers.demo import Demo
from vpspanel.servers.draining import conduct_due
from vpspanel.servers.models_maintenance import Maintenance

__all__ = ["panel"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]

PAIRS = 6
MOVED_WITHIN = 240.0


def reaches(maintenance: Maintenance, state: str) -> float:
    """Seconds until it is so far; somebody else works."""
    began = time.monotonic()

    def so_far() -> bool:
        conduct_due()
        maintenance.refresh_from_db()
        return maintenance.state == state

    wait_until(so_far, MOVED_WITHIN, f"the maintenance is {state}")
    return time.monotonic() - began


def test_a_host_is_emptied_and_filled_again(lab: Lab, panel: Demo) -> None:
    Account.objects.update(server_limit=2 * PAIRS)
    pairs = [
        ordered(panel, [f"a{number}", f"b{number}"], group=f"apart{number}")
        for number in range(PAIRS)
    ]
    servers = complete([one for pair in pairs for one in pair])
    for first, second in zip(servers[::2], servers[1::2], strict=True):
        assert first.host_id != second.host_id
    for server in servers:
        wait_until(partial(answers, server), BOOTED_WITHIN, "it answers")
    host = Host.objects.get(name=lab.hosts[0].name)
    leaving = [server for server in servers if server.host == host]
    now = timezone.now()
    maintenance = service.plan_maintenance(
        SYSTEM, host, reason="new disks", begins=now, ends=now + timedelta(hours=1), at_once=2
    )
    with ExitStack() as stack:
        pingers = [stack.enter_context(pinging(server)) for server in leaving]
        stack.enter_context(worker_at_work())
        took = reaches(maintenance, "drained")
        for server in leaving:
            (elsewhere,) = runs_on(lab, server)
            assert elsewhere == host_of(server).name != host.name
        service.finish(SYSTEM, maintenance, restore=True)
        back = reaches(maintenance, "ended")
    silences = [pinger.silence() for pinger in pingers]
    print(
        f"{len(leaving)} servers left in {took:.1f} s and were back in {back:.1f} s; "
        f"longest silences {[round(silence, 2) for silence in silences]}"
    )
    for server in leaving:
        assert host_of(server) == host
        assert runs_on(lab, server) == [host.name]
        assert answers(server)
    assert max(silences) <= LONGEST_SILENCE
    end(servers)
