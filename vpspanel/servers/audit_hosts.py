"""The invariants between the records and what lies on the hosts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

from django.db.models import Q

from hosts.models import Image, StagedImage
from hosts.virt.driver import Driver
from hosts.virt.spec import DomainSeen, Power
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.servers.adoptable import facts_of
from vpspanel.servers.audit_definitions import wrong_definition
from vpspanel.servers.audit_findings import Finding, Level, Repair
from vpspanel.servers.audit_look import Look, Records, host_subject, uuid_in
from vpspanel.servers.audit_records import is_buried
from vpspanel.servers.models import Lifecycle, Server

BASE = "img-"
UPLOAD = ".upload-"
UPLOAD_TIME = timedelta(hours=1)  # what an upload may take


def check_host(look: Look, records: Records) -> Iterator[Finding]:
    """Every finding on one host."""
    for pool, why in look.unseen.items():
        yield Finding(Level.UNSEEN, "pool_unseen", host_subject(look.host, pool), why)
    for domain in look.domains:
        yield from check_domain(look, records, domain)
    for name in look.filters:
        yield from check_filter(look, records, name)
    for uuid in look.serial_logs:
        yield from check_serial_log(look, records, uuid)
    for pool, volumes in look.volumes.items():
        names = [volume.name for volume in volumes]
        for name in names:
            yield from check_volume(look, records, pool, name)
        yield from check_staged(look, pool, set(names))
    for server in records.servers.values():
        if server.host_id == look.host.pk and server.pk not in records.busy:
            yield from check_server(look, server)


def check_twice(looks: Sequence[Look], records: Records) -> Iterator[Finding]:
    """No guest of ours is defined on two hosts; while it moves, it runs on one of them only."""
    hosts: dict[UUID, list[str]] = {}
    for look in looks:
        for domain in look.domains:
            if domain.ours and (domain.power is Power.RUNNING or not records.is_busy(domain.uuid)):
                hosts.setdefault(domain.uuid, []).append(look.host.name)
    for uuid, names in hosts.items():
        if len(names) > 1:
            yield _error(
                "domain_twice", f"guest {uuid}", f"It is defined on {', '.join(names)}", uuid
            )


# --- guests ----------------------------------------------------------------------


def check_domain(look: Look, records: Records, domain: DomainSeen) -> Iterator[Finding]:
    """A guest is foreign, or belongs to a live server of this host, or is a leftover."""
    subject = f"guest {look.host.name}/{domain.name}"
    server = records.servers.get(domain.uuid)
    if not domain.ours:
        if not records.is_busy(domain.uuid):
            yield _foreign(look, subject, server, domain)
        return
    if domain.phantom:
        yield _error(
            "phantom", subject, "It is starting up for ever, without QEMU: restart libvirtd there"
        )
    if domain.autostart:
        yield _error("autostart", subject, "It would start with its host, asked or not")
    if server is None:
        yield _error("domain_unknown", subject, "It carries our mark, but no server is recorded")
    elif server.pk in records.busy:
        return
    elif server.lifecycle == Lifecycle.DELETED:
        yield _leftover_domain(look, domain, subject)
    elif server.host_id != look.host.pk:
        yield _error(
            "domain_elsewhere",
            subject,
            f"A stale copy ({domain.power}): server {server.pk} is recorded on another host",
            server.uuid,
        )
    else:
        expected = {f"{server.pool}/{name}" for name in server.volumes}
        if set(domain.disks) != expected and set(domain.disks) != _rescue_disks_of(server):
            wrong = ", ".join(sorted(set(domain.disks) ^ expected))
            message = f"Its disks are not those recorded: {wrong}"
            yield _error("domain_disks", subject, message, server.uuid)
        else:
            yield from _check_definition(look, server, subject)


def _check_definition(look: Look, server: Server, subject: str) -> Iterator[Finding]:
    """What its next start makes is what the records say."""
    definition = look.definitions.get(server.uuid)
    if definition is None or server.lifecycle != Lifecycle.ACTIVE:
        return
    wrong = wrong_definition(server, look.host, definition)
    if wrong:
        yield _error("domain_definition", subject, f"It is defined with {wrong}", server.uuid)


def _foreign(look: Look, subject: str, server: Server | None, domain: DomainSeen) -> Finding:
    if server is not None and server.lifecycle != Lifecycle.DELETED:
        return _error(
            "domain_foreign_in_place",
            subject,
            f"It has the UUID of server {server.pk}, but not our mark",
            server.uuid,
        )
    return Finding(
        Level.INFO,
        "domain_foreign",
        subject,
        f"Not ours ({domain.power}); left alone",
        facts=facts_of(look, domain),
    )


def _leftover_domain(look: Look, domain: DomainSeen, subject: str) -> Finding:
    message = f"Its server is deleted, but it is still there ({domain.power})"
    if domain.power != "off" or domain.phantom:
        return _error(
            "domain_leftover", subject, f"{message}; look before you stop it", domain.uuid
        )
    return _leftover(
        "domain_leftover",
        subject,
        message,
        "undefine it",
        domain.uuid,
        partial(look.driver.undefine, domain.uuid),
    )


def check_server(look: Look, server: Server) -> Iterator[Finding]:
    """A live server has its guest, its disk, its seed and its filter."""
    subject = f"server {server.pk} on {look.host.name}"
    if server.lifecycle != Lifecycle.ACTIVE:
        return  # being built or removed; without an action that is a finding of its own
    if not any(domain.uuid == server.uuid and domain.ours for domain in look.domains):
        yield _error("domain_missing", subject, "Its guest is not defined on its host", server.uuid)
    if server.filter_name not in look.filters:
        yield _error("filter_missing", subject, "Its network filter is gone", server.uuid)
    if server.pool in look.unseen:
        return
    present = {volume.name for volume in look.volumes.get(server.pool, [])}
    disk, *seeds = server.volumes
    if disk not in present:
        yield _error("disk_missing", subject, f"Its disk {disk} is gone", server.uuid)
    for seed in seeds:
        if seed not in present:
            yield _error("seed_missing", subject, f"Its seed {seed} is gone", server.uuid)


def _rescue_volumes_of(server: Server) -> tuple[str, ...]:
    """What it has besides, from enabling a rescue until its own system runs again."""
    return server.rescue_volumes if server.rescue_enabled or server.in_rescue else ()


def _rescue_disks_of(server: Server) -> set[str]:
    """With what it is defined when it is started with its rescue system."""
    rescue = _rescue_volumes_of(server)
    return (
        {f"{server.pool}/{name}" for name in (server.disk_volume(), *rescue)} if rescue else set()
    )


# --- filters and volumes -----------------------------------------------------------


def check_filter(look: Look, records: Records, name: str) -> Iterator[Finding]:
    """A filter belongs to a live server of this host."""
    uuid = uuid_in(name)
    subject = f"filter {look.host.name}/{name}"
    if uuid is None:
        yield Finding(Level.INFO, "filter_foreign", subject, "Not named after a server; left alone")
        return
    yield from _owned(
        look, records, uuid, "filter", subject, partial(look.driver.delete_filter, name)
    )


def check_serial_log(look: Look, records: Records, uuid: UUID) -> Iterator[Finding]:
    """What a serial port wrote belongs to a live server of this host, or goes with its guest."""
    if any(domain.uuid == uuid for domain in look.domains):
        return
    subject = f"serial log {look.host.name}/{uuid}"
    remove = partial(look.driver.delete_serial_log, uuid)
    yield from _owned(look, records, uuid, "serial_log", subject, remove)


def check_volume(look: Look, records: Records, pool: str, name: str) -> Iterator[Finding]:
    """A volume is foreign, a base image, an upload, or a disk or seed of a live server."""
    subject = f"volume {look.host.name}/{pool}/{name}"
    if name.startswith(UPLOAD):
        yield from _check_upload(look, pool, name, subject)
        return
    if name.startswith(BASE):
        yield from _check_base(pool, name, subject, look)
        return
    uuid = uuid_in(name)
    if uuid is None and records.is_adopted(look.host, pool, name):
        return
    if uuid is None:
        yield Finding(Level.INFO, "volume_foreign", subject, "Not ours; left alone")
        return
    server = records.settled(uuid)
    is_shared = server is not None and records.are_the_same(look.host, pool, server)
    is_live = server is not None and server.lifecycle != Lifecycle.DELETED
    if server is not None and is_live and (is_shared or server.host_id == look.host.pk):
        known = (*server.volumes, *_rescue_volumes_of(server))
        if not (is_shared or pool == server.pool) or name not in known:
            yield _error(
                "disk_extra",
                subject,
                f"Server {server.pk} does not use it; it may hold data, so it is left alone",
                uuid,
            )
        return
    yield from _owned(
        look,
        records,
        uuid,
        "disk",
        subject,
        partial(_delete_unused_volume, look.driver, pool, name),
    )


def _is_here(look: Look, server: Server) -> bool:
    return server.lifecycle != Lifecycle.DELETED and server.host_id == look.host.pk


def _owned(
    look: Look, records: Records, uuid: UUID, kind: str, subject: str, remove: Repair
) -> Iterator[Finding]:
    """Findings about something named after a server that should be live and here."""
    server = records.servers.get(uuid)
    if server is None:
        yield _error(f"{kind}_unknown", subject, "It is named as ours, but no server is recorded")
    elif server.pk in records.busy or _is_here(look, server):
        return
    elif server.lifecycle == Lifecycle.DELETED:
        yield _leftover(
            f"{kind}_leftover", subject, "Its server is deleted", "delete it", uuid, remove
        )
    else:
        yield _error(f"{kind}_elsewhere", subject, "Its server is on another host", uuid)


def _delete_unused_volume(driver: Driver, pool: str, name: str) -> bool:
    """Delete it, unless a guest (even a foreign one) is defined with it."""
    if any(f"{pool}/{name}" in domain.disks for domain in driver.domains()):
        return False
    return driver.delete_volume(pool, name)


def _check_base(pool: str, name: str, subject: str, look: Look) -> Iterator[Finding]:
    known = StagedImage.objects.filter(pool__host=look.host, pool__name=pool, volume=name).exists()
    if not known:
        yield Finding(
            Level.INFO, "image_unrecorded", subject, "A base image that is not recorded here"
        )
    elif not Image.objects.filter(sha256__startswith=name[len(BASE) :].partition(".")[0]).exists():
        yield Finding(Level.INFO, "image_unused", subject, "A base image that is no longer offered")


def check_staged(look: Look, pool: str, names: set[str]) -> Iterator[Finding]:
    """Every base image that is recorded lies there; a wrong record only costs a build a retry."""
    for staged in StagedImage.objects.filter(pool__host=look.host, pool__name=pool):
        if staged.volume not in names and staged.staged_at < look.began:
            yield Finding(
                Level.ERROR,
                "image_missing",
                f"volume {look.host.name}/{pool}/{staged.volume}",
                "It is recorded as staged and is not there",
                "forget the record, so that it is staged again",
                partial(_forget_staged, staged.pk),
            )


def _forget_staged(pk: int) -> bool:
    return StagedImage.objects.filter(pk=pk).delete()[0] > 0


def _check_upload(look: Look, pool: str, name: str, subject: str) -> Iterator[Finding]:
    """An upload in progress, if any action on this host could be at it; else what one left."""
    recent = Q(state__in=OPEN_STATES) | Q(finished__gte=look.began - UPLOAD_TIME)
    if Action.objects.filter(recent, group=str(look.host.pk)).exists():
        yield Finding(
            Level.INFO, "upload_recent", subject, "An upload in progress, or one cut short"
        )
        return
    yield Finding(
        Level.ERROR,
        "upload_leftover",
        subject,
        "An upload that was cut short",
        "delete it",
        partial(_delete_unused_volume, look.driver, pool, name),
    )


def _leftover(
    code: str, subject: str, message: str, remedy: str, owner: UUID, remove: Repair
) -> Finding:
    return Finding(
        Level.ERROR, code, subject, message, remedy, partial(_if_buried, owner, remove), owner
    )


def _if_buried(owner: UUID, remove: Repair) -> bool:
    return is_buried(owner) and remove()


def _error(code: str, subject: str, message: str, owner: UUID | None = None) -> Finding:
    return Finding(Level.ERROR, code, subject, message, owner=owner)
