"""ISOs: put into a server's CD-ROM, and taken out. Its next start by the panel shows it."""

from __future__ import annotations

from hosts.models import Image, ImageStatus, ImageType
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_server
from vpspanel.servers.services import act_on
from vpspanel.servers.states import Verb


def attach_iso(actor: Actor, server_id: int, iso: Image) -> Action:
    """Let its next start by the panel boot from the ISO, in the place of one that is attached.

    A restart by its own system does not: QEMU goes on as it was started.
    """
    server = get_server(actor, server_id, Verb.ATTACH_ISO)
    if iso.type != ImageType.ISO or iso.status != ImageStatus.AVAILABLE:
        raise Refused("invalid_input", "This ISO is not available.", field="iso")
    said = f": {iso.description}"
    return act_on(actor, server, Verb.ATTACH_ISO, args={"iso": iso.pk}, said=said)


def detach_iso(actor: Actor, server_id: int) -> Action:
    """Let its next start by the panel boot from its own disk."""
    return act_on(actor, get_server(actor, server_id, Verb.DETACH_ISO), Verb.DETACH_ISO)
