"""API tokens for some servers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpspanel.accounts.models import Project
from vpspanel.accounts.token_services import (
    SERVERS_PER_TOKEN,
    MadeToken,
    create_token,
    require_token_role,
)
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.models import Lifecycle


def create_limited_token(
    actor: Actor, *, project: Project, servers: Sequence[str | int], **wanted: Any
) -> MadeToken:
    """As `create_token`, for those servers of the project, named or numbered; for all if none.

    Raises what `create_token` does, and `Refused` for a server that is not there.
    """
    require_token_role(actor, project)
    if len(servers) > SERVERS_PER_TOKEN:
        message = f"A token may be for {SERVERS_PER_TOKEN} servers, or for all."
        raise Refused("invalid_input", message, field="servers")
    ids = _ids_of(project, servers) if servers else []
    return create_token(actor, project=project, server_ids=ids, **wanted)


def _ids_of(project: Project, servers: Sequence[str | int]) -> list[int]:
    """By name, else by number: a name may consist of digits."""
    there = project.servers.exclude(lifecycle=Lifecycle.DELETED).values_list("pk", "name")
    known = {str(pk): pk for pk, _ in there} | {name: pk for pk, name in there}
    for named in servers:
        if str(named) not in known:
            message = f"There is no server “{str(named)[:60]}” in the project."
            raise Refused("invalid_input", message, field="servers")
    return [known[str(named)] for named in servers]
