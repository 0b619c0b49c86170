"""Guests that somebody else has made, for the tests of taking them over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.utils import timezone

from hosts.models import Host
from hosts.virt.spec import DiskSpec, NicSpec
from tests.world import GIB, World, work
from vpspanel.actions.models import Action
from vpspanel.events.actor import Actor
from vpspanel.servers.adoptable import Guest
from vpspanel.servers.adopting import Adopted, adopt_guest, find_guest
from vpspanel.servers.audit_look import Look, look_at
from vpspanel.servers.models import Server

ROOT = Actor(user=None, via="command")
MAC = "52:54:00:12:34:56"
NAME, DISK, POOL = "old-web", "old-web.qcow2", "vpspanel"
IPV4 = "10.80.0.77"


def foreign(world: World, *, running: bool = True, name: str = NAME, **changes: Any) -> UUID:
    """A guest with one disk and one card, as the panel could have made it."""
    driver = world.driver()
    driver.add_foreign_volume(POOL, f"{name}.qcow2", GIB, format="qcow2")
    values: dict[str, Any] = {
        "memory_mib": 100,
        "disks": (DiskSpec(POOL, f"{name}.qcow2", "vda", "qcow2"),),
        "nics": (NicSpec(MAC, network="vpspanel"),),
    }
    return driver.add_foreign_domain(name, running=running, autostart=True, **(values | changes))


def seen(host: Host, name: str = NAME) -> Guest:
    """The guest as a look at its host shows it."""
    look = look_at(host, timezone.now())
    assert isinstance(look, Look)
    return find_guest(host, look, name)


def adopt(world: World, **changes: Any) -> Adopted:
    """Staff take it over for Alice; nothing is worked on yet."""
    wanted: dict[str, Any] = {
        "project": world.project,
        "name": "web",
        "server_type": world.plan,
        "ipv4": IPV4,
    }
    actor = changes.pop("actor", ROOT)
    guest = changes.pop("guest", None) or seen(world.host)
    return adopt_guest(actor, world.host, guest, **(wanted | changes))


def adopted(world: World, **changes: Any) -> Server:
    """The same, and a worker has done it."""
    made = adopt(world, **changes)
    work()
    server = Server.objects.get(pk=made.server.pk)
    action = Action.objects.get(pk=made.action.pk)
    assert (action.state, server.lifecycle) == ("success", "active"), action.error_detail
    return server
