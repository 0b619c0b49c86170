"""Refusals: what a customer asked for and cannot have, with whose turn it is.

Services raise `Refused`; the page shows `message`, the API sends `code`,
`message` and `field`. The codes are those that hcloud clients know.
"""

from __future__ import annotations


class Refused(Exception):
    """A request that is not carried out; nothing has changed."""

    def __init__(self, code: str, message: str, *, field: str | None = None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


class NotFound(Refused):
    """It does not exist, or the actor may not know that it does."""

    def __init__(self, what: str = "resource"):
        super().__init__("not_found", f"This {what} was not found.")
