"""What a server's facts mean: the word that people read, and which verb is allowed now. Pure."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from vpspanel.accounts.models import Role
from vpspanel.errors import Refused
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted


class Verb(enum.StrEnum):
    """What can be done to a server."""

    POWER_ON = "power_on"
    SHUTDOWN = "shutdown"
    POWER_OFF = "power_off"
    REBOOT = "reboot"
    RESET = "reset"
    REBUILD = "rebuild"
    CHANGE_TYPE = "change_type"
    CREATE_IMAGE = "create_image"
    ASSIGN_PRIMARY_IP = "assign_primary_ip"
    UNASSIGN_PRIMARY_IP = "unassign_primary_ip"
    ATTACH_ISO = "attach_iso"
    DETACH_ISO = "detach_iso"
    ENABLE_RESCUE = "enable_rescue"
    DISABLE_RESCUE = "disable_rescue"
    RENAME = "rename"
    RESET_PASSWORD = "reset_password"  # noqa: S105 - a verb
    CHANGE_PROTECTION = "change_protection"
    DELETE = "delete"
    CONSOLE = "console"


class Status(enum.Enum):
    """The shown word: (word, label, Tabler colour, icon, the hcloud word)."""

    INITIALIZING = ("initializing", "Being created", "blue", "loader-2", "initializing")
    STARTING = ("starting", "Starting", "blue", "player-play", "starting")
    RUNNING = ("running", "Running", "green", "player-play", "running")
    STOPPING = ("stopping", "Stopping", "blue", "player-stop", "stopping")
    RESTARTING = ("restarting", "Restarting", "blue", "refresh", "running")
    OFF = ("off", "Off", "secondary", "power", "off")
    PAUSED = ("paused", "Paused by its host", "yellow", "player-pause", "off")
    CRASHED = ("crashed", "Crashed", "red", "alert-triangle", "off")
    REBUILDING = ("rebuilding", "Rebuilding", "blue", "refresh", "rebuilding")
    RESIZING = ("resizing", "Changing its plan", "blue", "switch-horizontal", "off")
    MIGRATING = ("migrating", "Moving", "blue", "switch-horizontal", "migrating")
    DELETING = ("deleting", "Being deleted", "red", "trash", "deleting")
    DELETED = ("deleted", "Deleted", "secondary", "trash", "deleting")
    MISSING = ("missing", "Missing on its host", "red", "alert-triangle", "unknown")
    UNKNOWN = ("unknown", "Unknown", "yellow", "help-circle", "unknown")

    def __init__(self, word: str, label: str, color: str, icon: str, api: str):
        self.word = word
        self.label = label
        self.color = color
        self.icon = icon
        self.api = api

    def __str__(self) -> str:
        return self.word


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """Everything that decides what is shown and what is allowed."""

    lifecycle: str
    power_wanted: str
    power_seen: str
    suspended: bool = False
    host_reachable: bool = True
    open_command: str | None = None
    open_state: str | None = None
    protect_delete: bool = False
    protect_rebuild: bool = False
    rescue_enabled: bool = False
    in_rescue: bool = False
    has_iso: bool = False

    @property
    def has_no_iso(self) -> bool:
        """Nothing is in its CD-ROM."""
        return not self.has_iso

    @property
    def rescue_not_enabled(self) -> bool:
        """The next start boots its own system anyway."""
        return not self.rescue_enabled

    @property
    def may_run_rescue(self) -> bool:
        """The rescue system was started and is not known to have ended."""
        return self.in_rescue and self.power_seen not in (PowerSeen.OFF, PowerSeen.CRASHED)


_LIFECYCLE_STATUS = {
    Lifecycle.DELETED: Status.DELETED,
    Lifecycle.DELETING: Status.DELETING,
    Lifecycle.CREATING: Status.INITIALIZING,
}
_COMMAND_STATUS = {
    "power_on": Status.STARTING,
    "shutdown": Status.STOPPING,
    "power_off": Status.STOPPING,
    "suspend": Status.STOPPING,
    "reboot": Status.RESTARTING,
    "reset": Status.RESTARTING,
    "rebuild": Status.REBUILDING,
    "change_type": Status.RESIZING,
    "migrate": Status.MIGRATING,
    "evacuate": Status.MIGRATING,
    "restore": Status.MIGRATING,
}
_POWER_STATUS = {
    PowerSeen.RUNNING: Status.RUNNING,
    PowerSeen.OFF: Status.OFF,
    PowerSeen.PAUSED: Status.PAUSED,
    PowerSeen.CRASHED: Status.CRASHED,
    PowerSeen.MISSING: Status.MISSING,
    PowerSeen.UNKNOWN: Status.UNKNOWN,
}


def shown_status(facts: ServerFacts) -> Status:
    """The one word: the grave first, then what is being done, then what was seen."""
    by_lifecycle = _LIFECYCLE_STATUS.get(Lifecycle(facts.lifecycle))
    if by_lifecycle is not None:
        return by_lifecycle
    if facts.open_command in _COMMAND_STATUS and facts.open_state != "parked":
        return _COMMAND_STATUS[facts.open_command]
    if not facts.host_reachable:
        return Status.UNKNOWN
    return _POWER_STATUS[PowerSeen(facts.power_seen)]


def status_tables() -> tuple[
    Mapping[Lifecycle, Status], Mapping[str, Status], Mapping[PowerSeen, Status]
]:
    """What `shown_status` looks up, in its order: by lifecycle, by open command, by power."""
    return _LIFECYCLE_STATUS, _COMMAND_STATUS, _POWER_STATUS


@dataclass(frozen=True, slots=True)
class Rule:
    """When a verb is allowed.

    `refused_power` maps what was seen to the sentence that refuses it, with `power_code`;
    `refused_if` does so for facts that are yes or no.
    """

    role: Role
    lifecycles: frozenset[Lifecycle] = frozenset({Lifecycle.ACTIVE})
    refused_power: Mapping[PowerSeen, str] | None = None
    power_code: str = "conflict"
    refused_if: Mapping[str, str] = field(default_factory=dict)
    alone: bool = True  # not while an action is open
    protected_by: str | None = None
    while_suspended: bool = False


_IS_ON = {PowerSeen.RUNNING: "It is running already."}
_IS_OFF = {
    PowerSeen.OFF: "It is off.",
    PowerSeen.CRASHED: "It has crashed. Start it instead.",
    PowerSeen.MISSING: "It is missing on its host. Support has to look at it.",
}
_NOT_RUNNING = {
    **_IS_OFF,
    PowerSeen.PAUSED: "Its host has paused it, so it cannot answer. Power it off instead.",
}
_NOT_OFF = {
    PowerSeen.RUNNING: "It is running. Shut it down first.",
    PowerSeen.PAUSED: "Its host has paused it. Power it off first.",
    PowerSeen.UNKNOWN: "It is not known whether it is off. Please try again in a moment.",
    PowerSeen.MISSING: "It is missing on its host. Support has to look at it.",
}

_OF_ADDRESSES = Rule(
    Role.ADMIN,
    refused_power=_NOT_OFF,
    power_code="server_not_stopped",
    # The rescue system has a network configuration of its own, which is written already.
    refused_if={"rescue_enabled": "Its next start boots the rescue system. Disable that first."},
)

RULES: Mapping[Verb, Rule] = {
    Verb.POWER_ON: Rule(Role.OPERATOR, refused_power=_IS_ON),
    Verb.SHUTDOWN: Rule(Role.OPERATOR, refused_power=_NOT_RUNNING, power_code="server_not_running"),
    Verb.POWER_OFF: Rule(
        Role.OPERATOR, refused_power={PowerSeen.OFF: "It is off."}, while_suspended=True
    ),
    Verb.REBOOT: Rule(Role.OPERATOR, refused_power=_NOT_RUNNING, power_code="server_not_running"),
    Verb.RESET: Rule(Role.OPERATOR, refused_power=_IS_OFF, power_code="server_not_running"),
    Verb.REBUILD: Rule(
        Role.ADMIN,
        protected_by="protect_rebuild",
        refused_if={"has_iso": "It would boot from its ISO. Detach that first."},
    ),
    Verb.CHANGE_TYPE: Rule(Role.ADMIN, refused_power=_NOT_OFF, power_code="server_not_stopped"),
    Verb.CREATE_IMAGE: Rule(Role.ADMIN, refused_power=_NOT_OFF, power_code="server_not_stopped"),
    **dict.fromkeys((Verb.ASSIGN_PRIMARY_IP, Verb.UNASSIGN_PRIMARY_IP), _OF_ADDRESSES),
    Verb.ATTACH_ISO: Rule(Role.ADMIN),
    Verb.DETACH_ISO: Rule(Role.ADMIN, refused_if={"has_no_iso": "No ISO is attached."}),
    Verb.ENABLE_RESCUE: Rule(
        Role.ADMIN,
        refused_if={
            "rescue_enabled": "Its next start boots the rescue system already.",
            "may_run_rescue": "It runs the rescue system now. Restart or stop it first.",
        },
    ),
    Verb.DISABLE_RESCUE: Rule(
        Role.ADMIN,
        refused_if={"rescue_not_enabled": "The rescue system is not enabled."},
        while_suspended=True,
    ),
    Verb.RENAME: Rule(Role.ADMIN, alone=False),
    Verb.RESET_PASSWORD: Rule(Role.ADMIN),
    Verb.CHANGE_PROTECTION: Rule(Role.ADMIN, alone=False),
    Verb.DELETE: Rule(Role.ADMIN, protected_by="protect_delete", while_suspended=True),
    Verb.CONSOLE: Rule(
        Role.READER, lifecycles=frozenset({Lifecycle.CREATING, Lifecycle.ACTIVE}), alone=False
    ),
}

_WRONG_LIFECYCLE = {
    Lifecycle.CREATING: "It is still being created.",
    Lifecycle.DELETING: "It is being deleted.",
    Lifecycle.DELETED: "It has been deleted.",
    Lifecycle.ACTIVE: "It is in use.",
}


def why_not(verb: Verb, facts: ServerFacts) -> Refused | None:
    """The refusal of this verb now, or None if it is allowed. Roles are looked at elsewhere."""
    rule = RULES[verb]
    lifecycle = Lifecycle(facts.lifecycle)
    if lifecycle not in rule.lifecycles:
        code = "locked" if lifecycle is Lifecycle.CREATING else "conflict"
        return Refused(code, _WRONG_LIFECYCLE[lifecycle])
    if facts.suspended and not rule.while_suspended:
        return Refused("forbidden", "It is suspended. Please contact support.")
    if rule.protected_by is not None and getattr(facts, rule.protected_by):
        return Refused("protected", "It is protected. Remove the protection first.")
    if rule.alone and facts.open_command is not None:
        return Refused("locked", _busy(facts))
    for fact, sentence in rule.refused_if.items():
        if getattr(facts, fact):
            return Refused("conflict", sentence)
    return _why_not_with_its_power(rule, facts)


def _why_not_with_its_power(rule: Rule, facts: ServerFacts) -> Refused | None:
    if facts.host_reachable and rule.refused_power is not None:
        sentence = rule.refused_power.get(PowerSeen(facts.power_seen))
        if sentence is not None:
            return Refused(rule.power_code, sentence)
    return None


_IN_WORDS = {
    "scrub_seed": "the clean-up after its first boot",
    "scrub_rescue_seed": "the clean-up after its rescue",
    "migrate": "its move to another host",
    "evacuate": "its restart on another host",
    "restore": "its restart from a snapshot",
    "suspend": "its stop",
    "assign_primary_ip": "a change of its addresses",
    "unassign_primary_ip": "a change of its addresses",
}


def _busy(facts: ServerFacts) -> str:
    command = facts.open_command or ""
    doing = _IN_WORDS.get(command, command.replace("_", " "))
    if facts.open_state == "parked":
        return f"The last {doing} needs the attention of our staff."
    return f"Please wait: {doing} is not finished yet."


def allowed(facts: ServerFacts) -> dict[Verb, str]:
    """For every verb: "" if it is allowed now, else the sentence that says why not."""
    return {verb: refusal.message if (refusal := why_not(verb, facts)) else "" for verb in Verb}


def wanted_after(verb: Verb) -> PowerWanted | None:
    """What the customer wants once the verb is asked for; None if it says nothing about power."""
    if verb in (Verb.POWER_ON, Verb.REBOOT, Verb.RESET, Verb.REBUILD):
        return PowerWanted.ON
    if verb in (Verb.SHUTDOWN, Verb.POWER_OFF):
        return PowerWanted.OFF
    return None
