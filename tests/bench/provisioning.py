"""From the click on Order to a running QEMU, on a private KVM host, beside bare libvirt calls."""

from __future__ import annotations

import re
import socket
import statistics
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import libvirt
import psutil

from hosts.models import Image, IPAddress
from hosts.virt import xml
from hosts.virt.registry import close_all
from hosts.virt.seed import build_seed
from tests.bench.bare import BareGuest
from tests.bench.figures import Figure, compared, percentile
from tests.bench.whole import Browser, LibvirtCall, Panel, panel
from tests.kvm import KvmHost, new_host
from vpspanel.accounts.models import User
from vpspanel.actions.models import OPEN_STATES, Action
from vpspanel.events.actor import Actor
from vpspanel.servers import services
from vpspanel.servers.blueprint import SEED_BYTES, Blueprint, Secrets
from vpspanel.servers.demo import CUSTOMER_EMAIL, FIRST_IMAGE, make_demo
from vpspanel.servers.models import Server, ServerTypePrice

ORDERS = 10
WITHOUT_CARD = 4  # rounds
PART = f"Provisioning on real QEMU, {ORDERS} orders one after another"
TOKEN = re.compile(r'name="token" value="([0-9a-f-]{36})"')
# What a step's calls into libvirt are for; the rest are look-ups.
PURPOSE = {
    "virStorageVolCreateXML": "disk and seed",
    "virStorageVolUpload": "disk and seed",
    "virStreamSend": "disk and seed",
    "virStreamFinish": "disk and seed",
    "virNWFilterDefineXML": "filter",
    "virDomainDefineXMLFlags": "define",
    "virDomainCreate": "start",
}


@dataclass(slots=True)
class Order:
    """One order, and the same guest made by bare calls. Milliseconds."""

    page: float
    empty: float
    total: float
    processor: float
    libvirt: dict[str, float]
    calls: int
    bare_total: float = 0.0
    bare: dict[str, float] = field(default_factory=dict)
    without_card: float | None = None

    @property
    def own(self) -> float:
        """What was not spent inside libvirt."""
        return self.total - sum(self.libvirt.values())


def measure() -> list[Figure]:
    """All figures of provisioning."""
    host = new_host()
    try:
        make_demo(say=lambda text: None, uri=host.uri, pool_path=str(host.new_pool()))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with (
            tempfile.TemporaryDirectory() as folder,
            panel(Path(folder), port) as started,
        ):
            bench = Bench(host, started, port)
            bench.round(0)  # connections are opened, templates are read
            return _figures([bench.round(number) for number in range(1, ORDERS + 1)])
    finally:
        close_all()
        host.stop()


class Bench:
    """Orders through the page, and makes the same by hand."""

    def __init__(self, host: KvmHost, started: Panel, port: int) -> None:
        user = User.objects.get(email=CUSTOMER_EMAIL)
        self.actor = Actor(user, "page")
        self.panel = started
        self.browser = Browser(port, user)
        self.connection: Any = libvirt.open(host.uri)
        first = psutil.Process(int((host.dir / "pid").read_text()))
        self.daemon = next(
            child for child in first.children(recursive=True) if child.name() == "libvirtd"
        )
        self.choice = {
            "plan": str(ServerTypePrice.objects.get(server_type__name="nano").pk),
            "image": str(Image.objects.get(name=FIRST_IMAGE).pk),
        }

    def round(self, number: int) -> Order:
        """One order and one bare guest, each gone before the next comes."""
        order, server = self._order(f"bench-{number}")
        guest = self._bare_copy(server)
        services.delete(self.actor, server.pk)
        wait_until_ended(server.pk)
        order.bare_total = guest.make()
        order.bare = guest.took
        if 0 < number <= WITHOUT_CARD:
            order.without_card = guest.start_without_card()
        guest.dispose()
        return order

    def _order(self, name: str) -> tuple[Order, Server]:
        self.browser.reconnect()
        found = TOKEN.search(self.browser.get("/servers/order/"))
        if found is None:
            raise AssertionError("no token in the order form")
        cpu, began, started = self.panel.cpu_seconds(), time.time(), time.perf_counter()
        fields = {**self.choice, "token": found[1], "name": name}
        location = self.browser.post("/servers/order/", fields)
        self.browser.first_byte(location)
        page = (time.perf_counter() - started) * 1000
        server_id = int(location.strip("/").rpartition("/")[2])
        action = wait_until_ended(server_id)
        if action.state != "success":
            raise AssertionError(f"{action}: {action.error_detail}")
        processor = (self.panel.cpu_seconds() - cpu) * 1000
        calls = self.panel.calls(began)
        total, inside = _split(began, calls)
        order = Order(page, self._empty(), total, processor, inside, len(calls))
        return order, Server.objects.select_related("host", "image").get(pk=server_id)

    def _empty(self) -> float:
        """Milliseconds of two answers that do next to nothing."""
        self.browser.reconnect()
        self.browser.get("/healthz")
        started = time.perf_counter()
        self.browser.get("/healthz")
        self.browser.get("/healthz")
        return (time.perf_counter() - started) * 1000

    def _bare_copy(self, server: Server) -> BareGuest:
        if server.host is None or server.image is None:
            raise AssertionError("the server has no host or no image")
        addresses = IPAddress.objects.filter(owner=server.uuid).select_related("pool")
        blueprint = Blueprint(server, server.host, tuple(addresses))
        pool = self.connection.storagePoolLookupByName(server.pool)
        disk = xml.overlay_volume_xml(
            server.disk_volume(),
            max(server.disk_gib * 1024**3, server.image.virtual_size_bytes),
            pool.storageVolLookupByName(server.image.volume).path(),
            server.image.format,
        )
        return BareGuest(
            connection=self.connection,
            daemon=self.daemon,
            pool=server.pool,
            domain=blueprint.domain(),
            filter=blueprint.filter(),
            disk_xml=disk,
            seed_xml=xml.raw_volume_xml(server.seed_volume, SEED_BYTES),
            seed=build_seed(blueprint.seed_files(Secrets())).ljust(SEED_BYTES, b"\0"),
        )


