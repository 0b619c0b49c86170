"""What an audit has to say."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


class Level(enum.StrEnum):
    """How much a finding matters."""

    ERROR = "error"  # an invariant is broken
    UNSEEN = "not looked at"  # nobody knows
    INFO = "info"  # worth knowing, nothing is wrong


Repair = Callable[[], bool]  # True if something was changed


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken invariant, or one thing worth knowing.

    `repair` is there only for what is safe to repair; `remedy` says what it
    does. `owner` is the server that it concerns, if there is one.
    """

    level: Level
    code: str
    subject: str
    message: str
    remedy: str = ""
    repair: Repair | None = field(default=None, compare=False, repr=False)
    owner: UUID | None = None
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def key(self) -> tuple[str, str]:
        """What makes it the same finding at a second look."""
        return self.code, self.subject


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome: what is left, and what was repaired."""

    findings: tuple[Finding, ...]
    repaired: tuple[Finding, ...] = ()
    hosts: tuple[str, ...] = ()  # the names of those that were looked at

    @property
    def errors(self) -> list[Finding]:
        """The broken invariants that remain."""
        return [finding for finding in self.findings if finding.level is Level.ERROR]

    @property
    def unseen(self) -> list[Finding]:
        """What could not be looked at."""
        return [finding for finding in self.findings if finding.level is Level.UNSEEN]

    @property
    def is_clean(self) -> bool:
        """Everything was looked at, and no invariant is broken."""
        return not self.errors and not self.unseen

    def codes(self) -> set[str]:
        """The codes of the errors."""
        return {finding.code for finding in self.errors}
