"""The steps of giving an address to a server that is off, and of taking one from it.

A guest that is off uses no address, and each start writes its filter anew. So
nothing is at risk between these steps; they make its host and its seed agree
with the records.
"""

from __future__ import annotations

from dataclasses import replace

from hosts.services import free_address
from vpspanel.actions.command import Command, Context, Outcome, Step, registry
from vpspanel.actions.models import Action
from vpspanel.events.services import record_event
from vpspanel.servers.blueprint import Blueprint, Secrets
from vpspanel.servers.models import Leaving, PrimaryIP, Server
from vpspanel.servers.public_net import take_from_server
from vpspanel.servers.site import Site, host_answers, need_off, site_of
from vpspanel.servers.steps import write_seed_files

ASSIGN = "assign_primary_ip"
UNASSIGN = "unassign_primary_ip"


def guard_addresses(context: Context) -> Outcome:
    """The filter pins the guest, which is off, to the addresses that it is to have."""
    _need_off(context)
    _guard(context, has_it=context.action.command == ASSIGN)
    return Outcome()


def guard_as_before(context: Context) -> None:
    """Undo of `guard_addresses`."""
    _guard(context, has_it=context.action.command == UNASSIGN)


def write_addresses(context: Context) -> Outcome:
    """The seed has the network configuration that the next boot applies."""
    _need_off(context)
    _write(context, has_it=context.action.command == ASSIGN)
    return Outcome()


def write_as_before(context: Context) -> None:
    """Undo of `write_addresses`."""
    _write(context, has_it=context.action.command == UNASSIGN)


def _guard(context: Context, *, has_it: bool) -> None:
    site = site_of(context)
    with host_answers():
        site.driver.ensure_filter(_blueprint(site, has_it=has_it).filter())


def _write(context: Context, *, has_it: bool) -> None:
    """With the secrets that the seed still holds, and a password that waits for the next boot."""
    site = site_of(context)
    secrets, boot_hash = _secrets_in_seed(site)
    files = _blueprint(site, has_it=has_it).seed_files(secrets, boot_hash=boot_hash)
    write_seed_files(site, files)


def _blueprint(site: Site, *, has_it: bool) -> Blueprint:
    """With all its addresses, or with all but the one in question."""
    whole = site.blueprint()
    if has_it:
        return whole
    ip = PrimaryIP.objects.filter(pk=site.action.args["primary_ip"]).first()
    gone = None if ip is None else ip.address_id
    return replace(whole, addresses=tuple(one for one in whole.addresses if one.pk != gone))


def _secrets_in_seed(site: Site) -> tuple[Secrets, str]:
    """What the seed holds at the moment: secrets of a first boot, and a hash for the next one."""
    server = site.server
    since = server.seed_secret_since
    if since is None:
        return Secrets(), ""
    # A password that was set without a guest agent waits for a boot of its own system.
    waits = server.booted_at is not None and (server.in_rescue or server.booted_at < since)
    return site.first_boot_secrets(), server.root_password_hash if waits else ""


def _need_off(context: Context) -> None:
    with host_answers():
        need_off(site_of(context))


def _lose(action: Action) -> None:
    """The host has let go of it: the records say so too."""
    server = Server.objects.get(pk=action.resource_id)
    ip = PrimaryIP.objects.filter(pk=action.args["primary_ip"], server=server).first()
    if ip is None:
        return
    if ip.leaving != Leaving.FOR_GOOD:
        take_from_server(ip, server)
        return
    PrimaryIP.objects.filter(pk=ip.pk).delete()
    free_address(ip.address_id, server.uuid)
    record_event(
        "primary_ip.deleted",
        f"Address {ip} was deleted",
        resource=("primary_ip", ip.pk),
        project_id=ip.project_id,
        action_id=action.pk,
    )


def _keep(action: Action) -> None:
    """It did not lose it after all."""
    PrimaryIP.objects.filter(pk=action.args["primary_ip"]).update(leaving=Leaving.NOT)


def _never_had(action: Action) -> None:
    """It did not get it: the address is the project's, as before."""
    server = Server.objects.get(pk=action.resource_id)
    for ip in PrimaryIP.objects.filter(pk=action.args["primary_ip"]):
        take_from_server(ip, server)


STEPS = (
    Step(
        "define_network_filter",
        "Guarding its addresses",
        guard_addresses,
        guard_as_before,
    ),
    Step(
        "write_seed",
        "Writing its network configuration",
        write_addresses,
        write_as_before,
    ),
)

registry.add(
    Command(
        ASSIGN,
        title="Add address",
        done="The address was added; the next start configures it",
        failed="The address could not be added",
        deadline=60,
        steps=STEPS,
        on_error=_never_had,
    )
)

registry.add(
    Command(
        UNASSIGN,
        title="Remove address",
        done="The address was removed",
        failed="The address could not be removed",
        deadline=60,
        steps=STEPS,
        on_success=_lose,
        on_error=_keep,
    )
)
