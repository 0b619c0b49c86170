"""The rescue system: enabled for one start, with a password or keys of its own, or disabled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import transaction

from hosts.models import Image, ImageStatus
from vpspanel.accounts.models import SSHKey
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.sealing import seal, unseal
from vpspanel.servers.access import get_server
from vpspanel.servers.models import Server
from vpspanel.servers.passwords import crypt_hash, new_password
from vpspanel.servers.services import act_on
from vpspanel.servers.states import Verb

UNUSED_FOR = timedelta(minutes=60)  # then it is disabled again


@dataclass(frozen=True, slots=True)
class Rescue:
    """What enabling answers. `root_password` only if one was made."""

    action: Action
    root_password: str | None


def enable_rescue(actor: Actor, server_id: int, *, ssh_keys: Sequence[SSHKey] = ()) -> Rescue:
    """Let its next start boot a small system, once, with its own disk attached and not mounted.

    Whoever holds one of the keys may log in there as root; without keys a
    password is made for it, which can be revealed once. Nothing restarts it.
    """
    server = get_server(actor, server_id, Verb.ENABLE_RESCUE)
    if any(key.project_id != server.project_id for key in ssh_keys):
        raise Refused("invalid_input", "Unknown SSH key.", field="ssh_keys")
    password = None if ssh_keys else new_password()
    changes: dict[str, Any] = {"rescue_password_sealed": b"", "rescue_password_hash": ""}
    if password is not None:
        changes["rescue_password_sealed"] = seal(password)
        changes["rescue_password_hash"] = crypt_hash(password)
    args = {
        "image": _image().pk,
        "authorized_keys": [f"{key.public_key} {key.name}" for key in ssh_keys],
    }
    return Rescue(act_on(actor, server, Verb.ENABLE_RESCUE, args=args, **changes), password)


def disable_rescue(actor: Actor, server_id: int) -> Action:
    """Let its next start boot its own system. One that runs the rescue system goes on."""
    return act_on(actor, get_server(actor, server_id, Verb.DISABLE_RESCUE), Verb.DISABLE_RESCUE)


def reveal_rescue_password(actor: Actor, server_id: int) -> str | None:
    """The password of its rescue system, once; None if there is none left to show."""
    server = get_server(actor, server_id, Verb.ENABLE_RESCUE)
    sealed = bytes(server.rescue_password_sealed)
    if not sealed:
        return None
    with transaction.atomic():
        rows = Server.objects.filter(pk=server.pk, rescue_password_sealed=sealed)
        if not rows.update(rescue_password_sealed=b""):
            return None
        record_event(
            "server.rescue_password_revealed",
            "The password of the rescue system was shown",
            resource=("server", server.pk),
            project_id=server.project_id,
            actor=actor,
        )
    return unseal(sealed)


def expires_at(server: Server) -> datetime | None:
    """When it is disabled again unless it was used; None if it is not enabled."""
    if not server.rescue_enabled or server.rescue_enabled_at is None:
        return None
    return server.rescue_enabled_at + UNUSED_FOR


def _image() -> Image:
    """The rescue system. Raises `Refused` until it is there."""
    image = Image.objects.filter(
        name=settings.RESCUE_IMAGE, owner__isnull=True, status=ImageStatus.AVAILABLE
    ).first()
    if image is None:
        raise Refused("resource_unavailable", "The rescue system is not available yet.")
    return image
