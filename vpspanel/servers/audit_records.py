"""The invariants that the records alone can break."""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Sum
from django.db.models.expressions import Combinable, CombinedExpression
from django.db.models.functions import Coalesce, Lower

from hosts.models import CapacityClaim, Host, HostStatus, IPAddress, StoragePool
from hosts.services import free_addresses, release_capacity
from vpspanel.accounts.models import Account
from vpspanel.actions.models import OPEN_STATES, Action, ActionState, StepRecord
from vpspanel.servers.audit_findings import Finding, Level
from vpspanel.servers.audit_periods import check_periods
from vpspanel.servers.models import NO_SECRETS, Lifecycle, PrimaryIP, Server
from vpspanel.servers.seeds import with_served_rescue_secrets, with_served_secrets

OVERDUE = timedelta(seconds=60)  # due for so long, and nobody works on it
LATE = timedelta(seconds=120)  # past its deadline for so long, and it has not ended
SEED_OVERDUE = timedelta(hours=1)


def check_records(now: datetime) -> Iterator[Finding]:
    """Every finding in the database."""
    yield from check_owners()
    yield from check_host_counters()
    yield from check_pool_counters()
    yield from check_account_counters()
    yield from check_claims()
    yield from check_addresses()
    yield from check_lifecycles()
    yield from check_periods()
    yield from check_actions(now)
    yield from check_secrets(now)


def live_servers() -> QuerySet[Server]:
    """Those that are not deleted."""
    return Server.objects.exclude(lifecycle=Lifecycle.DELETED)


def is_buried(uuid: UUID) -> bool:
    """A server of that UUID existed, is deleted, and no action works on it."""
    server = Server.objects.filter(uuid=uuid, lifecycle=Lifecycle.DELETED).first()
    return server is not None and not is_busy(server.pk)


def is_busy(server_id: int) -> bool:
    """An action of the server, or of its seed, has not ended."""
    return Action.objects.filter(
        resource_type__in=("server", "seed"), resource_id=server_id, state__in=OPEN_STATES
    ).exists()


# --- one owner each -----------------------------------------------------------


def check_owners() -> Iterator[Finding]:
    """No address and no MAC belongs to two, however it is written."""
    macs = (
        live_servers()
        .annotate(lower=Lower("mac"))
        .values("lower")
        .annotate(count=Count("pk"))
        .filter(count__gt=1)
        .order_by("lower")
    )
    for row in macs:
        yield _error("mac_twice", row["lower"], f"{row['count']} servers have this MAC address")
    by_network: dict[str, list[str]] = defaultdict(list)
    owned = IPAddress.objects.filter(owner__isnull=False).order_by("pk")
    for address, owner in owned.values_list("address", "owner"):
        by_network[_normal(address)].append(str(owner))
    for address, owners in by_network.items():
        if len(owners) > 1:
            yield _error("address_twice", address, f"It is sold to {', '.join(owners)}")


def _normal(address: str) -> str:
    """One spelling: an IPv4 address, or the /64 that an IPv6 address or network lies in."""
    interface = ipaddress.ip_interface(address)
    if interface.version == 4:
        return str(interface.ip)
    return str(ipaddress.ip_network((int(interface.ip) >> 64 << 64, 64)))


# --- counters -------------------------------------------------------------------


def check_host_counters() -> Iterator[Finding]:
    """What a host has given away is the sum of the claims on it, and not more than its limit."""
    for host in _hosts_with_sums():
        subject = f"host {host.name}"
        sums = (host.vcpus_sum, host.memory_sum)  # type: ignore[attr-defined]
        if (host.vcpus_used, host.memory_used_mib) != sums:
            yield _error(
                "host_counter",
                subject,
                f"It counts {host.vcpus_used} vCPUs and {host.memory_used_mib} MiB, "
                f"its claims are {sums[0]} and {sums[1]}",
                "count again",
                partial(_recount_host, host.pk),
            )
        if sums[0] > host.vcpus_limit or sums[1] > host.memory_limit_mib:
            yield _error("host_oversold", subject, "Its claims are more than may be sold")


def _hosts_with_sums() -> QuerySet[Host]:
    return Host.objects.annotate(
        vcpus_sum=_sum_of_claims("host", "vcpus"), memory_sum=_sum_of_claims("host", "memory_mib")
    )


def _sum_of_claims(of: str, column: str) -> Coalesce:
    sums = (
        CapacityClaim.objects.filter(**{of: OuterRef("pk")})
        .order_by()
        .values(of)
        .annotate(total=Sum(column))
        .values("total")
    )
    return Coalesce(Subquery(sums), 0)


