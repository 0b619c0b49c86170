"""`manage.py host_check NAME`: ask a host what it is, and compare with what is known."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.enrol import probe_host
from hosts.errors import EnrolError
from hosts.models import Host
from hosts.virt.spec import HostSeen

GIB = 1024**3


class Command(BaseCommand):
    """Asks only; writes nothing, neither here nor on the host."""

    help = "Probe a host: CPU, memory, storage, networks, KVM or emulation and why."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="a host's name, or a libvirt URI of one not enrolled yet")
        parser.add_argument("--json", action="store_true", help="for scripts")

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.filter(name=options["name"]).first()
        if host is None and ":" not in options["name"]:
            known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no host {options['name']}. Known are: {known}.")
        try:
            seen = probe_host(host.uri if host else options["name"])
        except EnrolError as error:
            raise CommandError(str(error)) from error
        wrong = differences(host, seen) if host else []
        if options["json"]:
            told = {**dataclasses.asdict(seen), "uuid": str(seen.uuid), "wrong": wrong}
            self.stdout.write(json.dumps(told, indent=2))
        else:
            self.stdout.write("\n".join(_lines(seen)))
            for sentence in wrong:
                self.stderr.write(sentence)
        if wrong:
            raise CommandError("The host is not what the records say.")


def differences(host: Host, seen: HostSeen) -> list[str]:
    """What the records say otherwise, one sentence each."""
    wrong = []
    if host.host_uuid != seen.uuid:
        wrong.append(f"Another machine answers: host UUID {seen.uuid}, known is {host.host_uuid}.")
    there = {pool.name for pool in seen.pools if pool.active}
    wrong += [
        f"The storage pool {pool.name} is not there or not started."
        for pool in host.pools.all()
        if pool.name not in there
    ]
    if host.network and host.network not in seen.networks:
        wrong.append(f"The network {host.network} is not there.")
    if host.virt_type != seen.virt_type:
        wrong.append(f"It was enrolled with {host.virt_type} and has {seen.virt_type} now.")
    return wrong


def _lines(seen: HostSeen) -> list[str]:
    pools = [
        f"  {pool.name} ({pool.type}) at {pool.path}: {pool.available_bytes / GIB:.1f} of "
        f"{pool.capacity_bytes / GIB:.1f} GiB free{'' if pool.active else ', not started'}"
        for pool in seen.pools
    ]
    return [
        f"{seen.hostname}, host UUID {seen.uuid}",
        f"libvirt {seen.libvirt_version}, hypervisor {seen.hypervisor_version}",
        f"{seen.architecture}, {seen.cpu_model}: {seen.cpus} CPUs, {seen.memory_mib} MiB of memory",
        seen.virt_reason,
        "Storage pools:" if pools else "No storage pool.",
        *pools,
        f"Networks: {', '.join(seen.networks) or 'none'}",
    ]
