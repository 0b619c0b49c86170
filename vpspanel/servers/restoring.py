"""Servers whose disks are lost with their host: each is restarted elsewhere from its newest copy.

The copy is an image of the server's project that was made of its disk. What was
written since then is not on it, so nobody but staff can ask for this, and only
for servers of a host that is fenced. Should the host come back, the lost disk
lies there as a stale copy, until somebody removes it on purpose.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import uuid4

from django.db import transaction

from hosts.errors import NoCapacity
from hosts.models import Image, ImageStatus, StoragePool
from hosts.moving import hold_beside, places_elsewhere
from hosts.placement import tags_of
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.images import image_owner
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.services import next_generation

NO_ROOM = "No other host in {location} has room for it."
CHANGED = "It changed at the same moment. Evacuate again."


def newest_copies(servers: Sequence[Server]) -> dict[int, Image]:
    """The newest copy of each server's disk, by the server's id, where there is one. One query."""
    owners = {server.pk: image_owner(server.project_id) for server in servers}
    copies = Image.objects.filter(
        created_from_id__in=owners, owner__in=set(owners.values()), status=ImageStatus.AVAILABLE
    )
    return {
        copy.created_from_id: copy
        for copy in copies.order_by("created", "pk")
        if copy.created_from_id is not None and copy.owner == owners[copy.created_from_id]
    }


def copied_at(image: Image) -> str:
    """The copy and its time, as people read it."""
    return f"“{image.description}” of {image.created:%Y-%m-%d %H:%M} UTC"


def restore(actor: Actor, server: Server, image: Image) -> Action:
    """Hold its room elsewhere and queue the restart from the image there. Raises `Refused`."""
    tags = tags_of(server.server_type.host_tags)
    for place in places_elsewhere(server.uuid, tags, image):
        target = StoragePool.objects.select_related("host").get(pk=place.pool_id)
        try:
            with transaction.atomic():
                return _restore_in(actor, server, image, target)
        except NoCapacity:
            continue
    raise Refused("resource_unavailable", NO_ROOM.format(location=server.location))


def _restore_in(actor: Actor, server: Server, image: Image, target: StoragePool) -> Action:
    source, held_by = StoragePool.objects.get(host=server.host_id, name=server.pool), uuid4()
    action = actions.submit(
        "restore",
        resource=("server", server.pk),
        actor=actor,
        args={
            "image": image.pk,
            "generation": next_generation(server),
            "instance": image.created_from_instance,
            "source": server.host_id,
            "source_pool": source.pk,
            "target_pool": target.pk,
            "held_by": str(held_by),
        },
        project_id=server.project_id,
        group=str(target.host_id),
        group_limit=target.host.action_limit,
    )
    as_read = Server.objects.filter(
        pk=server.pk, host=server.host_id, pool=server.pool, lifecycle=Lifecycle.ACTIVE
    )
    if not as_read.update(lifecycle=Lifecycle.ACTIVE):
        raise Refused("conflict", CHANGED)
    hold_beside(server.uuid, held_by, target.pk)
    record_event(
        "server.restore",
        f"Its host failed; the server is restarted on another one from {copied_at(image)}",
        resource=("server", server.pk),
        project_id=server.project_id,
        action_id=action.pk,
        actor=actor,
    )
    return action
