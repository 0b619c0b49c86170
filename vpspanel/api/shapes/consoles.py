"""How a console ticket looks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

from vpspanel.api.shapes.plain import moment
from vpspanel.consoles.embed_views import embed_path
from vpspanel.consoles.grants import Granted
from vpspanel.consoles.models import Kind


class ConsoleTicketShape(TypedDict):
    """A console ticket. Its `url` holds a secret and opens once, until `open_until`."""

    url: str
    type: str
    may_type: bool
    open_until: str
    expires: str


def console_ticket_shape(
    granted: Granted, name: str, absolute: Callable[[str], str]
) -> ConsoleTicketShape:
    """The ticket; `absolute` makes a whole address of a path of this site."""
    grant = granted.grant
    page = absolute(embed_path(Kind(grant.kind), may_type=grant.may_type))
    return ConsoleTicketShape(
        url=f"{page}#{granted.secret}",
        type=name,
        may_type=grant.may_type,
        open_until=moment(grant.redeem_until),
        expires=moment(grant.expires),
    )
