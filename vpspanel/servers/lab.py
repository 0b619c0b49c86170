"""A panel on the hosts of a lab (deploy/lab): enrolled over SSH as real ones are.

The lab says what its hosts' keys are, so nobody has to compare fingerprints.
"""

from __future__ import annotations

from pathlib import Path

import psutil
from django.conf import settings

from hosts.addressing import ensure_ip_pool
from hosts.enrol import Share, enroll_host
from hosts.errors import EnrolError
from hosts.keys import confirm_key
from hosts.models import Host, Location
from hosts.virt.errors import VirtError
from hosts.virt.ssh import ask_host_key
from vpspanel.errors import Refused
from vpspanel.servers.demo import Demo, Say, make_images, make_people, make_plans

LOCATION = "lab"
BRIDGE = "br0"
FIRST_SOLD = 50  # the hosts have the addresses before
MIB = 1024**2


def read_env(file: Path) -> dict[str, str]:
    """NAME=value, line by line."""
    return dict(line.split("=", 1) for line in file.read_text().splitlines())


def make_lab(directory: Path, *, say: Say) -> Demo:
    """Enrol every host of the lab in `directory`; make plans, addresses, an image and two people.

    Raises `EnrolError`, and `Refused` in production.
    """
    if settings.PRODUCTION:
        raise Refused("forbidden", "The lab has known accounts: it is not for production.")
    env = read_env(directory / "env")
    location, _ = Location.objects.get_or_create(
        name=LOCATION, defaults={"description": "Hosts in namespaces", "city": "Lab"}
    )
    for version, suffix in ((4, ""), (6, "6")):
        ensure_ip_pool(
            location,
            f"{LOCATION}-ipv{version}",
            network=env[f"NETWORK{suffix}"],
            gateway=env[f"GATEWAY{suffix}"],
            first_index=FIRST_SOLD,
        )
    make_plans(location)
    count = int(env["HOSTS"])
    hosts = [
        enrol_lab_host(directory / f"kvm{number}", location, share=equal_share(count))
        for number in range(1, count + 1)
    ]
    for host in hosts:
        say(f"Host {host.name}: {host.uri}, host key confirmed.")
    return Demo(hosts[0], location, *make_people(), make_images(hosts[0], say))


def equal_share(count: int) -> Share:
    """What one of `count` hosts may sell of the memory that they all see as theirs."""
    total = psutil.virtual_memory().total // MIB
    return Share(memory_reserve_mib=total - total // (count + 1))


def enrol_lab_host(directory: Path, location: Location, *, share: Share | None = None) -> Host:
    """The host in `directory`, if it shows the key that the lab made for it."""
    env = read_env(directory / "env")
    try:
        key = ask_host_key(env["SSH_URI"])
    except VirtError as error:
        raise EnrolError(str(error)) from error
    if key.fingerprint != env["FINGERPRINT"]:
        raise EnrolError(f"{env['SSH_URI']} shows another host key than the lab's.")
    confirm_key(env["SSH_URI"], key, by="the lab")
    return enroll_host(
        name=env["NAME"], location=location, uri=env["SSH_URI"], bridge=BRIDGE, share=share
    )
