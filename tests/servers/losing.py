"""Two hosts that share their storage, and the loss of the first."""

from __future__ import annotations

from django.utils import timezone

from hosts.models import Host, HostStatus, Image, ImageStatus, StoragePool
from tests.world import World, due_now, make_host, make_world, work
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers.evacuation import Evacuated, evacuate
from vpspanel.servers.models import Server
from vpspanel.servers.services import power_on
from vpspanel.servers.snapshots import create_image
from vpspanel.servers.stale import OF_LOSS

FENCED = "power cut at PDU 3, outlet 7"


def shared_world() -> World:
    """The same, with all pools on the same storage."""
    world = two_hosts()
    share()
    return world


def two_hosts() -> World:
    """What is built goes to the first host, unless something keeps it away."""
    world = make_world()
    world.hosts.append(make_host(world.location))
    return world


def share() -> None:
    """All pools are the same storage."""
    StoragePool.objects.update(shared_id="nfs1")


def with_snapshot(world: World, name: str = "web") -> tuple[Server, Image]:
    """A server that runs on again, and the snapshot that was made of it."""
    server = world.stopped(name)
    image = create_image(world.alice, server.pk, description=f"of {name}").image
    work()
    power_on(world.alice, server.pk)
    work()
    server.refresh_from_db()
    image.refresh_from_db()
    assert (server.power_seen, image.status) == ("running", ImageStatus.AVAILABLE)
    return server, image


def lose(world: World, host: Host | None = None, *, shared: bool = True) -> None:
    """The host is silent, as the monitor shows it; the others see its storage if it is shared."""
    host = host or world.host
    lost = world.driver(host)
    for other in world.hosts:
        if shared and other != host:
            world.driver(other).outside_share(lost)
    lost.set_reachable(False)
    Host.objects.filter(pk=host.pk).update(
        status=HostStatus.UNREACHABLE, status_since=timezone.now()
    )
    host.refresh_from_db()


def evacuated(world: World, host: Host | None = None, *, from_copies: bool = False) -> Evacuated:
    """Staff confirm the fencing, and a worker does the rest."""
    host = host or world.host
    done = evacuate(SYSTEM, host, confirmed_name=host.name, fenced=FENCED, from_copies=from_copies)
    going = Action.objects.filter(command__in=OF_LOSS, state__in=("queued", "running"))
    for _ in range(30):
        work()
        if not going.exists():
            break
        due_now()
    return done
