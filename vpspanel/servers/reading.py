"""What pages read: whole lists in a fixed number of queries, whatever their length."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet
from django.utils import timezone

from vpspanel.accounts.models import Project, Role
from vpspanel.accounts.roles import roles_of
from vpspanel.actions.command import Command, registry
from vpspanel.actions.models import FINAL_STATES, OPEN_STATES, Action, ActionState, StepRecord
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event
from vpspanel.kept import kept
from vpspanel.servers.access import get_server, includes, role_of, visible_servers
from vpspanel.servers.models import NO_SECRETS, Leaving, PrimaryIP, Server
from vpspanel.servers.services import facts_of, may_cancel
from vpspanel.servers.states import RULES, Status, Verb, allowed, shown_status

TIMELINE = 50
FRESH = timedelta(seconds=30)  # the monitor hears from a host every five
WORDS = 5  # of a search that count

ServerSet = QuerySet[Server]


@dataclass(frozen=True, slots=True)
class ServerRow:
    """One line of the server list. `allowed[verb]` is "" or the sentence that says why not."""

    server: Server
    status: Status
    allowed: dict[Verb, str]
    addresses: Sequence[PrimaryIP]
    open_action: Action | None


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of an action: done, running, waiting, failed or undone."""

    name: str
    label: str
    state: str
    seconds: float | None


@dataclass(frozen=True, slots=True)
class ServerDetail:
    """Everything that the server page shows."""

    server: Server
    status: Status
    allowed: dict[Verb, str]
    addresses: Sequence[PrimaryIP]
    action: Action | None  # the open one, else the last one if it failed
    may_cancel: bool  # it has not begun, and the actor's role may do without it
    command: Command | None
    steps: Sequence[StepView]
    events: Sequence[Event]
    stale_since: datetime | None  # when it was last seen, if that is no longer now
    host_reachable: bool
    role: Role | None
    has_password: bool
    has_rescue_password: bool
    runs_rescue: bool


def find_servers(actor: Actor, *, project: Project | None = None, words: str = "") -> ServerSet:
    """The servers that the actor sees, by name; each of the words is in a name or an address."""
    servers = visible_servers(actor).order_by("name", "pk")
    if project is not None:
        servers = servers.filter(project=project)
    for word in words.split()[:WORDS]:
        with_address = PrimaryIP.objects.filter(address__address__icontains=word)
        servers = servers.filter(
            Q(name__icontains=word)
            | Q(pk__in=with_address.values("server_id"))
            | Q(image__description__icontains=word)
            | Q(server_type__name__iexact=word)
            | Q(location__name__iexact=word)
        )
    return servers


def list_servers(actor: Actor, servers: ServerSet | None = None) -> list[ServerRow]:
    """One row for each of the servers, which `find_servers` gave. Four queries."""
    if servers is None:
        servers = find_servers(actor)
    return _rows(
        actor,
        list(
            servers.select_related(
                "project__account",
                "server_type",
                "image",
                "iso",
                "location",
                "host",
                "placement_group",
            ).defer(*NO_SECRETS)
        ),
    )


def _rows(actor: Actor, servers: Sequence[Server]) -> list[ServerRow]:
    roles = roles_of(actor)
    addresses = _addresses(servers)
    open_actions = {
        action.resource_id: action
        for action in Action.objects.filter(
            resource_type="server",
            state__in=OPEN_STATES,
            project_id__in={server.project_id for server in servers},
        )
    }
    return [
        _row(
            server,
            open_actions.get(server.pk),
            addresses[server.pk],
            roles[server.project_id],
        )
        for server in servers
        if server.project_id in roles  # else he was taken out of it between the two queries
    ]


def _addresses(servers: Iterable[Server]) -> dict[int, list[PrimaryIP]]:
    by_server: dict[int, list[PrimaryIP]] = defaultdict(list)
    for ip in _staying(PrimaryIP.objects.filter(server__in=list(servers))):
        if ip.server_id is not None:
            by_server[ip.server_id].append(ip)
    return by_server


def _staying(addresses: QuerySet[PrimaryIP]) -> QuerySet[PrimaryIP]:
    """Without those that are being given back; their pools are loaded."""
    return addresses.exclude(leaving=Leaving.FOR_GOOD).select_related("address__pool")


