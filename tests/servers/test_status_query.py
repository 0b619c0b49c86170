"""The database finds a server by the word that the page shows, whatever its facts are."""

from __future__ import annotations

import itertools

import pytest

from hosts.models import Host, HostStatus
from tests.world import make_world
from vpspanel.actions.models import Action
from vpspanel.servers.models import Lifecycle, PowerSeen, Server
from vpspanel.servers.reading import server_row
from vpspanel.servers.states import Status, status_tables
from vpspanel.servers.status_query import with_word

WORDS = {status.api for status in Status}
COMMANDS = ("", "scrub_seed", "reset_password", *status_tables()[1])
LIVES = [
    *((power, Lifecycle.ACTIVE) for power in PowerSeen),
    (PowerSeen.UNKNOWN, Lifecycle.CREATING),
    (PowerSeen.RUNNING, Lifecycle.DELETING),
]


@pytest.mark.both_databases
@pytest.mark.django_db
@pytest.mark.parametrize("host", [HostStatus.REACHABLE, HostStatus.UNREACHABLE])
def test_the_word_of_every_combination(host: str) -> None:
    world = make_world()
    server = world.order("web").server
    Host.objects.update(status=host)
    for power, lifecycle in LIVES:
        Server.objects.update(power_seen=power, lifecycle=lifecycle)
        for command, state in itertools.product(COMMANDS, ("running", "parked")):
            Action.objects.update(command=command, state=state if command else "success")
            shown = server_row(world.alice, server.pk).status.api
            told = (power, lifecycle, command, state, shown)
            assert with_word(Server.objects.all(), [shown]).count() == 1, told
            assert with_word(Server.objects.all(), WORDS - {shown}).count() == 0, told
