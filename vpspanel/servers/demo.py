"""What a newcomer needs to try the panel: a host, plans, addresses, a system, two people.

Everything is made once and left alone afterwards, so it may be repeated on a
panel that is in use: what staff changed stays changed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass

import psutil
from allauth.account.models import EmailAddress
from django.conf import settings
from django.db import transaction

from hosts.addressing import ensure_ip_pool
from hosts.enrol import enroll_host, prepare_network
from hosts.errors import StagingBusy
from hosts.images.errors import ImageError
from hosts.library import provide_image, sync_catalogue
from hosts.models import Host, Image, IPPool, Location
from hosts.simulated import ensure_simulated_images, withdraw_simulated_images
from hosts.staging import stage
from hosts.virt.errors import VirtError
from hosts.virt.registry import driver_for
from hosts.virt.spec import NetworkSpec
from vpspanel.accounts.models import Member, Project, User
from vpspanel.accounts.services import open_account
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.models import MICROS, ServerType, ServerTypePrice

STAFF_EMAIL = "staff@example.com"
CUSTOMER_EMAIL = "demo@example.com"
HOST_NAMES = {"libvirt": "this-machine", "fake": "simulated"}  # by driver
LOCATION = "local"
NETWORK = "vpspanel"
BRIDGE = "vpspanel0"
IPV4_CHOICES = tuple(f"10.80.{third}.0/24" for third in range(256))
IPV6_NETWORK = "fd80:10:80::/48"
FIRST_IMAGE = "tiny"
HOURS_PER_MONTH = 600  # a plan costs at most this many hours in a month

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A sample plan; the price is per hour, in thousandths of the currency unit."""

    name: str
    description: str
    vcpus: int
    memory_mib: int
    disk_gib: int
    traffic_gib: int
    hourly_thousandths: int


PLANS = (
    Plan("nano", "Nano", 1, 128, 1, 512, 2),
    Plan("micro", "Micro", 1, 512, 5, 1024, 4),
    Plan("small", "Small", 1, 1024, 10, 2048, 7),
    Plan("medium", "Medium", 2, 2048, 20, 4096, 12),
    Plan("large", "Large", 4, 4096, 40, 8192, 23),
    Plan("xlarge", "Extra large", 8, 8192, 80, 16384, 45),
)


@dataclass(frozen=True, slots=True)
class Person:
    """One of the two accounts; `password` is None when it keeps the one it had."""

    email: str
    password: str | None


@dataclass(frozen=True, slots=True)
class Demo:
    """What there is after the command."""

    host: Host
    location: Location
    staff: Person
    customer: Person
    project: Project
    images: list[Image]


def make_demo(
    *,
    say: Say,
    uri: str = "",
    pool_path: str = "",
    network: NetworkSpec | None = None,
    reset_passwords: bool = False,
) -> Demo:
    """Make what is missing and tell of it through `say`.

    Raises `Refused` in production, and `hosts.errors.EnrolError` if the host cannot be used.
    """
    if settings.PRODUCTION:
        raise Refused("forbidden", "The demo has known accounts: it is not for production.")
    location, _ = Location.objects.get_or_create(
        name=LOCATION, defaults={"description": "This machine", "city": "Home"}
    )
    uri = uri or settings.LOCAL_HOST_URI
    wanted = network or _remembered_network(location) or choose_network(BRIDGE)
    network = prepare_network(uri, wanted)
    known = Host.objects.filter(uri=uri).first()
    host = enroll_host(
        name=known.name if known else HOST_NAMES[settings.VPSPANEL_DRIVER],
        location=location,
        uri=uri,
        pool_path=pool_path or settings.LOCAL_POOL_PATH,
        network=network,
    )
    _sell_from_this_kind(host)
    say(_describe(host))
    make_pools(location, network)
    make_plans(location)
    people = make_people(reset_passwords=reset_passwords)
    return Demo(host, location, *people, make_images(host, say))


def make_people(*, reset_passwords: bool = False) -> tuple[Person, Person, Project]:
    """Staff, a customer, and the customer's first project."""
    staff = _person(STAFF_EMAIL, is_staff=True, reset=reset_passwords)
    customer = _person(CUSTOMER_EMAIL, is_staff=False, reset=reset_passwords)
    return staff, customer, _project(CUSTOMER_EMAIL, Actor(user=None, via="command"))


def _sell_from_this_kind(host: Host) -> None:
    """After a change between simulated and real hosts, the other demo host sells no more."""
    others = [name for driver, name in HOST_NAMES.items() if driver != settings.VPSPANEL_DRIVER]
    if Host.objects.filter(name__in=others, accepting=True).update(accepting=False):
        Host.objects.filter(pk=host.pk).update(accepting=True)


