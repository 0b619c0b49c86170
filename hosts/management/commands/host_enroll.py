"""`manage.py host_enroll NAME`: make a machine a host that servers are sold from."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.enrol import DEFAULT_POOL, DEFAULT_POOL_PATH, Share, enroll_host
from hosts.errors import EnrolError
from hosts.models import Location
from hosts.virt.spec import NetworkSpec

DEFAULT = Share()


class Command(BaseCommand):
    """Asks the machine, prepares pool and network on it, writes the rows; may be repeated."""

    help = "Enrol a KVM machine, or read the facts of an enrolled one again."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("name", help="what staff call it")
        add("--uri", required=True, help="qemu:///system, qemu+ssh://root@host/system …")
        add("--location", required=True, help="the name of a location")
        add("--pool", default=DEFAULT_POOL, help=f"storage pool (default: {DEFAULT_POOL})")
        add("--pool-path", default=DEFAULT_POOL_PATH, help=f"default: {DEFAULT_POOL_PATH}")
        add("--bridge", default="", help="a bridge of the machine for its guests")
        add("--network", default="", help="or a libvirt network of this name, made if missing …")
        add("--network-bridge", default="vpspanel0", help="… with this bridge")
        add("--ipv4", default="", help="… and this address of the host: 10.80.0.1/24")
        add("--ipv6", default="", help="… and this one: fd80::1/48")
        add("--vcpus-per-cpu", type=float, default=DEFAULT.vcpus_per_cpu)
        add("--memory-reserve-mib", type=int, help="kept for the machine itself")
        add("--disk-reserve-gib", type=int, help="kept for the machine itself")

    def handle(self, *args: Any, **options: Any) -> None:
        location = Location.objects.filter(name=options["location"]).first()
        if location is None:
            raise CommandError(f"There is no location {options['location']}. Add it in the admin.")
        try:
            host = enroll_host(
                name=options["name"],
                location=location,
                uri=options["uri"],
                pool_name=options["pool"],
                pool_path=options["pool_path"],
                network=_network(options),
                bridge=options["bridge"],
                share=Share(
                    options["vcpus_per_cpu"],
                    options["memory_reserve_mib"],
                    options["disk_reserve_gib"],
                ),
            )
        except EnrolError as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{host.name}: {host.cpus} CPUs, {host.memory_mib} MiB. {host.virt_reason}\n"
            f"For sale: {host.vcpus_limit} vCPUs, {host.memory_limit_mib} MiB of memory."
        )


def _network(options: dict[str, Any]) -> NetworkSpec | None:
    if not options["network"]:
        return None
    if not (options["ipv4"] and options["ipv6"]):
        raise CommandError("A network needs the addresses of the host on it: --ipv4 and --ipv6.")
    return NetworkSpec(
        options["network"], options["network_bridge"], options["ipv4"], options["ipv6"]
    )
