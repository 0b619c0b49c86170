"""Who asks: passed from the edge to every service, and written on every event."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vpspanel.accounts.models import ApiToken, User


@dataclass(frozen=True, slots=True)
class Actor:
    """A person, a program with a token, or the system itself, and the way they came."""

    user: User | None
    via: str  # page, api, admin, command, system
    ip: str | None = None
    token: ApiToken | None = None  # then there is no user: it acts for its project

    @property
    def name(self) -> str:
        """What the timeline shows."""
        if self.token is not None:
            return f"{self.token.name} (API token)"
        return self.user.email if self.user is not None else self.via


SYSTEM = Actor(user=None, via="system")
