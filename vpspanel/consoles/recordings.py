"""Recordings of serial consoles: kept, listed, read and deleted through the one door."""

from __future__ import annotations

import gzip
from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from vpspanel.consoles.models import Recording
from vpspanel.consoles.recorder import Tape
from vpspanel.consoles.rights import TYPE_ROLE
from vpspanel.consoles.services import project_of
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.servers.access import get_server, includes, role_of
from vpspanel.servers.states import Verb

KEPT = 20  # of each server; of more, the oldest goes


def record_began(actor: Actor, server_id: int) -> None:
    """A recording has begun."""
    _record("started", f"{actor.name} records the serial console", actor, server_id)


@transaction.atomic
def keep_recording(server_id: int, tape: Tape) -> Recording:
    """Keep what has ended; the oldest gives way."""
    recording = Recording.objects.create(
        server_id=server_id,
        project_id=project_of(server_id),
        started_by=tape.actor.user,
        started_by_name=tape.actor.name,
        by_staff=tape.by_staff,
        started=tape.started,
        seconds=tape.seconds,
        size=tape.size,
        ended=tape.ended,
        data=tape.data,
    )
    newest = Recording.objects.filter(server_id=server_id).order_by("-pk")
    old = list(newest.values_list("pk", flat=True)[KEPT:])
    Recording.objects.filter(pk__in=old).delete()
    words = f"The recording of the serial console by {tape.actor.name} ended"
    _record("ended", words, tape.actor, server_id, seconds=int(tape.seconds), reason=tape.ended)
    return recording


def recordings_of(actor: Actor, server_id: int) -> QuerySet[Recording]:
    """Without their bytes, the newest first. Raises `NotFound`."""
    server = get_server(actor, server_id, Verb.CONSOLE)
    return Recording.objects.filter(server=server).defer("data").order_by("-pk")


def read_recording(actor: Actor, server_id: int, recording_id: int) -> bytes:
    """The asciicast. Raises `NotFound`."""
    return gzip.decompress(bytes(_get(actor, server_id, recording_id).data))


@transaction.atomic
def delete_recording(actor: Actor, server_id: int, recording_id: int) -> None:
    """It is gone. Raises `NotFound`, and `Refused` for those who may only watch."""
    recording = _get(actor, server_id, recording_id)
    role = role_of(actor, recording.project_id)
    if role is None or not includes(role, TYPE_ROLE):
        raise Refused("forbidden", f"This needs the role {TYPE_ROLE.label}.")
    recording.delete()
    words = f"{actor.name} deleted a recording of the serial console"
    began = recording.started.isoformat()
    _record("deleted", words, actor, server_id, started=began, by=recording.started_by_name)


def _get(actor: Actor, server_id: int, recording_id: int) -> Recording:
    server = get_server(actor, server_id, Verb.CONSOLE)
    recording = Recording.objects.filter(server=server, pk=recording_id).first()
    if recording is None:
        raise NotFound("recording")
    return recording


def _record(what: str, words: str, actor: Actor, server_id: int, **data: Any) -> None:
    record_event(
        f"console.recording_{what}",
        words,
        resource=("server", server_id),
        actor=actor,
        project_id=project_of(server_id),
        **data,
    )
