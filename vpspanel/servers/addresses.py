"""A project's public addresses: bought without a server, given to one, taken from it, given back.

An address that no server has is held in its own name. A server must be off to
get or lose one: its filter and its network configuration are written anew, and
the records say that it has lost one only when its host has done so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet

from hosts.errors import NoAddress
from hosts.models import Family, Location
from hosts.services import free_address, take_address
from vpspanel.accounts.models import Account, Project, Role
from vpspanel.accounts.scopes import Scope
from vpspanel.actions.models import Action
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import Actor
from vpspanel.events.services import record_event
from vpspanel.labels import check_labels
from vpspanel.servers.access import get_project, get_server, visible_primary_ips
from vpspanel.servers.models import Leaving, PrimaryIP, Server
from vpspanel.servers.public_net import check_place, give_to_server
from vpspanel.servers.services import act_on
from vpspanel.servers.states import Verb

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Bought:
    """What buying an address answers; an action only if a server is to have it."""

    ip: PrimaryIP
    action: Action | None


def get_primary_ip(
    actor: Actor, ip_id: int, role: Role = Role.READER, scope: Scope | None = None
) -> PrimaryIP:
    """The address. Raises `NotFound` to strangers, `Refused("forbidden")` to a smaller role.

    `scope` is what a limited token needs for the change that the role is asked for.
    """
    addresses = visible_primary_ips(actor).select_related(
        "address__pool__location", "server", "project__account"
    )
    ip = addresses.filter(pk=ip_id).first()
    if ip is None:
        raise NotFound("primary IP")
    if role is not Role.READER:
        get_project(actor, ip.project_id, role, scope)
    return ip


def kept_addresses(account_id: int) -> QuerySet[PrimaryIP]:
    """Those that do not simply come and go with a server: the account may have so many."""
    stays = Q(server__isnull=True) | Q(auto_delete=False) | Q(protect_delete=True)
    return PrimaryIP.objects.filter(stays | ~Q(leaving=Leaving.NOT), project__account_id=account_id)


def buy_primary_ip(
    actor: Actor,
    *,
    project: Project,
    name: str,
    family: Family,
    location: Location | None = None,
    server_id: int | None = None,
    auto_delete: bool = False,
    labels: Any = None,
) -> Bought:
    """A fresh address of the location, or of the place of the server that is to have it."""
    project = get_project(actor, project.pk, Role.ADMIN)
    server = None if server_id is None else get_server(actor, server_id, Verb.ASSIGN_PRIMARY_IP)
    if server is not None:
        if server.project_id != project.pk:
            raise NotFound("server")
        if location is not None and location.pk != server.location_id:
            sentence = f"The server is in {server.location.name}."
            raise Refused("invalid_input", sentence, field="location")
        location = server.location
    if location is None:
        raise Refused("invalid_input", "Say where, or which server gets it.", field="location")
    ip = PrimaryIP(
        project=project,
        name=_clean_name(name),
        auto_delete=auto_delete,
        labels=check_labels(labels or {}),
    )
    buy = partial(_buy, actor, ip, location, family)
    if server is None:
        with transaction.atomic():
            buy()
        return Bought(ip, None)
    verb, said = Verb.ASSIGN_PRIMARY_IP, f": a new {family.label} address"
    with transaction.atomic():
        action = act_on(actor, server, verb, said=said, also=partial(_buy_for, server, ip, buy))
        # Which address it is about is known only now.
        action.args = {"primary_ip": ip.pk}
        action.save(update_fields=["args"])
    return Bought(ip, action)


def _buy(actor: Actor, ip: PrimaryIP, location: Location, family: Family) -> None:
    _take_turn(ip.project.account)
    _take(ip, location, family)
    _need_room(ip.project.account)
    _say(actor, ip, "created", "was added")


def _buy_for(server: Server, ip: PrimaryIP, buy: Callable[[], None]) -> None:
    buy()
    _give(ip, server)


def change_primary_ip(actor: Actor, ip_id: int, **changes: Any) -> PrimaryIP:
    """Another `name`, other `labels`, or whether it goes with its server (`auto_delete`)."""
    ip = get_primary_ip(actor, ip_id, Role.ADMIN)
    if "name" in changes and changes["name"] != ip.name:
        changes["name"] = _clean_name(changes["name"])
    if "labels" in changes:
        changes["labels"] = check_labels(changes["labels"])
    return _change(actor, ip, changes, "changed", "was changed") if changes else ip


def protect_primary_ip(actor: Actor, ip_id: int, *, delete: bool) -> PrimaryIP:
    """Protect it from being deleted, also with its server, or no longer."""
    ip = get_primary_ip(actor, ip_id, Role.ADMIN)
    said = "is protected" if delete else "is no longer protected"
    return _change(actor, ip, {"protect_delete": delete}, "protection", said)


def assign_primary_ip(actor: Actor, ip_id: int, server_id: int) -> Action:
    """Give it to a server that is off and has none of its family."""
    ip = get_primary_ip(actor, ip_id, Role.ADMIN, Scope.CHANGE)
    server = get_server(actor, server_id, Verb.ASSIGN_PRIMARY_IP)
    if server.project_id != ip.project_id:
        raise NotFound("server")
    if ip.server_id is not None:
        sentence = "It belongs to a server already. Take it from that one first."
        raise Refused("primary_ip_already_assigned", sentence)
    check_place(ip, server.location, "invalid_input", "assignee_id")
    return act_on(
        actor,
        server,
        Verb.ASSIGN_PRIMARY_IP,
        args={"primary_ip": ip.pk},
        said=f": {ip}",
        also=partial(_give, ip, server),
    )


def unassign_primary_ip(actor: Actor, ip_id: int) -> Action:
    """Take it from its server, which must be off, and keep it."""
    ip = get_primary_ip(actor, ip_id, Role.ADMIN, Scope.CHANGE)
    if ip.server_id is None:
        raise Refused("conflict", "No server has it.")
    return _unassign(actor, ip, ip.server_id, Leaving.KEPT)


def delete_primary_ip(actor: Actor, ip_id: int) -> None:
    """Give it back; after a while somebody else may get it. Its server must be off.

    If one has it, it is no longer shown from now on, and is given back when the
    server's host has confirmed that it is no longer used.
    """
    ip = get_primary_ip(actor, ip_id, Role.ADMIN)
    if ip.protect_delete:
        raise Refused("protected", "It is protected. Remove the protection first.")
    if ip.server_id is not None:
        _unassign(actor, ip, ip.server_id, Leaving.FOR_GOOD)
        return
    with transaction.atomic():
        free = PrimaryIP.objects.filter(pk=ip.pk, server__isnull=True, protect_delete=False)
        if not free.update(leaving=Leaving.FOR_GOOD):
            raise Refused("conflict", "It changed at the same moment. Please try again.")
        _say(actor, ip, "deleted", "was deleted")
        PrimaryIP.objects.filter(pk=ip.pk).delete()
        free_address(ip.address_id, ip.uuid)


def _give(ip: PrimaryIP, server: Server) -> None:
    """Only now, with its one open action held, does nobody else give it one."""
    family = Family(ip.address.family)
    if PrimaryIP.objects.filter(server=server, address__family=family).exists():
        raise Refused(f"server_has_ipv{family}", f"The server has an {family.label} address.")
    give_to_server(ip, server)


def _unassign(actor: Actor, ip: PrimaryIP, server_id: int, leaving: Leaving) -> Action:
    server = get_server(actor, server_id, Verb.UNASSIGN_PRIMARY_IP)
    return act_on(
        actor,
        server,
        Verb.UNASSIGN_PRIMARY_IP,
        args={"primary_ip": ip.pk},
        said=f": {ip}",
        also=partial(_let_leave, ip, server, leaving),
    )


def _let_leave(ip: PrimaryIP, server: Server, leaving: Leaving) -> None:
    mine = PrimaryIP.objects.filter(pk=ip.pk, server=server, leaving=Leaving.NOT)
    if leaving is Leaving.FOR_GOOD:
        mine = mine.filter(protect_delete=False)
    else:
        _take_turn(ip.project.account)
    if not mine.update(leaving=leaving):
        raise Refused("conflict", "It changed at the same moment. Please try again.")
    if leaving is Leaving.KEPT:
        _need_room(ip.project.account)


def _take(ip: PrimaryIP, location: Location, family: Family) -> None:
    try:
        ip.address = take_address(ip.uuid, location=location, family=family)
    except NoAddress:
        sentence = f"{location.city or location.name} has no free {family.label} address."
        raise Refused("resource_unavailable", sentence, field="location") from None
    try:
        with transaction.atomic():
            ip.save()
    except IntegrityError:
        raise _name_taken(ip.name) from None


def _take_turn(account: Account) -> None:
    """Those of one account who count at the same time wait for each other.

    Raises `Refused` while it is suspended.
    """
    if not Account.objects.filter(pk=account.pk, suspended_at__isnull=True).update(name=F("name")):
        raise Refused("forbidden", "The account is suspended. Please contact support.")


def _need_room(account: Account) -> None:
    """Raises `Refused` if the account has more than it may have, now that its turn is taken."""
    limit = Account.objects.values_list("address_limit", flat=True).get(pk=account.pk)
    if kept_addresses(account.pk).count() > limit:
        raise Refused(
            "resource_limit_exceeded",
            f"This account may keep {limit} addresses besides those that come and go with its "
            "servers. Delete one, or ask support for a higher limit.",
            field="primary_ips",
        )


def _change(
    actor: Actor, ip: PrimaryIP, changes: dict[str, Any], kind: str, said: str
) -> PrimaryIP:
    """Only if more are kept than before is the limit looked at: others may always be changed."""
    keeps = changes.get("auto_delete") is False or changes.get("protect_delete") is True
    account = ip.project.account
    try:
        with transaction.atomic():
            if keeps:
                _take_turn(account)
                before = kept_addresses(account.pk).count()
            if not PrimaryIP.objects.filter(pk=ip.pk).update(**changes):
                raise NotFound("primary IP")
            if keeps and kept_addresses(account.pk).count() > before:
                _need_room(account)
            _say(actor, ip, kind, said)
    except IntegrityError:
        raise _name_taken(changes["name"]) from None
    return get_primary_ip(actor, ip.pk)


def _clean_name(name: str) -> str:
    clean = name.strip()
    if not _NAME.fullmatch(clean):
        raise Refused(
            "invalid_input",
            "The name of an address has 1 to 63 letters, digits, dots, hyphens and underscores, "
            "and begins and ends with a letter or digit.",
            field="name",
        )
    return clean


def _name_taken(name: str) -> Refused:
    sentence = f"The project already has an address called {name}."
    return Refused("uniqueness_error", sentence, field="name")


def _say(actor: Actor, ip: PrimaryIP, kind: str, said: str) -> None:
    record_event(
        f"primary_ip.{kind}",
        f"Address {ip} {said}",
        resource=("primary_ip", ip.pk),
        project_id=ip.project_id,
        actor=actor,
    )
