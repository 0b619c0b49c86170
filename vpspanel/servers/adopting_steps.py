"""The steps that take a foreign guest over while it does what it does."""

from __future__ import annotations

from uuid import uuid4

from django.utils import timezone

from hosts.virt.errors import NotFound
from hosts.virt.spec import Power
from vpspanel.actions.command import Command, Context, Outcome, Step, registry
from vpspanel.actions.errors import Fail, Retry
from vpspanel.actions.models import Action
from vpspanel.sealing import seal, unseal
from vpspanel.servers import steps
from vpspanel.servers.adoptable import Guest, guest_of, obstacles, unfit
from vpspanel.servers.audit_look import Look, look_at
from vpspanel.servers.endings import bury
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted, Server
from vpspanel.servers.ordering import new_mac
from vpspanel.servers.site import Site, host_answers, site_of


def look(context: Context) -> Outcome:
    """The guest is still as it was when it was recorded; its definition is kept for the way back.

    Sealed, because a definition may hold the password of a screen.
    """
    site = site_of(context)
    with host_answers():
        guest = _guest_of(site)
        _need_the_same(site, guest)
        described = site.driver.describe(site.server.uuid)
    return Outcome(memory={"described": seal(described).decode()})


def _guest_of(site: Site) -> Guest:
    seen = look_at(site.host, timezone.now())
    if not isinstance(seen, Look):
        raise Retry("host_unreachable", "Its host does not answer.", detail=seen.message)
    for domain in seen.domains:
        if domain.uuid == site.server.uuid and not domain.ours:
            guest = guest_of(seen, domain)
            if guest is not None:
                return guest
    raise Fail("guest_missing", "The guest is not on its host any more.")


def _need_the_same(site: Site, guest: Guest) -> None:
    """Raises `Fail` unless it is what was recorded, and nothing stands in the way."""
    server = site.server
    pools = [pool.name for pool in site.host.pools.all()]
    found = obstacles(guest, site.host, pools) or [unfit(server.server_type, guest)]
    if any(found):
        raise Fail("not_adoptable", "It cannot be taken over as it is.", detail=" ".join(found))
    (card,), disk = guest.definition.nics, guest.disk
    place = f"{server.pool}/{server.disk_volume()}"
    if (
        disk is None
        or disk.place != place
        or card.mac != server.mac
        or guest.definition.name != server.domain_name
    ):
        raise Fail("guest_changed", "It has changed since it was looked at. Look again.")


def take_over(context: Context) -> Outcome:
    """It is ours, guarded, and defined as recorded from its next start on; it goes on."""
    site = site_of(context)
    with host_answers():
        site.driver.take_over(site.blueprint().domain())
    return Outcome()


def let_go(context: Context) -> None:
    """Undo of `take_over`: the guest is nobody's again, and as it was."""
    site = site_of(context)
    described = context.action.memory.get("described", "")
    if described:
        with host_answers():
            site.driver.let_go(site.server.uuid, unseal(described.encode()))


def observe(context: Context) -> Outcome:
    """The records say what it does, and keep nothing for the way back."""
    site, at = site_of(context), timezone.now()
    with host_answers():
        seen = site.driver.domain(site.server.uuid)
        if seen is None:
            raise NotFound(f"No domain {site.server.uuid}")
    is_on = seen.power is Power.RUNNING

    def commit() -> None:
        site.change(
            power_seen=PowerSeen(seen.power.value),
            power_wanted=PowerWanted.ON if is_on else PowerWanted.OFF,
            seen_at=at,
        )

    return Outcome(memory={"described": ""}, commit=commit)


def _activate(action: Action) -> None:
    Server.objects.filter(pk=action.resource_id, lifecycle=Lifecycle.CREATING).update(
        lifecycle=Lifecycle.ACTIVE
    )


def _not_adopted(action: Action) -> None:
    """UUID and MAC are the guest's, which may be taken over another time."""
    bury(action.resource_id, failed_reason=action.error_message or "It was cancelled.")
    Server.objects.filter(pk=action.resource_id).update(
        uuid=uuid4(), mac=new_mac(), adopted_name="", adopted_disk=""
    )


ADOPT = registry.add(
    Command(
        "adopt",
        title="Take over server",
        done="The server was taken over",
        failed="The server could not be taken over and is as it was",
        deadline=300,
        steps=(
            Step("look", "Looking at it once more", look),
            Step(
                "define_network_filter",
                "Preparing the guard of its addresses",
                steps.define_network_filter,
                steps.delete_network_filter,
            ),
            Step("take_over", "Marking, guarding and describing it", take_over, let_go),
            Step("observe", "Looking what it does", observe),
        ),
        on_success=_activate,
        on_error=_not_adopted,
    )
)
