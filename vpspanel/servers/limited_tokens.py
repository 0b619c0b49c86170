"""API tokens for some servers only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vpspanel.accounts.models import ApiToken, Project
from vpspanel.accounts.token_changes import change_token, require_changeable
from vpspanel.accounts.token_fields import SERVERS_PER_TOKEN
from vpspanel.accounts.token_services import MadeToken, create_token, require_token_role
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
    return create_token(actor, project=project, server_ids=_ids_of(project, servers), **wanted)


def change_limited_token(
    actor: Actor, token: ApiToken, *, servers: Sequence[str | int] | None = None, **changes: Any
) -> ApiToken:
    """As `change_token`, for those servers from now on; for all if none, as before if None.

    A server that was deleted may stay on the list, by its number.
    Raises what `change_token` does, and `Refused` for a server that is not there.
    """
    require_changeable(actor, token)
    if servers is not None and token.project is not None:
        changes["server_ids"] = _ids_of(token.project, servers, known=token.server_ids)
    return change_token(actor, token, **changes)


def _ids_of(project: Project, servers: Sequence[str | int], known: Sequence[int] = ()) -> list[int]:
    """By name, else by number: a name may consist of digits."""
    if len(servers) > SERVERS_PER_TOKEN:
        message = f"A token may be for {SERVERS_PER_TOKEN} servers, or for all."
        raise Refused("invalid_input", message, field="servers")
    if not servers:
        return []
    there = project.servers.exclude(lifecycle=Lifecycle.DELETED).values_list("pk", "name")
    ids = {str(pk): pk for pk in known}
    ids |= {str(pk): pk for pk, _ in there} | {name: pk for pk, name in there}
    for named in servers:
        if str(named) not in ids:
            message = f"There is no server “{str(named)[:60]}” in the project."
            raise Refused("invalid_input", message, field="servers")
    return [ids[str(named)] for named in servers]
