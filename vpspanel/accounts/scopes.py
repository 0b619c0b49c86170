"""What a token may change when it may not change everything."""

from __future__ import annotations

import enum

from vpspanel.accounts.models import ApiToken
from vpspanel.errors import Refused


class Scope(enum.StrEnum):
    """A group of changes. Whatever belongs to none needs a token without scopes."""

    POWER = "servers:power"
    CONSOLE = "servers:console"
    CHANGE = "servers:change"
    REBUILD = "servers:rebuild"
    CREATE = "servers:create"
    DELETE = "servers:delete"
    IMAGES = "images"
    SSH_KEYS = "ssh_keys"
    PLACEMENT_GROUPS = "placement_groups"
    WEBHOOKS = "webhooks"


MEANING = {
    Scope.POWER: "start, shut down, power off, reboot and reset servers",
    Scope.CONSOLE: "use their consoles",
    Scope.CHANGE: "change their names, labels, protection, plans, addresses and placement groups",
    Scope.REBUILD: "rebuild them, set their passwords, use the rescue system and ISOs",
    Scope.CREATE: "order servers",
    Scope.DELETE: "delete servers",
    Scope.IMAGES: "make, change and delete snapshots",
    Scope.SSH_KEYS: "add, change and delete SSH keys",
    Scope.PLACEMENT_GROUPS: "make, change and delete placement groups",
    Scope.WEBHOOKS: "make, change, test and delete webhooks",
}
# These change what belongs to the whole project, so a token for single servers has none of them.
OF_THE_PROJECT = frozenset(
    {Scope.CREATE, Scope.IMAGES, Scope.SSH_KEYS, Scope.PLACEMENT_GROUPS, Scope.WEBHOOKS}
)


def may_change(token: ApiToken, scope: Scope | None) -> bool:
    """Whether the token may make changes of that scope; None is what has no scope."""
    if not token.may_write:
        return False
    if token.server_ids and (scope is None or scope in OF_THE_PROJECT):
        return False
    return not token.scopes or (scope is not None and scope in token.scopes)


def lacks_scope(scope: Scope | None) -> Refused:
    """The refusal of a change that the token may not make."""
    if scope is None:
        return Refused("forbidden", "This needs a token without scopes, for all servers.")
    return Refused("forbidden", f"This token may not do that: it needs the scope {scope}.")
