"""Two hosts that share their storage, and the loss of the first."""

from __future__ import annotations

from django.utils import timezone

from hosts.models import Host, HostStatus, StoragePool
from tests.world import World, due_now, make_host, make_world, work
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers.evacuation import Evacuated, evacuate

FENCED = "power cut at PDU 3, outlet 7"


def shared_world() -> World:
    """What is built goes to the first host, unless something keeps it away."""
    world = make_world()
    world.hosts.append(make_host(world.location))
    share()
    return world


def share() -> None:
    """All pools are the same storage."""
    StoragePool.objects.update(shared_id="nfs1")


def lose(world: World, host: Host | None = None) -> None:
    """The host is silent, as the monitor shows it; the others see its storage."""
    host = host or world.host
    lost = world.driver(host)
    for other in world.hosts:
        if other != host:
            world.driver(other).outside_share(lost)
    lost.set_reachable(False)
    Host.objects.filter(pk=host.pk).update(
        status=HostStatus.UNREACHABLE, status_since=timezone.now()
    )
    host.refresh_from_db()


def evacuated(world: World, host: Host | None = None) -> Evacuated:
    """Staff confirm the fencing, and a worker does the rest."""
    host = host or world.host
    done = evacuate(SYSTEM, host, confirmed_name=host.name, fenced=FENCED)
    for _ in range(30):
        work()
        if not Action.objects.filter(command="evacuate", state__in=("queued", "running")).exists():
            break
        due_now()
    return done
