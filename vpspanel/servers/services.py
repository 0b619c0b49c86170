"""What may be done to a server: one function per verb, for page, API, admin and command alike.

Each function looks the server up through the one door, asks the state table,
and writes intent, action and event in one short transaction. No host is
touched here. All raise `Refused`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from hosts.models import HostStatus, Image
from vpspanel.accounts.models import Role, SSHKey
from vpspanel.actions import services as actions
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.services import record_event
from vpspanel.labels import check_labels
from vpspanel.sealing import seal, unseal
from vpspanel.servers.access import get_action, get_server, includes, need_staff
from vpspanel.servers.images import check_image_is_usable
from vpspanel.servers.models import KEEPS_WISH, Lifecycle, PowerSeen, PowerWanted, Server
from vpspanel.servers.ordering import check_image_fits, check_name
from vpspanel.servers.passwords import crypt_hash, new_password
from vpspanel.servers.states import RULES, ServerFacts, Verb, wanted_after, why_not

_SAID = {
    Verb.POWER_ON: "Start requested",
    Verb.SHUTDOWN: "Shutdown requested",
    Verb.POWER_OFF: "Power off requested",
    Verb.REBOOT: "Reboot requested",
    Verb.RESET: "Reset requested",
    Verb.REBUILD: "Rebuild requested",
    Verb.CHANGE_TYPE: "Another plan requested",
    Verb.CREATE_IMAGE: "Snapshot requested",
    Verb.ASSIGN_PRIMARY_IP: "Another address requested",
    Verb.UNASSIGN_PRIMARY_IP: "One address less requested",
    Verb.ATTACH_ISO: "ISO requested",
    Verb.DETACH_ISO: "ISO no longer wanted",
    Verb.ENABLE_RESCUE: "Rescue system requested",
    Verb.DISABLE_RESCUE: "Rescue system no longer wanted",
    Verb.RESET_PASSWORD: "New root password requested",
    Verb.DELETE: "Deletion requested",
}
OF_STAFF = ("migrate", "evacuate", "restore", "suspend")  # commands that no customer cancels
# What a verb was checked against. It must still be so when the verb is accepted.
_CHECKED = (
    "lifecycle",
    "suspended_at",
    "protect_delete",
    "protect_rebuild",
    "disk_generation",
    "server_type",
    "disk_gib",
)


def facts_of(server: Server, open_action: Action | None) -> ServerFacts:
    """The facts that the state table reads; host and project's account should be loaded."""
    if open_action is not None and actions.gives_way(open_action):
        open_action = None
    return ServerFacts(
        lifecycle=server.lifecycle,
        power_wanted=server.power_wanted,
        power_seen=server.power_seen,
        suspended=server.is_suspended,
        host_reachable=server.host is None or server.host.status != HostStatus.UNREACHABLE,
        open_command=open_action.command if open_action else None,
        open_state=open_action.state if open_action else None,
        protect_delete=server.protect_delete,
        protect_rebuild=server.protect_rebuild,
        rescue_enabled=server.rescue_enabled,
        in_rescue=server.in_rescue,
        has_iso=server.iso_id is not None,
    )


def power_on(actor: Actor, server_id: int) -> Action:
    """Start it."""
    return _act(actor, server_id, Verb.POWER_ON)


def start_again(server_id: int, *, said: str) -> Action:
    """Start it, if it is still wanted on, and stays so if that fails; `said` is after what."""
    return act_on(
        SYSTEM,
        get_server(SYSTEM, server_id, Verb.POWER_ON),
        Verb.POWER_ON,
        args={KEEPS_WISH: True},
        said=said,
        as_seen={"power_wanted": PowerWanted.ON},
    )


def shutdown(actor: Actor, server_id: int) -> Action:
    """Ask its operating system to power off; fails clearly if that does not happen in time."""
    return _act(actor, server_id, Verb.SHUTDOWN)


def power_off(actor: Actor, server_id: int) -> Action:
    """Pull the plug."""
    return _act(actor, server_id, Verb.POWER_OFF)


def reboot(actor: Actor, server_id: int) -> Action:
    """Ask its operating system to reboot."""
    return _act(actor, server_id, Verb.REBOOT)


def reset(actor: Actor, server_id: int) -> Action:
    """Press the reset button."""
    return _act(actor, server_id, Verb.RESET)


