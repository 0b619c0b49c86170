"""Differences between records and hosts: found, kept, ignored, repaired.

What differs is what the audit finds (`audit_hosts.py`, `audit_records.py`).
Finding changes nothing but `Difference` rows. One counts from the second look
on, because orders and actions go on meanwhile, and is closed by itself when a
look does not show it any more.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from hosts.models import Host
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.services import record_event
from vpspanel.servers.audit_findings import Finding, Level
from vpspanel.servers.audit_hosts import check_host
from vpspanel.servers.audit_look import Look, load_records, look_at
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.copies import note_copies
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.models_drift import PRESENT, Difference, DifferenceState

SHORTEST_REASON = 5  # characters in which somebody can say why
PASSING = frozenset({"upload_recent"})  # will be gone, or another finding, soon
# What staff may have made anew for a server that lives: its host is told what is recorded.
RESTORED = {
    "filter_missing": "make its filter again",
    "domain_missing": "define its guest again, which is off then",
    "domain_definition": "define its guest as recorded, from its next start on",
    "domain_disks": "define its guest as recorded, from its next start on",
}

Key = tuple[str, str]


def look_at_host(host: Host) -> bool:
    """Note what differs on one host, and what is unused; False if it did not answer.

    Calls the host.
    """
    began = timezone.now()
    look = look_at(host, began)
    if not isinstance(look, Look):
        return False
    note(host, check_host(look, load_records([look])), began, complete=not look.unseen)
    note_copies(look)
    return True


def look_at_records() -> None:
    """Note what the records alone get wrong."""
    began = timezone.now()
    note(None, check_records(began), began, complete=True)


def note(host: Host | None, findings: Iterable[Finding], at: datetime, *, complete: bool) -> None:
    """Keep what was found on this host (or in the records); with `complete`, the rest is gone."""
    found = {
        finding.key: finding
        for finding in findings
        if finding.level is not Level.UNSEEN and finding.code not in PASSING
    }
    known = {
        (row.code, row.subject): row
        for row in Difference.objects.filter(code__in={code for code, _ in found})
    }
    owners = _servers_of(found.values())
    new = [
        _new(host, finding, owners.get(finding.owner), at)
        for key, finding in found.items()
        if key not in known
    ]
    Difference.objects.bulk_create(new, ignore_conflicts=True)
    for key, finding in found.items():
        if key in known:
            _seen_again(known[key], finding, at)
    if complete:
        _close_the_rest(host, set(found), at)


def _servers_of(findings: Iterable[Finding]) -> dict[object, Server]:
    uuids = {finding.owner for finding in findings if finding.owner is not None}
    return {server.uuid: server for server in Server.objects.filter(uuid__in=uuids).only("uuid")}


def _new(host: Host | None, finding: Finding, server: Server | None, at: datetime) -> Difference:
    return Difference(
        code=finding.code,
        subject=finding.subject,
        level=finding.level.value,
        message=finding.message[:500],
        remedy=remedy_of(finding),
        facts=dict(finding.facts),
        host=host,
        server=server,
        first_seen=at,
        last_seen=at,
        state_since=at,
    )


def remedy_of(finding: Finding) -> str:
    """What a repair would do; "" if nobody can repair it here."""
    return finding.remedy if finding.repair else RESTORED.get(finding.code, "")


def _seen_again(row: Difference, finding: Finding, at: datetime) -> None:
    """It is still so: it counts now. What is ignored counts again if it has changed."""
    message = finding.message[:500]
    state = DifferenceState(row.state)
    if state is not DifferenceState.IGNORED or message != row.message:
        came_back = state in (DifferenceState.GONE, DifferenceState.REPAIRED)
        state = DifferenceState.SUSPECTED if came_back else DifferenceState.OPEN
    changes: dict[str, object] = {
        "last_seen": at,
        "message": message,
        "remedy": remedy_of(finding),
        "facts": dict(finding.facts),
        "level": finding.level.value,
    }
    if state != row.state:
        changes |= {"state": state, "state_since": at}
        if state is DifferenceState.SUSPECTED:
            changes["first_seen"] = at
    as_read = Difference.objects.filter(pk=row.pk, state=row.state, last_seen__lt=at)
    with transaction.atomic():
        if as_read.update(**changes) and state is DifferenceState.OPEN != row.state:
            _say(row, "found", f"Found: {message}")


def _close_the_rest(host: Host | None, found: set[Key], at: datetime) -> None:
    """What this look did not show is gone. One that was seen once only was never there."""
    rows = Difference.objects.filter(host=host, state__in=PRESENT, last_seen__lt=at)
    rest = [row for row in rows if (row.code, row.subject) not in found]
    suspected = [row.pk for row in rest if row.state == DifferenceState.SUSPECTED]
    Difference.objects.filter(pk__in=suspected, state=DifferenceState.SUSPECTED).delete()
    for row in rest:
        if row.state == DifferenceState.SUSPECTED:
            continue
        as_read = Difference.objects.filter(pk=row.pk, state=row.state)
        with transaction.atomic():
            if as_read.update(state=DifferenceState.GONE, state_since=at, reason=""):
                _say(row, "gone", "It is gone")


# --- what staff do ---------------------------------------------------------------


def ignore(actor: Actor, row: Difference, reason: str) -> None:
    """Let it be until it changes. Raises `Refused`."""
    why = " ".join(reason.split())
    if len(why) < SHORTEST_REASON:
        raise Refused("invalid_input", "Say why it may stay as it is.", field="reason")
    _decide(actor, row, DifferenceState.IGNORED, "ignored", f"Ignored: {why}", reason=why[:200])


def watch_again(actor: Actor, row: Difference) -> None:
    """Take an ignored one up again. Raises `Refused`."""
    if row.state != DifferenceState.IGNORED:
        raise Refused("conflict", "It is not ignored.")
    _decide(actor, row, DifferenceState.OPEN, "watched", "Watched again", reason="")


def _decide(
    actor: Actor, row: Difference, state: DifferenceState, kind: str, said: str, *, reason: str
) -> None:
    with transaction.atomic():
        as_read = Difference.objects.filter(pk=row.pk, state=row.state, state__in=PRESENT)
        if not as_read.update(state=state, state_since=timezone.now(), reason=reason):
            raise Refused("conflict", "It has just changed. Look again.")
        _say(row, kind, said, actor)


def repair(actor: Actor, row: Difference) -> Action:
    """Queue what sets just this one right; a worker makes sure first that it is still so.

    Raises `Refused` where nothing here can repair it, or something else is being done.
    """
    if row.state not in PRESENT:
        raise Refused("conflict", "It is gone already.")
    if not row.remedy:
        raise Refused("conflict", "Nothing here can repair it safely. It needs a person.")
    with transaction.atomic():
        action = _restore(actor, row) if row.code in RESTORED else _submit(actor, row)
        _say(row, "repair", f"Repair: {row.remedy}", actor, action=action.pk)
    return action


def _restore(actor: Actor, row: Difference) -> Action:
    server = row.server
    if server is None or server.lifecycle != Lifecycle.ACTIVE or server.host is None:
        raise Refused("conflict", "Its server is not in use any more.")
    return actions.submit(
        "restore_definition",
        resource=("server", server.pk),
        actor=actor,
        args={"difference": row.pk},
        project_id=server.project_id,
        group=str(server.host_id),
        group_limit=server.host.action_limit,
    )


def _submit(actor: Actor, row: Difference) -> Action:
    """One after the other on each host, beside its other actions: those may explain an upload."""
    return actions.submit(
        "repair_difference",
        resource=("difference", row.pk),
        actor=actor,
        group=f"drift-{row.host_id or 0}",
        group_limit=1,
    )


def mark_repaired(difference_id: int) -> None:
    """The repair is done; should it come back, it is a new one. Inside the transaction in hand."""
    rows = Difference.objects.filter(pk=difference_id, state__in=PRESENT)
    if rows.update(state=DifferenceState.REPAIRED, state_since=timezone.now(), reason=""):
        _say(Difference.objects.get(pk=difference_id), "repaired", "Repaired")


def _say(row: Difference, kind: str, said: str, actor: Actor = SYSTEM, **data: Any) -> None:
    record_event(
        f"drift.{kind}",
        said,
        resource=("difference", row.pk),
        actor=actor,
        public=False,
        code=row.code,
        subject=row.subject,
        **data,
    )
