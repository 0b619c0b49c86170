"""Guests of somebody else on a simulated host, which become ours while they run."""

from __future__ import annotations

import json
from dataclasses import replace
from sqlite3 import Connection, Row
from uuid import UUID

from hosts.virt.errors import InvalidState
from hosts.virt.fake_base import host_call
from hosts.virt.fake_guest import ACTIVE, current_spec, find, need
from hosts.virt.fake_moves import MoveCalls, need_filters
from hosts.virt.fake_store import domain_from_json, domain_to_json, emit
from hosts.virt.spec import (
    DefinitionSeen,
    DiskFound,
    DiskSpec,
    DomainSpec,
    EventKind,
    NicFound,
    NicSpec,
)
from hosts.virt.xml import domain_xml


class AdoptCalls(MoveCalls):
    """The part of the contract about them."""

    @host_call
    def definitions(self) -> list[DefinitionSeen]:
        with self._transaction() as db:
            rows = db.execute("SELECT spec FROM domain ORDER BY name")
            return [_definition(domain_from_json(row["spec"])) for row in rows]

    @host_call
    def describe(self, uuid: UUID) -> str:
        with self._transaction() as db:
            row = need(db, uuid)
            return json.dumps({"spec": row["spec"], "autostart": row["autostart"]})

    @host_call
    def take_over(self, spec: DomainSpec) -> None:
        domain_xml(spec)
        with self._transaction() as db:
            row = need(db, spec.uuid)
            _refuse_another(row, spec)
            need_filters(db, spec)
            _become(db, row, spec, ours=True, autostart=False)

    @host_call
    def let_go(self, uuid: UUID, described: str) -> None:
        with self._transaction() as db:
            row = find(db, uuid)
            if row is None or not row["ours"]:
                return
            before = json.loads(described)
            spec = domain_from_json(before["spec"])
            _become(db, row, spec, ours=False, autostart=bool(before["autostart"]))


def _become(db: Connection, row: Row, spec: DomainSpec, *, ours: bool, autostart: bool) -> None:
    """Defined as `spec`; what runs gets its mark and the filters of its cards."""
    db.execute(
        "UPDATE domain SET spec = ?, ours = ?, autostart = ? WHERE uuid = ?",
        (domain_to_json(spec), ours, autostart, row["uuid"]),
    )
    if row["power"] in ACTIVE:
        live = replace(current_spec(row), metadata=spec.metadata, nics=spec.nics)
        db.execute(
            "UPDATE domain SET live_spec = ? WHERE uuid = ?", (domain_to_json(live), row["uuid"])
        )
    emit(db, EventKind.DEFINED, row["uuid"], "updated")


def _refuse_another(row: Row, spec: DomainSpec) -> None:
    live = current_spec(row)
    if row["name"] != spec.name:
        raise InvalidState(f"Domain {spec.uuid} is called {row['name']}, not {spec.name}")
    if _places(live) != _places(spec):
        raise InvalidState(f"Domain {spec.name} has other disks")
    if sorted(nic.mac for nic in live.nics) != sorted(nic.mac for nic in spec.nics):
        raise InvalidState(f"Domain {spec.name} has other network cards")


def _places(spec: DomainSpec) -> set[str]:
    return {f"{disk.pool}/{disk.volume}" for disk in spec.disks}


def _definition(spec: DomainSpec) -> DefinitionSeen:
    return DefinitionSeen(
        uuid=spec.uuid,
        name=spec.name,
        vcpus=spec.vcpus,
        memory_mib=spec.memory_mib,
        disks=tuple(_disk(disk) for disk in spec.disks),
        nics=tuple(_nic(nic) for nic in spec.nics),
    )


def _disk(disk: DiskSpec) -> DiskFound:
    return DiskFound(
        disk.target,
        f"{disk.pool}/{disk.volume}",
        disk.format,
        readonly=disk.readonly,
        boot_order=disk.boot_order,
    )


def _nic(nic: NicSpec) -> NicFound:
    kind = "network" if nic.network is not None else "bridge"
    return NicFound(nic.mac, kind, nic.network or nic.bridge or "", filter_name=nic.filter_name)
