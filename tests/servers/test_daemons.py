"""The worker and the monitor as processes: they end when told, also beside a host that hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from hosts.models import Host
from hosts.virt.fake_faults import Fault
from tests.world import World, make_host
from vpspanel.actions.models import Action
from vpspanel.servers import services
from vpspanel.servers.models import Server

pytestmark = pytest.mark.both_databases

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start(world: World) -> Iterator[Start]:
    """Starts `manage.py …` on the database of this test; what still runs at the end is killed."""
    begun: list[subprocess.Popen[bytes]] = []

    def start(*command: str) -> subprocess.Popen[bytes]:
        database = connection.settings_dict
        if connection.vendor == "sqlite":
            url = f"sqlite:///{database['NAME']}"
        else:
            host, port = database["HOST"], database["PORT"] or 5432
            url = f"postgres://{database['USER']}@{host}:{port}/{database['NAME']}"
        environment = {
            **os.environ,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        }
        process = subprocess.Popen(
            [sys.executable, "manage.py", *command],
            cwd=settings.BASE_DIR,
            env=environment,
            stderr=subprocess.DEVNULL,
        )
        begun.append(process)
        return process

    yield start
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.wait()


def until(condition: Callable[[], object], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.05)


@pytest.fixture
def shared(world: World, tmp_path: Path) -> Host:
    """A simulated host that other processes see as well, instead of the world's own."""
    Host.objects.all().update(accepting=False)
    host = make_host(world.location, uri=f"fake:///shared?dir={tmp_path}&timeout_s=60")
    world.hosts.insert(0, host)
    return host


def test_worker_and_monitor_do_their_work_and_end(world: World, shared: Host, start: Start) -> None:
    worker, monitor = start("worker"), start("monitor")
    ordered = world.order("web")
    until(lambda: Server.objects.filter(pk=ordered.server.pk, lifecycle="active").exists())
    until(lambda: Host.objects.filter(pk=shared.pk, seen_at__isnull=False).exists())
    world.driver().guest_reboot(ordered.server.uuid)
    until(lambda: Server.objects.get(pk=ordered.server.pk).booted_at)
    for process in (worker, monitor):
        process.send_signal(signal.SIGTERM)
        assert process.wait(8) == 0


def test_a_host_that_hangs_keeps_neither_alive(world: World, shared: Host, start: Start) -> None:
    server_id = world.order("web").server.pk
    world.driver().inject("*", Fault.HANG, times=None)
    worker, monitor = start("worker", "--grace", "0.5"), start("monitor")
    until(lambda: Action.objects.filter(resource_id=server_id, state="running").exists())
    time.sleep(2)
    began = time.monotonic()
    for process in (worker, monitor):
        process.send_signal(signal.SIGTERM)
        assert process.wait(6) == 0
    assert time.monotonic() - began < 6


def test_a_second_signal_ends_it_at_once(world: World, shared: Host, start: Start) -> None:
    world.order("web")
    world.driver().inject("*", Fault.HANG, times=None)
    worker = start("worker", "--grace", "60")
    until(lambda: Action.objects.filter(state="running").exists())
    worker.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        worker.wait(2)
    worker.send_signal(signal.SIGINT)
    assert worker.wait(2) == 130


def test_what_a_worker_left_another_finishes(world: World, shared: Host, start: Start) -> None:
    """The lease of a worker that was killed runs out; the next one goes on."""
    server = world.order("web").server
    world.driver().inject("create_overlay", Fault.HANG, times=1)
    first = start("worker")
    # Killed earlier, it would leave the one hang to the worker that follows.
    until(lambda: world.driver().call_log("create_overlay"))
    first.kill()
    start("worker")
    until(lambda: Server.objects.filter(pk=server.pk, lifecycle="active").exists(), 40)
    services.power_off(world.alice, server.pk)
    until(lambda: Server.objects.get(pk=server.pk).power_seen == "off")