def rebuild(
    actor: Actor, server_id: int, *, image: Image, ssh_keys: Sequence[SSHKey] | None = None
) -> Action:
    """Replace its disk by a fresh one from `image`; keeps id, name and addresses.

    Without `ssh_keys` those that it has are kept. If it then has none, a new
    root password is made. If the rebuild fails, the old disk is back in use.
    """
    server = get_server(actor, server_id, Verb.REBUILD)
    check_image_is_usable(image, server.project_id)
    check_image_fits(image, server.disk_gib, server.memory_mib)
    if any(key.project_id != server.project_id for key in ssh_keys or ()):
        raise Refused("invalid_input", "Unknown SSH key.", field="ssh_keys")
    keys = server.authorized_keys
    if ssh_keys is not None:
        keys = [f"{key.public_key} {key.name}" for key in ssh_keys]
    changes = {} if keys else _new_root_password()
    args = {
        "image": image.pk,
        "generation": next_generation(server),
        "authorized_keys": keys,
        "was_running": server.power_seen == PowerSeen.RUNNING,
        "has_booted": server.seed_secret_since is None,
    }
    said = f" with {image.description}"
    return act_on(actor, server, Verb.REBUILD, args=args, said=said, **changes)


def next_generation(server: Server) -> int:
    """A number that no disk of it has had, not even one that was undone.

    The deletion of such a disk may still be on its way, from a worker that was stopped.
    """
    made = Action.objects.filter(
        resource_type="server", resource_id=server.pk, command__in=(Verb.REBUILD, "restore")
    )
    return max(server.disk_generation, 1 + made.count()) + 1


def reset_password(actor: Actor, server_id: int) -> Action:
    """Give root a new password, at once through the guest agent, else at the next boot.

    The password can be revealed once, when the action has ended.
    """
    return _act(actor, server_id, Verb.RESET_PASSWORD, **_new_root_password())


def delete(actor: Actor, server_id: int) -> Action:
    """Destroy it and its disk; its addresses go back."""
    return _act(actor, server_id, Verb.DELETE, lifecycle=Lifecycle.DELETING)


def rename(actor: Actor, server_id: int, *, name: str) -> Server:
    """Give it another name in the panel; the guest keeps its own host name until a rebuild."""
    server = get_server(actor, server_id, Verb.RENAME)
    new = check_name(name)
    _check_state(Verb.RENAME, server)
    if new == server.name:
        return server
    try:
        with transaction.atomic():
            Server.objects.filter(pk=server.pk).update(name=new)
            _say(actor, server, "server.renamed", f"Renamed from {server.name} to {new}")
    except IntegrityError:
        raise Refused(
            "uniqueness_error", f"The project already has a server called {new}.", field="name"
        ) from None
    server.name = new
    return server


def change_labels(actor: Actor, server_id: int, *, labels: Mapping[str, str]) -> Server:
    """Give it these labels instead of those that it has."""
    server = get_server(actor, server_id, Verb.RENAME)
    new = check_labels(labels)
    _check_state(Verb.RENAME, server)
    if new != server.labels:
        with transaction.atomic():
            Server.objects.filter(pk=server.pk).update(labels=new)
            _say(actor, server, "server.labelled", "Labels changed")
        server.labels = new
    return server


def change_protection(actor: Actor, server_id: int, *, delete: bool, rebuild: bool) -> Server:
    """Protect it from being deleted and rebuilt, or no longer. Both must be equal, as in hcloud."""
    server = get_server(actor, server_id, Verb.CHANGE_PROTECTION)
    if delete != rebuild:
        raise Refused(
            "invalid_input", "Delete and rebuild protection must be equal.", field="rebuild"
        )
    _check_state(Verb.CHANGE_PROTECTION, server)
    with transaction.atomic():
        Server.objects.filter(pk=server.pk).update(protect_delete=delete, protect_rebuild=rebuild)
        said = "Protection switched on" if delete else "Protection switched off"
        _say(actor, server, "server.protection", said)
    server.protect_delete = server.protect_rebuild = delete
    return server


def reveal_root_password(actor: Actor, server_id: int) -> str | None:
    """The root password that was made last, once: afterwards nobody can read it.

    None if there is none left to show.
    """
    server = get_server(actor, server_id, Verb.RESET_PASSWORD)
    if server.next_password_sealed:
        raise Refused("locked", "The new password is being set. Please wait a moment.")
    sealed = bytes(server.root_password_sealed)
    if not sealed:
        return None
    with transaction.atomic():
        taken = Server.objects.filter(pk=server.pk, root_password_sealed=sealed).update(
            root_password_sealed=b""
        )
        if not taken:
            return None
        _say(actor, server, "server.password_revealed", "The root password was shown")
    return unseal(sealed)


def password_set_by(actor: Actor, action: Action) -> str | None:
    """The root password that an action is about to set, for the program that asked for it.

    None if it sets none. Only who may reset the password gets it; that it was given is recorded.
    """
    server = get_server(actor, action.resource_id, Verb.RESET_PASSWORD)
    sealed = bytes(server.next_password_sealed)
    if not action.is_open or not sealed:
        return None
    _say(actor, server, "server.password_revealed", "The root password was shown")
    return unseal(sealed)