def wait_until_ended(server_id: int) -> Action:
    """The server's last action, once it has ended. Raises `TimeoutError`."""
    end = time.monotonic() + 90
    of_server = Action.objects.filter(resource_type="server", resource_id=server_id)
    while of_server.filter(state__in=OPEN_STATES).exists():
        if time.monotonic() > end:
            raise TimeoutError(f"server {server_id}: its action does not end")
        time.sleep(0.05)
    return of_server.order_by("-pk")[0]


def _split(began: float, calls: list[LibvirtCall]) -> tuple[float, dict[str, float]]:
    """Milliseconds from the order to the running guest, and those inside libvirt, by purpose."""
    running = next(call.ended for call in calls if call.name == "virDomainCreate")
    inside: dict[str, float] = defaultdict(float)
    for call in calls:
        if call.ended <= running:
            inside[PURPOSE.get(call.name, "look-ups")] += call.seconds * 1000
    return (running - began) * 1000, dict(inside)


# --- figures --------------------------------------------------------------------


def _figures(orders: list[Order]) -> list[Figure]:
    return [*_pages(orders), *_running(orders), *_shares(orders), *_start(orders)]


def _pages(orders: list[Order]) -> list[Figure]:
    pages, empty = [order.page for order in orders], [order.empty for order in orders]
    what, peer = "order form sent to first byte of the server page", "two empty answers"
    return [
        compared(PART, f"{what}, p50", "ms", pages, empty, peer, target=300),
        Figure(PART, f"{what}, p95", percentile(pages, 95), "ms"),
    ]


def _running(orders: list[Order]) -> list[Figure]:
    totals, bare = [order.total for order in orders], [order.bare_total for order in orders]
    peer = "the same by bare libvirt calls"
    slow, bare_slow = percentile(totals, 95), percentile(bare, 95)
    return [
        compared(PART, "order to QEMU running, p50", "ms", totals, bare, peer, target=2000),
        Figure(PART, "order to QEMU running, p95", slow, "ms", peer, bare_slow, slow / bare_slow),
    ]


def _shares(orders: list[Order]) -> list[Figure]:
    own = [order.own for order in orders]
    figures = [
        compared(
            PART,
            "the panel's own share: all but libvirt calls",
            "ms",
            own,
            [order.total for order in orders],
            "order to QEMU running",
            target=150,
        ),
        Figure(
            PART,
            "processor time of web and worker per order",
            statistics.mean(order.processor for order in orders),
            "ms",
        ),
    ]
    for purpose in ("disk and seed", "filter", "define", "start"):
        names = ("disk", "seed") if purpose == "disk and seed" else (purpose,)
        mine = [order.libvirt[purpose] for order in orders]
        bare = [sum(order.bare[name] for name in names) for order in orders]
        figures.append(compared(PART, f"inside libvirt: {purpose}", "ms", mine, bare, "bare calls"))
    looks = [order.libvirt.get("look-ups", 0.0) for order in orders]
    counts = statistics.median(order.calls for order in orders)
    return [
        *figures,
        Figure(PART, "inside libvirt: look-ups", statistics.median(looks), "ms"),
        Figure(PART, "calls into libvirt per order", counts, ""),
    ]


def _start(orders: list[Order]) -> list[Figure]:
    """What the filter costs: most of a start."""
    both = [(order.bare["start"], order.without_card) for order in orders if order.without_card]
    return [
        compared(
            PART,
            "bare start, with card and filter",
            "ms",
            [with_card for with_card, _ in both],
            [without or 0.0 for _, without in both],
            "without a network card",
        ),
        Figure(
            PART,
            "processor time of a bare start in libvirtd and its tools",
            statistics.mean(order.bare["start, processor"] for order in orders),
            "ms",
        ),
    ]