def _row(
    server: Server, action: Action | None, addresses: Sequence[PrimaryIP], role: Role | None
) -> ServerRow:
    facts = facts_of(server, action)
    told = None if action is not None and action.command in _quiet() else action
    return ServerRow(
        server, shown_status(facts), _allowed_to(role, allowed(facts)), addresses, told
    )


def _quiet() -> set[str]:
    """Commands of which customers hear nothing: housekeeping."""
    return {command.name for command in registry if command.quiet}


def _allowed_to(role: Role | None, by_state: dict[Verb, str]) -> dict[Verb, str]:
    """What the state allows, less what the role does not."""
    if role is None:
        return by_state
    return {
        verb: why
        if includes(role, RULES[verb].role)
        else f"Your role is {role.label}; this needs {RULES[verb].role.label}."
        for verb, why in by_state.items()
    }


def server_row(actor: Actor, server_id: int) -> ServerRow:
    """One line of the list. Raises `NotFound`."""
    server = get_server(actor, server_id)
    action = next(iter(_open_actions(server_id=server_id)), None)
    addresses = _addresses_of_one(server_id=server_id)
    return _row(server, action, addresses, role_of(actor, server.project_id))


@kept
def _open_actions(*, server_id: int) -> QuerySet[Action]:
    """The one that is open, or none."""
    return Action.objects.filter(
        resource_type="server", resource_id=server_id, state__in=OPEN_STATES
    ).order_by()


@kept
def _addresses_of_one(*, server_id: int) -> QuerySet[PrimaryIP]:
    return _staying(PrimaryIP.objects.filter(server_id=server_id))


def server_detail(actor: Actor, server_id: int) -> ServerDetail:
    """The server page. Raises `NotFound` to strangers."""
    server = get_server(actor, server_id)
    actions = Action.objects.filter(resource_type="server", resource_id=server.pk)
    last = actions.exclude(command__in=_quiet(), state__in=FINAL_STATES).first()
    action = last if last is not None and last.is_open else None
    role = role_of(actor, server.project_id)
    row = _row(server, action, _addresses_of_one(server_id=server_id), role)
    failed = last if last is not None and last.state == ActionState.ERROR else None
    shown = row.open_action or failed
    command = registry.get(shown.command) if shown and shown.command in registry else None
    facts = facts_of(server, action)
    return ServerDetail(
        server=server,
        status=row.status,
        allowed=row.allowed,
        addresses=row.addresses,
        action=shown,
        may_cancel=shown is not None and may_cancel(role, shown),
        command=command,
        steps=action_steps(shown, command) if shown and command else (),
        events=list(
            Event.objects.filter(resource_type="server", resource_id=server.pk, public=True)[
                :TIMELINE
            ]
        ),
        stale_since=_stale_since(server, reachable=facts.host_reachable),
        host_reachable=facts.host_reachable,
        role=role,
        has_password=bool(server.root_password_sealed),
        has_rescue_password=bool(server.rescue_password_sealed),
        runs_rescue=facts.may_run_rescue,
    )


def _stale_since(server: Server, *, reachable: bool) -> datetime | None:
    """Since when nothing was seen of it; None while what is shown is fresh.

    A host that answers says at once what changes, so what was seen last is as
    fresh as its last answer; of a silent host (or with a silent monitor) only
    what it said last is known.
    """
    seen = server.seen_at
    if seen is None:
        return None
    if reachable and server.host is not None and server.host.seen_at is not None:
        seen = max(seen, server.host.seen_at)
    return None if reachable and timezone.now() - seen < FRESH else seen


def action_steps(action: Action, command: Command) -> list[StepView]:
    """The steps of an action with their states and durations in seconds."""
    records = {(record.name, record.undo): record for record in action.steps.all()}
    now = timezone.now()
    return [
        _step_view(action, step.name, step.label, records, now) for step in command.steps_of(action)
    ]


def _step_view(
    action: Action,
    name: str,
    label: str,
    records: dict[tuple[str, bool], StepRecord],
    now: datetime,
) -> StepView:
    done = records.get((name, False))
    if (name, True) in records:
        return StepView(name, label, "undone", None)
    if done is not None:
        return StepView(name, label, "done", (done.finished - done.started).total_seconds())
    if action.step != name:
        return StepView(name, label, "waiting", None)
    if action.undoing or action.state in (ActionState.ERROR, ActionState.PARKED):
        return StepView(name, label, "failed", None)
    return StepView(name, label, "running", None)