def cancel_action(actor: Actor, action_id: int) -> Action:
    """Cancel an action that has not begun."""
    action = get_action(actor, action_id)
    if action.command in OF_STAFF:
        need_staff(actor)
    if action.resource_type == "server":
        get_server(actor, action.resource_id, _verb_of(action))
    actions.cancel(action, actor=actor)
    return action


def cancel_open_action(actor: Actor, server_id: int) -> Action:
    """Cancel what waits to be done to it. Raises `Refused("conflict")` if nothing does any more."""
    server = get_server(actor, server_id, Verb.POWER_ON)  # a reader cancels nothing
    action = actions.open_action("server", server.pk)
    if action is None:
        raise Refused("conflict", "Nothing waits to be done: it has ended already.")
    return cancel_action(actor, action.pk)


def may_cancel(role: Role | None, action: Action) -> bool:
    """Whether that role may cancel the action, which has not begun."""
    waits = action.state == ActionState.QUEUED and action.attempt == 0
    if action.command in OF_STAFF:
        return False
    return waits and role is not None and includes(role, RULES[_verb_of(action)].role)


def _verb_of(action: Action) -> Verb:
    return Verb(action.command) if action.command in set(Verb) else Verb.DELETE


def _act(actor: Actor, server_id: int, verb: Verb, **changes: Any) -> Action:
    return act_on(actor, get_server(actor, server_id, verb), verb, **changes)


def act_on(
    actor: Actor,
    server: Server,
    verb: Verb,
    *,
    args: dict[str, Any] | None = None,
    said: str = "",
    also: Callable[[], None] | None = None,
    as_seen: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Action:
    """Check the state, then write intent, action and event in one transaction.

    The server's row is changed only if it still is as it was checked; the
    database itself refuses a second open action. What the verb takes besides,
    `also` takes in the same transaction. `as_seen` are columns that must not have changed either.
    """
    _check_state(verb, server)
    wanted = wanted_after(verb)
    if wanted is not None:
        changes["power_wanted"] = wanted
    changes.setdefault("lifecycle", server.lifecycle)  # an update of nothing would find no row
    as_checked = {name: getattr(server, name) for name in _CHECKED} | dict(as_seen or {})
    with transaction.atomic():
        action = actions.submit(
            verb.value,
            resource=("server", server.pk),
            actor=actor,
            args=args,
            project_id=server.project_id,
            **on_host_of(server),
        )
        if not Server.objects.filter(pk=server.pk, **as_checked).update(**changes):
            raise Refused("conflict", "The server changed at the same moment. Please try again.")
        if also is not None:
            also()
        _say(actor, server, f"server.{verb}", _SAID[verb] + said, action_id=action.pk)
    return action


def on_host_of(server: Server) -> dict[str, Any]:
    """For `submit`: its host takes so many actions at once."""
    limit = server.host.action_limit if server.host else 1
    return {"group": str(server.host_id or ""), "group_limit": limit}


def _check_state(verb: Verb, server: Server) -> None:
    refusal = why_not(verb, facts_of(server, actions.open_action("server", server.pk)))
    if refusal is not None:
        raise refusal


def _new_root_password() -> dict[str, Any]:
    """The columns that a fresh root password changes until it is set."""
    password = new_password()
    return {"next_password_sealed": seal(password), "next_password_hash": crypt_hash(password)}


def _say(
    actor: Actor, server: Server, kind: str, message: str, *, action_id: int | None = None
) -> None:
    record_event(
        kind,
        message,
        resource=("server", server.pk),
        project_id=server.project_id,
        action_id=action_id,
        actor=actor,
    )


def scrub_seed(server: Server) -> Action:
    """Housekeeping: take the secrets out of its seed, now that it has booted.

    Raises `Refused` while something else is done to it, or if it is gone meanwhile.
    """
    return _scrub(server, "scrub_seed", seed_secret_since=server.seed_secret_since)


def scrub_rescue_seed(server: Server) -> Action:
    """Housekeeping: the same for the seed of its rescue system."""
    return _scrub(server, "scrub_rescue_seed", rescue_password_hash=server.rescue_password_hash)


def _scrub(server: Server, command: str, **as_seen: Any) -> Action:
    with transaction.atomic():
        action = actions.submit(
            command,
            resource=("server", server.pk),
            actor=SYSTEM,
            project_id=server.project_id,
            **on_host_of(server),
        )
        # Only now, with its one open action held, does nobody delete it or write new secrets.
        if not Server.objects.filter(pk=server.pk, lifecycle=Lifecycle.ACTIVE, **as_seen).exists():
            raise Refused("conflict", "The server has changed meanwhile.")
    return action
