"""The panel on three real hosts over SSH: servers spread over them, and one host cut off."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured

from hosts.keys import write_known_hosts
from hosts.models import Host, HostStatus, Image
from hosts.models_fleet import KnownHostKey
from hosts.monitor import Monitor
from hosts.virt.registry import close_all
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.lab import Lab
from tests.servers.lab_world import worker_with_threads
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action
from vpspanel.events.actor import Actor
from vpspanel.servers import services
from vpspanel.servers.demo import CUSTOMER_EMAIL, Demo
from vpspanel.servers.groups import named_group
from vpspanel.servers.lab import make_lab
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.observe import Observer
from vpspanel.servers.ordering import Ordered, order_server

pytestmark = [pytest.mark.lab, pytest.mark.slow]

BOOTED_WITHIN = 240.0
UNREACHABLE_WITHIN = 35.0  # CHECKS 31 and table E: host cut off


@pytest.fixture
def panel(lab: Lab, transactional_db: None, settings: Any) -> Iterator[Demo]:
    """The panel as `make lab` leaves it."""
    settings.VPSPANEL_DRIVER = "libvirt"
    images = os.environ.get("VPSPANEL_IMAGES", configured.BASE_DIR / "var" / "images")
    settings.IMAGE_DIR = Path(images)
    yield make_lab(lab.directory, say=lambda text: None)
    close_all()
    KnownHostKey.objects.all().delete()
    write_known_hosts()


def customer() -> Actor:
    """Who orders."""
    return Actor(User.objects.get(email=CUSTOMER_EMAIL), "page")


def ordered(panel: Demo, names: list[str], *, group: str = "spread") -> list[Ordered]:
    """Servers of one spread group."""
    apart = named_group(customer(), panel.project, group)
    return [
        order_server(
            customer(),
            project=panel.project,
            name=name,
            server_type=ServerType.objects.get(name="nano"),
            image=Image.objects.get(name="tiny"),
            location=panel.location,
            placement_group=apart,
        )
        for name in names
    ]


def complete(orders: list[Ordered]) -> list[Server]:
    """The servers, built by a worker."""
    with worker_with_threads():
        wait_until(nothing_is_due, BOOTED_WITHIN, "all are built")
    for one in orders:
        one.action.refresh_from_db()
        assert one.action.state == "success", one.action.error_detail
    return [Server.objects.get(pk=one.server.pk) for one in orders]


def built(panel: Demo, names: list[str]) -> list[Server]:
    """Servers of one spread group, built by a worker."""
    return complete(ordered(panel, names))


def nothing_is_due() -> bool:
    return not Action.objects.filter(state__in=("queued", "running")).exists()


def answers(server: Server) -> bool:
    """Whether it answers on its own address, over the lab's bridge: a refusal is an answer, too."""
    address = server.primary_ips.get(address__family=4).address.address
    with socket.socket() as probe:
        probe.settimeout(2)
        return probe.connect_ex((address, 9)) in (0, errno.ECONNREFUSED)


def end(servers: list[Server]) -> None:
    """Delete them all, and nothing is left."""
    for server in servers:
        services.delete(customer(), server.pk)

    with worker_with_threads():
        wait_until(nothing_is_due, BOOTED_WITHIN, "all are deleted")
    rows = Server.objects.filter(pk__in=[server.pk for server in servers])
    assert set(rows.values_list("lifecycle", flat=True)) == {"deleted"}
    assert_clean()


def test_servers_are_spread_and_answer_and_a_host_is_cut_off(lab: Lab, panel: Demo) -> None:
    servers = built(panel, ["a", "b", "c"])
    assert len({server.host_id for server in servers}) == 3
    for server in servers:
        wait_until(partial(answers, server), BOOTED_WITHIN, "it answers")
    monitor = Monitor(Observer())
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        cut_off_and_back(lab, servers)
    finally:
        monitor.stop()
        thread.join(30)
    end(servers)


def cut_off_and_back(lab: Lab, servers: list[Server]) -> None:
    """CHECKS 31: shown in time, nothing is called stopped, the others go on."""
    cut = next(one for one in lab.hosts if one.name == Host.objects.earliest("pk").name)
    hosts = Host.objects.filter(name=cut.name)

    def running() -> bool:
        shown = Server.objects.filter(pk__in=[server.pk for server in servers])
        return set(shown.values_list("power_seen", flat=True)) == {"running"}

    wait_until(running, 60, "all are seen running")
    wait_until(lambda: hosts.get().status == HostStatus.REACHABLE, 60, "the monitor is at work")
    cut.cut_off()
    began = time.monotonic()
    try:
        wait_until(lambda: hosts.get().status == HostStatus.UNREACHABLE, 120, "it is noticed")
        took = time.monotonic() - began
        others = Host.objects.exclude(name=cut.name).values_list("status", flat=True)
        assert set(others) == {HostStatus.REACHABLE}
        assert running()
    finally:
        cut.reconnect()
    wait_until(lambda: hosts.get().status == HostStatus.REACHABLE, 60, "it is back")
    assert running()
    assert took <= UNREACHABLE_WITHIN
