"""`manage.py host_add NAME`: make a machine a host that servers are sold from."""

from __future__ import annotations

import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.enrol import DEFAULT_POOL, DEFAULT_POOL_PATH, Share, enroll_host
from hosts.errors import EnrolError
from hosts.keys import confirm_key, known_key, panel_key
from hosts.models import Location
from hosts.probing import Outcome, Plan, look_over
from hosts.virt import ssh
from hosts.virt.errors import VirtError
from hosts.virt.spec import NetworkSpec

DEFAULT = Share()
MARKS = {Outcome.GOOD: "ok", Outcome.NOTE: "note", Outcome.MISSING: "MISSING"}


class Command(BaseCommand):
    """Asks the machine, prepares pool and network on it, writes the rows; may be repeated."""

    help = "Look a KVM machine over and enrol it, or read the facts of an enrolled one again."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("name", nargs="?", default="", help="what staff call it")
        add("--key", action="store_true", help="print the panel's public SSH key and do no more")
        add("--uri", help="qemu+ssh://root@host/system, qemu+tls://host/system, qemu:///system")
        add("--location", help="the name of a location")
        add("--fingerprint", default="", help="of the machine's SSH host key: SHA256:…")
        add("--replace-key", action="store_true", help="it has a new host key, and that is right")
        add("--check", action="store_true", help="look it over only")
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
        if options["key"]:
            self.stdout.write(panel_key())
            return
        location = _location(options)
        network = _network(options)
        try:
            if ssh.uses_home(options["uri"]):
                self._know(options)
            self._look(options)
            if options["check"]:
                return
            host = enroll_host(
                name=options["name"],
                location=location,
                uri=options["uri"],
                pool_name=options["pool"],
                pool_path=options["pool_path"],
                network=network,
                bridge=options["bridge"],
                share=Share(
                    options["vcpus_per_cpu"],
                    options["memory_reserve_mib"],
                    options["disk_reserve_gib"],
                ),
            )
        except (EnrolError, VirtError, ValueError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{host.name}: {host.cpus} CPUs, {host.memory_mib} MiB. {host.virt_reason}\n"
            f"For sale: {host.vcpus_limit} vCPUs, {host.memory_limit_mib} MiB of memory."
        )

    def _know(self, options: dict[str, Any]) -> None:
        """Compare the host key with the confirmed one, or have it confirmed."""
        uri, wanted = options["uri"], options["fingerprint"]
        key = ssh.ask_host_key(uri)
        known = known_key(uri)
        if known is not None and known.public_key == key.public_key:
            return
        if known is not None and not options["replace_key"]:
            raise CommandError(
                f"{uri} shows the host key {key.fingerprint}, but {known.fingerprint} was "
                f"confirmed by {known.confirmed_by}. Another machine, or somebody in between. "
                "If it was set up anew and you have compared the fingerprint: --replace-key."
            )
        if wanted and wanted != key.fingerprint:
            raise CommandError(f"{uri} shows the host key {key.fingerprint}, not {wanted}.")
        if not wanted and not self._asked(key.fingerprint):
            raise CommandError(
                f"{uri} shows the host key {key.fingerprint}. Compare it on the machine "
                "(ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: --fingerprint."
            )
        confirm_key(uri, key, by="manage.py host_add")

    def _asked(self, fingerprint: str) -> bool:
        if not sys.stdin.isatty():
            return False
        return input(f"It shows the host key {fingerprint}. Is that right? (yes) ") == "yes"

    def _look(self, options: dict[str, Any]) -> None:
        """Print the steps. Raises `CommandError` if something is missing."""
        plan = Plan(
            options["name"],
            options["uri"],
            options["pool"],
            options["network"],
            options["bridge"],
        )
        cures = []
        for step in look_over(plan):
            self.stdout.write(f"{MARKS[step.outcome]:<8}{step.title}: {step.found}")
            if step.cure:
                self.stdout.write(f"        {step.cure}")
            if step.outcome is Outcome.MISSING:
                cures.append(f"{step.title}: {step.found}" + (f"\n  {step.cure}" * bool(step.cure)))
        if cures:
            raise CommandError("Missing:\n" + "\n".join(cures))


def _location(options: dict[str, Any]) -> Location:
    if not (options["name"] and options["uri"] and options["location"]):
        raise CommandError("A host needs a name, --uri and --location; or ask for the --key.")
    location = Location.objects.filter(name=options["location"]).first()
    if location is None:
        raise CommandError(f"There is no location {options['location']}. Add it in the admin.")
    return location


def _network(options: dict[str, Any]) -> NetworkSpec | None:
    if not options["network"]:
        return None
    if not (options["ipv4"] and options["ipv6"]):
        raise CommandError("A network needs the addresses of the host on it: --ipv4 and --ipv6.")
    return NetworkSpec(
        options["network"], options["network_bridge"], options["ipv4"], options["ipv6"]
    )
