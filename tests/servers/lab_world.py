"""The world on the hosts of the lab: tiny servers that boot nothing, each host over SSH."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from django.db import connections

from hosts.keys import write_known_hosts
from hosts.models import Host
from hosts.models_fleet import KnownHostKey
from hosts.monitor import Monitor, Pace
from hosts.virt.registry import close_all, driver_for
from tests.kvm import KvmHost
from tests.lab import Lab
from tests.world import World
from vpspanel.actions.command import registry
from vpspanel.actions.worker import Worker
from vpspanel.servers.lab import enrol_lab_host
from vpspanel.servers.observe import Observer


@pytest.fixture
def lab_world(world: World, lab: Lab) -> Iterator[World]:
    """The world, moved from its simulated host to the hosts of the lab."""
    Host.objects.all().delete()
    world.hosts = [enrol_lab_host(one.kvm.dir, world.location) for one in lab.hosts]
    yield world
    for host in world.hosts:
        driver, image_files = driver_for(host.uri), {image.volume for image in world.images}
        for volume in driver.volumes("vpspanel"):
            if volume.name in image_files:
                driver.delete_volume("vpspanel", volume.name)
    close_all()
    KnownHostKey.objects.all().delete()
    write_known_hosts()


def orders_go_to(host: Host) -> None:
    """The next servers are built there."""
    Host.objects.exclude(pk=host.pk).update(accepting=False)
    Host.objects.filter(pk=host.pk).update(accepting=True)


@contextmanager
def watched(pace: Pace | None = None) -> Iterator[None]:
    """A monitor is at work, until the end of the block."""
    monitor = Monitor(Observer(), pace)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        yield
    finally:
        monitor.stop()
        thread.join(30)


@contextmanager
def worker_with_threads() -> Iterator[None]:
    """A worker as `manage.py` runs it, until the end of the block."""
    worker = Worker(registry)

    def run() -> None:
        try:
            worker.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(60)
        assert not thread.is_alive()


def processes(host: KvmHost, name: str) -> list[psutil.Process]:
    """The host's processes of that name, looked at from outside, so that no command runs inside."""
    inside = _first_of(host).children(recursive=True)
    return [one for one in inside if _name(one).startswith(name)]


def libvirtd_of(host: KvmHost) -> psutil.Process:
    """The daemon itself, not what it has just forked."""
    (daemon,) = [one for one in _first_of(host).children() if _name(one) == "libvirtd"]
    return daemon


def _first_of(host: KvmHost) -> psutil.Process:
    return psutil.Process(int((host.dir / "pid").read_text()))


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""
