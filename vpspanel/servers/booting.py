"""Which system a start of the panel boots: its own, that of an ISO, or once the rescue system.

The definition decides, and it changes only between two starts. So where the
system changes, a restart is a stop and a start.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.utils import timezone

from hosts.virt.spec import DomainSeen, Power
from vpspanel.actions.command import Outcome
from vpspanel.events.services import record_event
from vpspanel.servers.site import Site


def changes_system(site: Site) -> bool:
    """Whether the next start boots another system than the last one."""
    server = site.server
    return server.rescue_enabled or server.in_rescue or server.iso_changed


def runs_wanted_system(site: Site, seen: DomainSeen) -> bool:
    """Whether it runs what the next start is to boot: somebody has started it already."""
    disks = site.blueprint().domain(rescue=site.server.rescue_enabled).disks
    wanted = {f"{disk.pool}/{disk.volume}" for disk in disks}
    return seen.power is Power.RUNNING and set(seen.disks) == wanted


def define_wanted(site: Site) -> None:
    """The guest is defined with the system that its next start boots."""
    site.driver.define(site.blueprint().domain(rescue=site.server.rescue_enabled))


def start_own(site: Site) -> Outcome:
    """The guest, which is defined with its own system, runs; nothing is left of a rescue."""
    booted = timezone.now()
    site.driver.start(site.server.uuid)
    return _own_started(site, booted)


def start_wanted(site: Site) -> Outcome:
    """The guest, which is defined as wanted, runs. A rescue system is wanted once."""
    if not site.server.rescue_enabled:
        return start_own(site)
    booted = timezone.now()
    site.driver.start(site.server.uuid)

    def commit() -> None:
        site.change(booted_at=booted, rescue_enabled=False, in_rescue=True, iso_changed=False)
        _say(site, "server.rescue_started", "The rescue system was started")

    return Outcome(commit=commit)


def delete_rescue_volumes(site: Site) -> None:
    """Neither disk nor seed of a rescue system is left."""
    for name in site.server.rescue_volumes:
        site.driver.delete_volume(site.server.pool, name)


def _own_started(site: Site, booted: datetime) -> Outcome:
    was_in_rescue = site.server.in_rescue
    changes: dict[str, Any] = {"booted_at": booted, "iso_changed": False}
    if was_in_rescue:
        if not site.server.rescue_enabled:
            delete_rescue_volumes(site)
            changes |= {"rescue_password_sealed": b"", "rescue_password_hash": ""}
        changes["in_rescue"] = False

    def commit() -> None:
        site.change(**changes)
        if was_in_rescue:
            _say(site, "server.rescue_left", "It runs its own system again")

    return Outcome(commit=commit)


def _say(site: Site, kind: str, message: str) -> None:
    record_event(
        kind,
        message,
        resource=("server", site.server.pk),
        project_id=site.server.project_id,
        action_id=site.action.pk,
    )