def _describe(host: Host) -> str:
    """One line for the person who started it."""
    way = "KVM" if host.virt_type == "kvm" else "emulation (TCG)"
    return (
        f"Host {host.name}: {host.cpus} CPUs, {host.memory_mib} MiB of memory, {way}. "
        f"{host.virt_reason}"
    )


def make_plans(location: Location) -> None:
    """The sample plans with a price in the location; plans that are there keep theirs."""
    for position, plan in enumerate(PLANS):
        with transaction.atomic():
            server_type, _ = ServerType.objects.get_or_create(
                name=plan.name,
                defaults={
                    "description": plan.description,
                    "vcpus": plan.vcpus,
                    "memory_mib": plan.memory_mib,
                    "disk_gib": plan.disk_gib,
                    "traffic_gib": plan.traffic_gib,
                    "position": position,
                },
            )
            hourly = plan.hourly_thousandths * MICROS // 1000
            ServerTypePrice.objects.get_or_create(
                server_type=server_type,
                location=location,
                defaults={
                    "hourly_micros": hourly,
                    "monthly_micros": hourly * HOURS_PER_MONTH,
                },
            )


def make_pools(location: Location, network: NetworkSpec) -> None:
    """Addresses behind the private bridge: an IPv4 address and a /64 for each server."""
    for version, gateway in ((4, network.ipv4_gateway), (6, network.ipv6_gateway)):
        router = ipaddress.ip_interface(gateway)
        ensure_ip_pool(
            location,
            f"{location.name}-ipv{version}",
            network=str(router.network),
            gateway=str(router.ip),
        )


def _remembered_network(location: Location) -> NetworkSpec | None:
    """The network that the pools of an earlier run were made for."""
    gateways = [
        f"{pool.gateway}/{ipaddress.ip_network(pool.network).prefixlen}"
        for name in (f"{location.name}-ipv4", f"{location.name}-ipv6")
        for pool in IPPool.objects.filter(name=name)
    ]
    return NetworkSpec(NETWORK, BRIDGE, *gateways) if len(gateways) == 2 else None


def choose_network(bridge: str) -> NetworkSpec:
    """A private network for this machine: the first one that no address of it lies in."""
    taken = [
        ipaddress.IPv4Interface(f"{address.address}/{address.netmask}").network
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET and address.netmask
    ]
    for text in IPV4_CHOICES:
        network = ipaddress.IPv4Network(text)
        if not any(network.overlaps(other) for other in taken):
            router = ipaddress.IPv6Network(IPV6_NETWORK)[1]
            return NetworkSpec(
                name=NETWORK,
                bridge=bridge,
                ipv4_gateway=f"{network[1]}/{network.prefixlen}",
                ipv6_gateway=f"{router}/{IPV6_NETWORK.rpartition('/')[2]}",
            )
    raise Refused("conflict", "Every network of 10.80.0.0/16 is in use on this machine.")


def make_images(host: Host, say: Say) -> list[Image]:
    """The catalogue as rows; the smallest system lies on the host, so that it starts at once.

    Without it the panel can still be used: what went wrong is said, and is on the row.
    """
    try:
        image = _first_image(say)
        for pool in host.pools.all():
            with contextlib.suppress(StagingBusy):  # a worker is at it already
                stage(driver_for(host.uri), pool, image)
    except (ImageError, VirtError) as error:
        say(f"There is no image yet: {error}. Then: manage.py image_build {FIRST_IMAGE}")
    return list(Image.objects.order_by("name"))


def _first_image(say: Say) -> Image:
    if settings.VPSPANEL_DRIVER == "fake":
        ensure_simulated_images()
        return Image.objects.get(name=FIRST_IMAGE)
    withdraw_simulated_images()
    sync_catalogue()
    return provide_image(FIRST_IMAGE, say=say)


def _person(email: str, *, is_staff: bool, reset: bool) -> Person:
    """The user of that address, with a fresh password if it is new or `reset`."""
    password = secrets.token_urlsafe(12)
    with transaction.atomic():
        user = User.objects.filter(email=email).first()
        if user is None:
            user = User.objects.create_user(
                email, password, is_staff=is_staff, is_superuser=is_staff
            )
        elif reset:
            user.set_password(password)
            user.save(update_fields=["password"])
        else:
            return Person(email, None)
        EmailAddress.objects.get_or_create(
            user=user, email=email, defaults={"verified": True, "primary": True}
        )
    return Person(email, password)


def _project(email: str, actor: Actor) -> Project:
    """The first project of the user; its account is opened if there is none."""
    user = User.objects.get(email=email)
    member = Member.objects.filter(user=user).select_related("project").order_by("pk").first()
    if member is not None:
        return member.project
    return open_account(user=user, name="Demo customer", actor=actor)
