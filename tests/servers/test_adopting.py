"""A foreign guest becomes a customer's server while it runs, and lives on as any other."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from hosts.models import CapacityClaim, Image, IPAddress
from hosts.virt.errors import Unsupported, VirtError
from tests.audit import assert_clean
from tests.servers.foreigners import DISK, IPV4, MAC, NAME, POOL, adopt, adopted, foreign, seen
from tests.world import GIB, World, due_now, make_host, make_plan, work
from vpspanel.actions.models import Action
from vpspanel.errors import Refused
from vpspanel.events.models import Event
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.models import Lifecycle, PrimaryIP, Server
from vpspanel.servers.moving import moving_choices
from vpspanel.servers.rescue import enable_rescue
from vpspanel.servers.resizing import change_type
from vpspanel.servers.snapshots import create_image

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]


def ended(action: Action) -> Action:
    """The action, once nothing is to be done any more."""
    while work():
        due_now()
    action.refresh_from_db()
    return action


def test_a_running_guest_becomes_a_server_and_is_not_stopped(world: World) -> None:
    uuid = foreign(world)
    driver = world.driver()
    born = driver.guest_record(uuid).started_at
    server = adopted(world, image=world.images[1])
    assert (server.uuid, server.mac, server.domain_name) == (uuid, MAC, NAME)
    assert (server.power_seen, server.power_wanted) == ("running", "on")
    assert (server.vcpus, server.memory_mib, server.disk_gib) == (1, 128, 1)
    addresses = {ip.address.family: ip.address.address for ip in server.primary_ips.all()}
    assert addresses[4] == IPV4
    assert set(addresses) == {4, 6}
    guest = driver.guest_record(uuid)
    assert guest.started_at == born
    assert [nic.filter_name for nic in guest.live_spec.nics] == [server.filter_name]
    assert guest.live_spec.memory_mib == 100, "what runs has what it had"
    assert guest.spec.memory_mib == 128, "from its next start on it has what the plan gives"
    rules = driver.filter_record(server.filter_name)
    assert rules is not None
    assert (rules.mac, rules.ipv4) == (MAC, (IPV4,))
    found = driver.domain(uuid)
    assert found is not None
    assert (found.ours, found.autostart) == (True, False)
    assert (
        "described" not in Action.objects.get(command="adopt").memory
        or not (Action.objects.get(command="adopt").memory["described"])
    )
    assert CapacityClaim.objects.get(owner=uuid).memory_mib == 128
    assert_clean()
    assert not audit().findings, "its disk is known as well"


def test_what_customers_do_with_it(world: World, client: Client) -> None:
    uuid = foreign(world)
    server = adopted(world)
    driver = world.driver()
    client.force_login(world.alice.user)  # type: ignore[arg-type]
    page = client.get(reverse("servers:show", args=[server.pk]))
    assert page.status_code == 200
    assert IPV4 in page.content.decode()
    services.power_off(world.alice, server.pk)
    work()
    assert_clean()
    snapshot = create_image(world.alice, server.pk, description="before")
    assert ended(snapshot.action).state == "success", snapshot.action.error_detail
    assert Image.objects.get(pk=snapshot.image.pk).status == "available"
    larger = make_plan(world, "larger", vcpus=2, memory_mib=256, disk_gib=3)
    grown = change_type(world.alice, server.pk, server_type=larger, keep_disk=False)
    assert ended(grown).state == "success", grown.error_detail
    assert {v.name: v.capacity_bytes for v in driver.volumes(POOL)}[DISK] == 3 * GIB
    services.power_on(world.alice, server.pk)
    work()
    record = driver.guest_record(uuid)
    assert (record.live_spec.vcpus, [disk.volume for disk in record.live_spec.disks]) == (2, [DISK])
    assert_clean()
    enable_rescue(world.alice, server.pk)
    work()
    services.reset(world.alice, server.pk)
    work()
    assert Server.objects.get(pk=server.pk).in_rescue
    assert_clean()
    services.delete(world.alice, server.pk)
    work()
    assert Server.objects.get(pk=server.pk).lifecycle == Lifecycle.DELETED
    left = {v.name for v in driver.volumes(POOL)}
    assert not [name for name in left if name == DISK or str(uuid) in name]
    assert driver.domain(uuid) is None
    assert driver.filters() == []
    assert_clean()


def test_a_rebuild_gives_it_a_disk_and_a_seed_of_the_panel(world: World) -> None:
    foreign(world)
    server = adopted(world)
    services.rebuild(world.alice, server.pk, image=world.images[0])
    work()
    server.refresh_from_db()
    assert (server.adopted_disk, server.has_adopted_disk) == ("", False)
    names = {volume.name for volume in world.driver().volumes(POOL)}
    assert DISK not in names
    assert set(server.volumes) <= names
    assert server.domain_name == NAME
    assert_clean()
    world.driver().add_foreign_volume(POOL, DISK, 4096)
    services.delete(world.alice, server.pk)
    work()
    names = {volume.name for volume in world.driver().volumes(POOL)}
    assert DISK in names, "what got the name since is somebody else's"


def test_a_rebuild_that_fails_leaves_it_as_it_came(world: World) -> None:
    uuid = foreign(world)
    server = adopted(world)
    world.driver().inject("define", VirtError("no"), times=None, after=0)
    action = services.rebuild(world.alice, server.pk, image=world.images[0])
    for _ in range(40):
        due_now()
        if not work():
            break
        action.refresh_from_db()
        if action.undoing:
            world.driver().clear_faults()
    assert ended(action).state == "error"
    server.refresh_from_db()
    assert server.has_adopted_disk
    record = world.driver().guest_record(uuid)
    assert [disk.volume for disk in record.live_spec.disks] == [DISK]
    assert_clean()


def test_a_new_password_needs_the_guest_agent(world: World) -> None:
    uuid = foreign(world)
    server = adopted(world)
    assert ended(services.reset_password(world.alice, server.pk)).error_code == "agent_unavailable"
    names = {volume.name for volume in world.driver().volumes(POOL)}
    assert server.seed_volume not in names
    world.driver().configure_guest(uuid, has_agent=True)
    assert ended(services.reset_password(world.alice, server.pk)).state == "success"
    assert_clean()


def test_it_is_not_moved_before_it_is_rebuilt(world: World) -> None:
    make_host(world.location)
    foreign(world)
    server = adopted(world)
    choices = moving_choices(server)
    assert choices
    for choice in choices:
        assert choice.host == server.host or "adopted_disk" in [o.code for o in choice.obstacles]


def test_one_that_is_off_stays_off(world: World) -> None:
    foreign(world, running=False)
    server = adopted(world)
    assert (server.power_seen, server.power_wanted) == ("off", "off")
    services.power_on(world.alice, server.pk)
    work()
    assert_clean()


# --- failures ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", ["describe", "ensure_filter", "take_over", "domain"])
def test_whatever_fails_the_guest_goes_on_as_before(world: World, call: str) -> None:
    uuid = foreign(world)
    driver = world.driver()
    before, record = driver.domain(uuid), driver.guest_record(uuid)
    made = adopt(world)
    driver.inject(call, Unsupported("no"))
    assert ended(made.action).state == "error"
    assert driver.domain(uuid) == before
    assert driver.guest_record(uuid) == record
    assert driver.filters() == []
    assert not IPAddress.objects.filter(owner__isnull=False).exists()
    assert not CapacityClaim.objects.exists()
    assert Server.objects.get(pk=made.server.pk).lifecycle == Lifecycle.DELETED
    assert_clean()
    IPAddress.objects.update(free_after=None)
    adopted(world)
    assert_clean()


def test_a_guest_that_changed_since_is_left_alone(world: World) -> None:
    uuid = foreign(world)
    guest = seen(world.host)
    made = adopt(world, guest=guest)
    world.driver().outside_undefine(uuid)
    assert ended(made.action).error_code == "guest_missing"
    foreign(world, name="other")
    again = adopt(world, guest=seen(world.host, "other"), ipv4="10.80.0.78")
    world.driver().add_foreign_domain("thief", disks=world.driver().guest_record(
        again.server.uuid).spec.disks)  # fmt: skip
    assert ended(again.action).error_code == "not_adoptable"
    assert_clean()


# --- refusals ---------------------------------------------------------------------------


def test_what_is_refused(world: World) -> None:
    foreign(world)
    taken = world.running("taken").primary_ips.get(address__family=4).address.address
    small = make_plan(world, "small", vcpus=1, memory_mib=64, disk_gib=1)
    refused = [
        ({"ipv4": taken}, "ipv4", "belongs to another server"),
        ({"ipv4": "10.80.0.1"}, "ipv4", "the network's own"),
        ({"ipv4": "10.80.0.255"}, "ipv4", "the network's own"),
        ({"ipv4": "192.0.2.7"}, "ipv4", "lies in no pool"),
        ({"ipv4": "none"}, "ipv4", "is not an IPv4 address"),
        ({"ipv6": "2001:db8::1"}, "ipv6", "lies in no pool"),
        ({"server_type": small}, "server_type", r"It has 100 MiB of memory \(the plan: 64\)"),
        ({"name": "taken"}, "name", "already has a server called"),
        ({"name": "Not_a_name"}, "name", "A name has"),
        ({"actor": world.alice}, None, "Only the staff"),
    ]
    rows = (Server.objects.count(), IPAddress.objects.count(), Event.objects.count())
    for changes, field, sentence in refused:
        with pytest.raises(Refused, match=sentence) as refusal:
            adopt(world, **changes)  # type: ignore[arg-type]
        assert refusal.value.field == field
    assert (Server.objects.count(), IPAddress.objects.count(), Event.objects.count()) == rows
    world.hosts[0].__class__.objects.update(vcpus_limit=1)
    with pytest.raises(Refused, match="has no room"):
        adopt(world)
    world.hosts[0].__class__.objects.update(vcpus_limit=64)
    adopt(world)
    with pytest.raises(Refused, match="recorded already"):
        adopt(world, name="twice", ipv4="10.80.0.78")


def test_the_ipv6_network_that_it_uses(world: World) -> None:
    foreign(world)
    server = adopted(world, ipv6="fd80:0:0:7::5")
    ip = PrimaryIP.objects.get(server=server, address__family=6)
    assert ip.address.address == "fd80:0:0:7::/64"