def _recount_host(pk: int) -> bool:
    return _recount(
        Host.objects.filter(pk=pk),
        vcpus_used=_sum_of_claims("host", "vcpus"),
        memory_used_mib=_sum_of_claims("host", "memory_mib"),
    )


def _recount(rows: QuerySet[Any], **sums: Combinable) -> bool:
    """Set counters to sums. Holds the row first: PostgreSQL would otherwise take the sum as it was
    before an order for which the update has waited, and the order's room would be free again.
    """
    with transaction.atomic():
        if rows.select_for_update().values_list("pk", flat=True).first() is None:
            return False
        return bool(rows.update(**sums))


def check_pool_counters() -> Iterator[Finding]:
    """The same for the gibibytes of each pool."""
    pools = StoragePool.objects.annotate(claimed=_sum_of_claims("pool", "disk_gib"))
    for pool in pools.select_related("host"):
        subject = f"pool {pool.host.name}/{pool.name}"
        if pool.used_gib != pool.claimed:
            yield _error(
                "pool_counter",
                subject,
                f"It counts {pool.used_gib} GiB, its claims are {pool.claimed}",
                "count again",
                partial(_recount_pool, pool.pk),
            )
        if pool.claimed > pool.limit_gib:
            yield _error("pool_oversold", subject, "Its claims are more than may be sold")


def _recount_pool(pk: int) -> bool:
    rows = StoragePool.objects.filter(pk=pk)
    return _recount(rows, used_gib=_sum_of_claims("pool", "disk_gib"))


def check_account_counters() -> Iterator[Finding]:
    """What an account counts is the number of its servers and of those below it."""
    for account in Account.objects.annotate(counted=_servers_of_account()):
        if account.servers_used != account.counted:
            yield _error(
                "account_counter",
                f"account {account.pk} ({account.name})",
                f"It counts {account.servers_used} servers and has {account.counted}",
                "count again",
                partial(_recount_account, account.pk),
            )


def _servers_of_account() -> CombinedExpression:
    here, below, far_below = (
        _servers_by(f"project__account{above}") for above in ("", "__parent", "__parent__parent")
    )
    return here + below + far_below


def _servers_by(account: str) -> Coalesce:
    counts = (
        live_servers()
        .filter(**{account: OuterRef("pk")})
        .order_by()
        .values(account)
        .annotate(total=Count("pk"))
        .values("total")
    )
    return Coalesce(Subquery(counts), 0)


def _recount_account(pk: int) -> bool:
    return _recount(Account.objects.filter(pk=pk), servers_used=_servers_of_account())


# --- what is held -----------------------------------------------------------------


def check_claims() -> Iterator[Finding]:
    """Every claim has a live server, and every live server its claim, of its size and place."""
    owners = live_servers().filter(uuid=OuterRef("owner"))
    moves = Action.objects.filter(command__in=("migrate", "restore"), state__in=OPEN_STATES)
    held = [args["held_by"] for args in moves.values_list("args", flat=True)]
    ownerless = CapacityClaim.objects.filter(~Exists(owners)).exclude(owner__in=held)
    for claim in ownerless.select_related("host"):
        yield _held_by_nobody(
            "claim_without_owner",
            f"claim {claim.pk} on {claim.host.name}",
            f"Room is held for {claim.owner}, which is no live server",
            claim.owner,
            partial(release_capacity, claim.owner),
        )
    claims = CapacityClaim.objects.filter(owner=OuterRef("uuid"))
    for server in live_servers().filter(~Exists(claims)):
        yield _error("server_without_claim", f"server {server.pk}", "No room is held for it")
    same = claims.filter(
        host=OuterRef("host"),
        vcpus=OuterRef("vcpus"),
        memory_mib=OuterRef("memory_mib"),
        disk_gib=OuterRef("disk_gib"),
        pool__name=OuterRef("pool"),
    )
    changing = Action.objects.filter(
        resource_type="server",
        resource_id=OuterRef("pk"),
        command="change_type",
        state__in=OPEN_STATES,
    )
    # While its plan changes, it holds the larger of both.
    for server in live_servers().filter(Exists(claims), ~Exists(same), ~Exists(changing)):
        yield _error(
            "claim_differs", f"server {server.pk}", "The room held for it is not what it has"
        )


