"""A small world for tests, made with the panel's own services: a host, plans, images, and a cast.

Alice owns the project, Olga operates in it, Bob reads it, Charlie is a stranger.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from hosts.models import Family, Host, HostStatus, Image, ImageStatus, IPPool, Location, StoragePool
from hosts.virt.fake import FakeDriver
from hosts.virt.fake_qcow2 import empty_qcow2
from hosts.virt.registry import driver_for
from hosts.virt.spec import NetworkSpec
from vpspanel.accounts.models import Member, Project, Role, User
from vpspanel.accounts.services import open_account
from vpspanel.actions.command import registry
from vpspanel.actions.models import Action
from vpspanel.actions.worker import Worker
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.servers.models import MICROS, Server, ServerType, ServerTypePrice
from vpspanel.servers.ordering import Ordered, order_server
from vpspanel.servers.services import power_off

GIB = 1024**3
_numbers = itertools.count(1)


@dataclass
class World:
    """Everything a test needs to order a server."""

    location: Location
    project: Project
    plan: ServerType
    images: list[Image]
    alice: Actor
    olga: Actor
    bob: Actor
    charlie: Actor
    hosts: list[Host] = field(default_factory=list)

    @property
    def host(self) -> Host:
        """The first host."""
        return self.hosts[0]

    def driver(self, host: Host | None = None) -> FakeDriver:
        """The simulated host behind a row."""
        driver = driver_for((host or self.host).uri)
        assert isinstance(driver, FakeDriver)
        return driver

    def order(self, name: str = "web", **changes: Any) -> Ordered:
        """Alice orders."""
        wanted: dict[str, Any] = {
            "project": self.project,
            "name": name,
            "server_type": self.plan,
            "image": self.images[0],
            "location": self.location,
        }
        return order_server(changes.pop("actor", self.alice), **{**wanted, **changes})

    def running(self, name: str = "web", **changes: Any) -> Server:
        """Alice orders, and a worker builds it."""
        ordered = self.order(name, **changes)
        work()
        server = Server.objects.get(pk=ordered.server.pk)
        assert server.lifecycle == "active", Action.objects.get(pk=ordered.action.pk).error_detail
        return server

    def stopped(self, name: str = "web", **changes: Any) -> Server:
        """The same, powered off again."""
        server = self.running(name, **changes)
        power_off(self.alice, server.pk)
        work()
        server.refresh_from_db()
        assert server.power_seen == "off"
        return server


def work() -> int:
    """Run everything that is due, in this thread; how many actions were worked on."""
    return Worker(registry).run_until_idle()


def due_now() -> None:
    """Let no action wait for its next look any longer."""
    Action.objects.filter(state="running", lease_until=None).update(run_after=timezone.now())


def make_user(email: str) -> User:
    """Somebody who can sign in with the password `secret`."""
    return User.objects.create_user(email, "secret")


def make_image(name: str) -> Image:
    """A real, empty image file in the image directory."""
    content = empty_qcow2(GIB, marker=name.encode())
    sha256 = hashlib.sha256(content).hexdigest()
    directory = Path(settings.IMAGE_DIR)
    directory.mkdir(parents=True, exist_ok=True)
    # In one piece: another process of a parallel run may be reading the same image.
    part = directory / f"{sha256}.{os.getpid()}.part"
    part.write_bytes(content)
    part.replace(directory / f"{sha256}.qcow2")
    return Image.objects.create(
        name=name,
        description=name.title(),
        status=ImageStatus.AVAILABLE,
        sha256=sha256,
        file=f"{sha256}.qcow2",
        size_bytes=len(content),
        virtual_size_bytes=GIB,
    )


def make_host(
    location: Location, *, uri: str = "", vcpus: int = 64, memory_mib: int = 65536, gib: int = 1000
) -> Host:
    """A reachable simulated host with one pool, in this process unless `uri` names a directory."""
    number = next(_numbers)
    uri = uri or f"fake:///test{number}?memory_mib=65536&disk_gib=1000"
    host = Host.objects.create(
        name=f"kvm{number}",
        location=location,
        uri=uri,
        status=HostStatus.REACHABLE,
        network="vpspanel",
        vcpus_limit=vcpus,
        memory_limit_mib=memory_mib,
        action_limit=8,
    )
    StoragePool.objects.create(host=host, name="vpspanel", path="/pool", limit_gib=gib)
    driver = driver_for(uri)
    driver.ensure_pool("vpspanel", "/pool")
    driver.ensure_network(NetworkSpec("vpspanel", "vps0", "10.80.0.1/24", "fd80::1/48"))
    return host


def make_world(**host: Any) -> World:
    """The cast, a project, one host, two images, one plan, addresses for 200."""
    location = Location.objects.create(name="test1", city="Testville")
    users = {name: make_user(f"{name}@example.com") for name in ("alice", "olga", "bob", "charlie")}
    project = open_account(user=users["alice"], name="Alice", actor=SYSTEM)
    project.account.server_limit = 1000
    project.account.save(update_fields=["server_limit"])
    Member.objects.create(project=project, user=users["olga"], role=Role.OPERATOR)
    Member.objects.create(project=project, user=users["bob"], role=Role.READER)
    open_account(user=users["charlie"], name="Charlie", actor=SYSTEM)
    plan = ServerType.objects.create(
        name="nano", description="Nano", vcpus=1, memory_mib=128, disk_gib=1
    )
    ServerTypePrice.objects.create(
        server_type=plan,
        location=location,
        hourly_micros=5000,
        monthly_micros=3 * MICROS,
    )
    make_pools(location)
    return World(
        location=location,
        project=project,
        plan=plan,
        images=[make_image("tiny"), make_image("other")],
        hosts=[make_host(location, **host)],
        **{name: Actor(user, "page") for name, user in users.items()},
    )


def make_plan(world: World, name: str, *, vcpus: int, memory_mib: int, disk_gib: int) -> ServerType:
    """Another plan, sold where the first one is."""
    plan = ServerType.objects.create(
        name=name,
        description=name.capitalize(),
        vcpus=vcpus,
        memory_mib=memory_mib,
        disk_gib=disk_gib,
    )
    ServerTypePrice.objects.create(
        server_type=plan, location=world.location, hourly_micros=9000, monthly_micros=6 * MICROS
    )
    return plan


def make_pools(location: Location, *, last_v4: int = 201) -> None:
    """IPv4 addresses 2 to `last_v4`, and 200 IPv6 networks."""
    for family, network, gateway, last in (
        (Family.V4, "10.80.0.0/24", "10.80.0.1", last_v4),
        (Family.V6, "fd80::/48", "fe80::1", 201),
    ):
        IPPool.objects.create(
            location=location,
            name=f"{location.name}-v{family}",
            family=family,
            network=network,
            gateway=gateway,
            last_index=last,
            next_index=2,
            dns_servers=["10.80.0.1"] if family == Family.V4 else [],
        )
