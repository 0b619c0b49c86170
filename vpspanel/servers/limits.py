"""How much of everything a project may have, and has."""

from __future__ import annotations

from dataclasses import dataclass

from hosts.models import Image
from vpspanel.accounts.models import Account
from vpspanel.accounts.resellers import CUSTOMERS_PER_RESELLER
from vpspanel.accounts.scopes import lacks_scope
from vpspanel.accounts.services import KEYS_PER_PROJECT
from vpspanel.accounts.token_services import TOKENS_PER_PROJECT
from vpspanel.events.actor import Actor
from vpspanel.servers.access import get_project
from vpspanel.servers.addresses import kept_addresses
from vpspanel.servers.images import image_owner
from vpspanel.servers.snapshots import PER_PROJECT


@dataclass(frozen=True, slots=True)
class Limit:
    """One of them. `shared_by` is what counts together: project, account, or reseller with all."""

    name: str
    shared_by: str
    limit: int
    used: int


def limits_of_reseller(account: Account) -> list[Limit]:
    """Those of a reseller, for itself and its customers together."""
    customers = Account.objects.filter(parent=account, deleted_at=None).count()
    return [
        Limit("servers", "reseller", account.server_limit, account.servers_used),
        Limit("accounts", "reseller", CUSTOMERS_PER_RESELLER, customers),
        Limit("api_tokens", "reseller", TOKENS_PER_PROJECT, account.api_tokens.count()),
    ]


def limits_of(actor: Actor, project_id: int) -> list[Limit]:
    """Those of the project and of its account.

    Raises `NotFound` to strangers, and `Refused` to a token for some servers
    only: it does not know of the others, however many they are.
    """
    project = get_project(actor, project_id)
    if actor.token is not None and actor.token.server_ids:
        raise lacks_scope(None)
    addresses = kept_addresses(project.account_id).count()
    snapshots = Image.objects.filter(owner=image_owner(project_id)).count()
    return [
        Limit("servers", "account", project.account.server_limit, project.account.servers_used),
        Limit("primary_ips", "account", project.account.address_limit, addresses),
        Limit("snapshots", "project", PER_PROJECT, snapshots),
        Limit("ssh_keys", "project", KEYS_PER_PROJECT, project.ssh_keys.count()),
        Limit("api_tokens", "project", TOKENS_PER_PROJECT, project.api_tokens.count()),
    ]