def check_addresses() -> Iterator[Finding]:
    """Every address that is taken is a primary IP of the live server that took it, or of none."""
    owners = live_servers().filter(uuid=OuterRef("owner"))
    itself = PrimaryIP.objects.filter(
        uuid=OuterRef("owner"), address=OuterRef("pk"), server__isnull=True
    )
    taken = IPAddress.objects.filter(owner__isnull=False)
    for address in taken.filter(~Exists(owners), ~Exists(itself)):
        yield _held_by_nobody(
            "address_without_owner",
            f"address {address.address}",
            f"It is held by {address.owner}, which is no live server",
            address.owner,
            partial(_free, address.owner),
        )
    linked = PrimaryIP.objects.filter(address=OuterRef("pk"), server__uuid=OuterRef("owner"))
    for address in taken.filter(Exists(owners), ~Exists(linked)):
        yield _error(
            "address_unlinked",
            f"address {address.address}",
            f"{address.owner} holds it, but it is not among its primary IPs",
        )
    with_server = Q(server__isnull=False, address__owner=F("server__uuid"))
    alone = Q(server__isnull=True, address__owner=F("uuid"))
    for ip in PrimaryIP.objects.exclude(with_server | alone).select_related("address"):
        yield _error(
            "primary_ip_astray",
            f"primary IP {ip.pk} ({ip.address.address})",
            "Its server does not hold the address"
            if ip.server_id
            else "No server has it, and somebody holds the address",
        )


def _held_by_nobody(
    code: str, subject: str, message: str, owner: UUID | None, release: partial[bool]
) -> Finding:
    """Safe to give back only if the owner is a server that is known to be deleted."""
    if owner is None or not is_buried(owner):
        return Finding(Level.ERROR, code, subject, message, owner=owner)
    return Finding(
        Level.ERROR,
        code,
        subject,
        message,
        "give it back",
        partial(_if_buried, owner, release),
        owner,
    )


def _if_buried(owner: UUID, release: partial[bool]) -> bool:
    return is_buried(owner) and release()


def _free(owner: UUID | None) -> bool:
    return owner is not None and free_addresses(owner) > 0


# --- what goes on ------------------------------------------------------------------


def check_lifecycles() -> Iterator[Finding]:
    """Nothing is being created or deleted without an action that does it."""
    opened = Action.objects.filter(
        resource_type="server", resource_id=OuterRef("pk"), state__in=OPEN_STATES
    )
    between = Server.objects.filter(lifecycle__in=(Lifecycle.CREATING, Lifecycle.DELETING))
    for server in between.filter(~Exists(opened)):
        yield _error(
            "lifecycle_stuck",
            f"server {server.pk}",
            f"It is {server.lifecycle}, but no action is open",
        )


def check_actions(now: datetime) -> Iterator[Finding]:
    """Somebody works on every action that is due, each ends in time, no step is done twice."""
    at_work = Action.objects.filter(state__in=(ActionState.QUEUED, ActionState.RUNNING))
    abandoned = Q(lease_until__isnull=True, run_after__lt=now - OVERDUE) | Q(
        lease_until__lt=now - OVERDUE
    )
    for action in at_work.filter(abandoned):
        yield _error(
            "action_abandoned", f"action {action.pk} ({action.command})", "Nobody works on it"
        )
    for action in at_work.filter(deadline__lt=now - LATE).exclude(abandoned):
        yield _error(
            "action_late",
            f"action {action.pk} ({action.command})",
            f"It should have ended by {action.deadline}",
        )
    for action in Action.objects.filter(state=ActionState.PARKED):
        yield Finding(
            Level.INFO,
            "action_parked",
            f"action {action.pk} ({action.command})",
            f"It waits for staff: {action.detail}",
        )
    twice = StepRecord.objects.values("action", "name", "undo").annotate(count=Count("pk"))
    for row in twice.filter(count__gt=1).order_by("action"):
        yield _error("step_twice", f"action {row['action']}", f"{row['name']} is recorded twice")


def check_secrets(now: datetime) -> Iterator[Finding]:
    """No secret outlives its use."""
    overdue = with_served_secrets(now - SEED_OVERDUE)
    for server in overdue.exclude(host__status=HostStatus.UNREACHABLE):
        yield _error(
            "seed_secret_overdue", f"server {server.pk}", "Its seed still holds first-boot secrets"
        )
    overdue = with_served_rescue_secrets(now - SEED_OVERDUE)
    for server in overdue.exclude(host__status=HostStatus.UNREACHABLE):
        yield _error(
            "rescue_secret_overdue",
            f"server {server.pk}",
            "The seed of its rescue system still holds a password",
        )
    for server in Server.objects.filter(lifecycle=Lifecycle.DELETED).exclude(**NO_SECRETS):
        yield _error(
            "secret_of_deleted",
            f"server {server.pk}",
            "It is deleted, and its secrets are still kept",
            "forget them",
            partial(_forget, server.pk),
        )


def _forget(pk: int) -> bool:
    return bool(Server.objects.filter(pk=pk, lifecycle=Lifecycle.DELETED).update(**NO_SECRETS))


def _error(
    code: str, subject: str, message: str, remedy: str = "", repair: partial[bool] | None = None
) -> Finding:
    return Finding(Level.ERROR, code, subject, message, remedy, repair)
