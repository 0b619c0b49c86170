"""Every kind of damage that records and hosts may take, and what an audit says to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from hosts.models import (
    CapacityClaim,
    Family,
    Host,
    IPAddress,
    IPPool,
    StagedImage,
    StoragePool,
)
from hosts.virt.spec import DiskSpec, DomainSpec, FilterSpec
from tests.world import World, make_host, work
from vpspanel.accounts.models import Account
from vpspanel.actions.models import Action
from vpspanel.servers import services
from vpspanel.servers.models import Lifecycle, PrimaryIP, Server

Damage = Callable[[World, Server], None]


def bury(world: World, name: str = "gone") -> Server:
    """A server that was ordered, built and deleted."""
    server = world.running(name)
    services.delete(world.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.lifecycle == Lifecycle.DELETED
    return server


def domain_of(server: Server, *, name: str = "", disks: tuple[DiskSpec, ...] = ()) -> DomainSpec:
    return DomainSpec(server.uuid, name or server.domain_name, 1, 64, disks, (), "qemu")


def filter_named(name: str) -> FilterSpec:
    return FilterSpec(name, uuid4(), "52:54:00:00:00:01", ("10.80.0.9",), ())


# --- damage that may be repaired ------------------------------------------------


def count_too_much(world: World, server: Server) -> None:
    Host.objects.update(vcpus_used=7)


def count_too_many_gib(world: World, server: Server) -> None:
    StoragePool.objects.update(used_gib=77)


def count_too_many_servers(world: World, server: Server) -> None:
    Account.objects.filter(pk=world.project.account_id).update(servers_used=5)


def keep_the_room_of_a_deleted_one(world: World, server: Server) -> None:
    gone = bury(world)
    assert gone.host is not None
    pool = gone.host.pools.get()
    CapacityClaim.objects.create(
        owner=gone.uuid, host=gone.host, pool=pool, vcpus=1, memory_mib=128, disk_gib=1
    )
    Host.objects.filter(name=gone.host.name).update(vcpus_used=2, memory_used_mib=256)
    StoragePool.objects.update(used_gib=2)


def keep_the_address_of_a_deleted_one(world: World, server: Server) -> None:
    gone = bury(world)
    address = IPAddress.objects.filter(owner=None, family=Family.V4).latest("pk")
    IPAddress.objects.filter(pk=address.pk).update(owner=gone.uuid, free_after=None)


def keep_the_secrets_of_a_deleted_one(world: World, server: Server) -> None:
    gone = bury(world)
    Server.objects.filter(uuid=gone.uuid).update(root_password_hash="$6$x$y")


def leave_a_disk(world: World, server: Server) -> None:
    world.driver().add_foreign_volume("vpspanel", bury(world).disk_volume(), 4096)


def leave_a_seed(world: World, server: Server) -> None:
    world.driver().add_foreign_volume("vpspanel", bury(world).seed_volume, 4096)


def leave_a_filter(world: World, server: Server) -> None:
    world.driver().ensure_filter(filter_named(bury(world).filter_name))


def leave_a_serial_log(world: World, server: Server) -> None:
    """As when its host fell silent between the guest's end and that of its log."""
    gone = bury(world)
    world.driver().define(domain_of(gone))
    world.driver().guest_says(gone.uuid, b"login: ")
    world.driver().outside_undefine(gone.uuid)


def leave_a_guest_that_is_off(world: World, server: Server) -> None:
    world.driver().define(domain_of(bury(world)))


def leave_an_upload(world: World, server: Server) -> None:
    long_ago = timezone.now() - timedelta(hours=2)
    Action.objects.update(finished=long_ago)
    world.driver().add_foreign_volume("vpspanel", ".upload-img-x.qcow2-abcd", 4096)


def lose_a_base_image(world: World, server: Server) -> None:
    StagedImage.objects.create(
        pool=StoragePool.objects.get(), sha256="0" * 64, volume=f"img-{'0' * 40}.qcow2"
    )


# --- damage that only a person can judge -------------------------------------------


def leave_a_guest_that_runs(world: World, server: Server) -> None:
    gone = bury(world)
    world.driver().define(domain_of(gone))
    world.driver().start(gone.uuid)


def define_a_guest_of_nobody(world: World, server: Server) -> None:
    uuid = uuid4()
    world.driver().define(DomainSpec(uuid, f"vps-{uuid}", 1, 64, (), (), "qemu"))


def put_a_disk_of_nobody(world: World, server: Server) -> None:
    world.driver().add_foreign_volume("vpspanel", f"vps-{uuid4()}-1.qcow2", 4096)


def put_a_filter_of_nobody(world: World, server: Server) -> None:
    world.driver().ensure_filter(filter_named(f"vps-{uuid4()}"))


def lose_the_guest(world: World, server: Server) -> None:
    world.driver().outside_undefine(server.uuid)


def lose_the_disk(world: World, server: Server) -> None:
    world.driver().delete_volume("vpspanel", server.disk_volume())


def lose_the_seed(world: World, server: Server) -> None:
    world.driver().delete_volume("vpspanel", server.seed_volume)


def lose_the_filter(world: World, server: Server) -> None:
    world.driver().outside_destroy(server.uuid)
    world.driver().delete_filter(server.filter_name)


def give_it_a_second_disk(world: World, server: Server) -> None:
    world.driver().add_foreign_volume("vpspanel", server.disk_volume(9), 4096)


def run_it_from_another_disk(world: World, server: Server) -> None:
    world.driver().outside_destroy(server.uuid)
    other = DiskSpec("vpspanel", "somebody-elses.qcow2", "vda", "qcow2")
    world.driver().define(domain_of(server, disks=(other,)))


def redefine(world: World, server: Server, **changes: object) -> None:
    """Somebody with virsh changes what its next start makes."""
    spec = world.driver().guest_record(server.uuid).spec
    world.driver().define(replace(spec, **changes))  # type: ignore[arg-type]


def give_it_more_cpus(world: World, server: Server) -> None:
    redefine(world, server, vcpus=8)


def take_half_of_its_memory(world: World, server: Server) -> None:
    redefine(world, server, memory_mib=64)


def change_its_card(world: World, server: Server, **changes: object) -> None:
    (card,) = world.driver().guest_record(server.uuid).spec.nics
    redefine(world, server, nics=(replace(card, **changes),))  # type: ignore[arg-type]


def give_it_another_mac(world: World, server: Server) -> None:
    change_its_card(world, server, mac="52:54:00:00:00:99")


def plug_it_into_another_bridge(world: World, server: Server) -> None:
    change_its_card(world, server, network=None, bridge="br0")


def guard_it_with_the_filter_of_another(world: World, server: Server) -> None:
    change_its_card(world, server, filter_name=world.running("other").filter_name)


def boot_it_from_its_seed(world: World, server: Server) -> None:
    disk, seed = world.driver().guest_record(server.uuid).spec.disks
    redefine(world, server, disks=(replace(disk, boot_order=2), replace(seed, boot_order=1)))


def read_its_disk_as_raw(world: World, server: Server) -> None:
    disk, seed = world.driver().guest_record(server.uuid).spec.disks
    redefine(world, server, disks=(replace(disk, format="raw"), seed))


def define_it_with_the_disk_of_another(world: World, server: Server) -> None:
    disk, seed = world.driver().guest_record(server.uuid).spec.disks
    volume = world.running("other").disk_volume()
    redefine(world, server, disks=(replace(disk, volume=volume), seed))


def define_it_on_two_hosts(world: World, server: Server) -> None:
    second = make_host(world.location)
    world.driver(second).define(domain_of(server))


def replace_it_by_something_foreign(world: World, server: Server) -> None:
    world.driver().outside_undefine(server.uuid)
    world.driver().add_foreign_domain("impostor", uuid=server.uuid)


def make_a_phantom(world: World, server: Server) -> None:
    world.driver().make_phantom(server.uuid)


def let_it_start_with_the_host(world: World, server: Server) -> None:
    with world.driver()._transaction() as db:
        db.execute("UPDATE domain SET autostart = 1 WHERE uuid = ?", (str(server.uuid),))


def sell_an_address_twice(world: World, server: Server) -> None:
    other = world.running("other")
    mine = server.primary_ips.get(address__family=Family.V6).address.address
    spelled = mine.replace("::/64", ":0:0:0:0/64")
    pool = IPPool.objects.get(family=Family.V6)
    twin = IPAddress.objects.create(pool=pool, family=6, address=spelled, owner=other.uuid)
    PrimaryIP.objects.create(project=world.project, server=other, address=twin, name="twin")


def sell_a_mac_twice(world: World, server: Server) -> None:
    other = world.running("other")
    Server.objects.filter(pk=server.pk).update(mac="52:54:aa:bb:cc:dd")
    Server.objects.filter(pk=other.pk).update(mac="52:54:AA:BB:CC:DD")


def hold_room_for_nobody(world: World, server: Server) -> None:
    CapacityClaim.objects.filter(owner=server.uuid).update(owner=uuid4())


def hold_an_address_for_nobody(world: World, server: Server) -> None:
    ip = server.primary_ips.get(address__family=Family.V4)
    IPAddress.objects.filter(pk=ip.address_id).update(owner=uuid4())


def unlink_an_address(world: World, server: Server) -> None:
    server.primary_ips.get(address__family=Family.V4).delete()


def hold_less_than_it_has(world: World, server: Server) -> None:
    CapacityClaim.objects.filter(owner=server.uuid).update(memory_mib=64)
    Host.objects.update(memory_used_mib=64)


def sell_more_than_there_is(world: World, server: Server) -> None:
    Host.objects.update(vcpus_limit=0)


def forget_to_create(world: World, server: Server) -> None:
    Server.objects.filter(pk=server.pk).update(lifecycle=Lifecycle.CREATING)


def forget_to_delete(world: World, server: Server) -> None:
    Server.objects.filter(pk=server.pk).update(lifecycle=Lifecycle.DELETING)


def abandon_an_action(world: World, server: Server) -> None:
    services.power_off(world.alice, server.pk)
    Action.objects.filter(command="power_off").update(
        run_after=timezone.now() - timedelta(seconds=90)
    )


def be_late(world: World, server: Server) -> None:
    services.power_off(world.alice, server.pk)
    Action.objects.filter(command="power_off").update(
        deadline=timezone.now() - timedelta(seconds=150)
    )


def leave_secrets_in_the_seed(world: World, server: Server) -> None:
    before = timezone.now() - timedelta(hours=2)
    Server.objects.filter(pk=server.pk).update(seed_secret_since=before, booted_at=before)


@dataclass(frozen=True)
class Case:
    do: Damage
    codes: frozenset[str]
    is_safe: bool = False


def case(do: Damage, *codes: str, safe: bool = False) -> object:
    return pytest.param(Case(do, frozenset(codes), safe), id=do.__name__)


CASES = [
    case(count_too_much, "host_counter", safe=True),
    case(count_too_many_gib, "pool_counter", safe=True),
    case(count_too_many_servers, "account_counter", safe=True),
    case(keep_the_room_of_a_deleted_one, "claim_without_owner", safe=True),
    case(keep_the_address_of_a_deleted_one, "address_without_owner", safe=True),
    case(keep_the_secrets_of_a_deleted_one, "secret_of_deleted", safe=True),
    case(leave_a_disk, "disk_leftover", safe=True),
    case(leave_a_seed, "disk_leftover", safe=True),
    case(leave_a_filter, "filter_leftover", safe=True),
    case(leave_a_serial_log, "serial_log_leftover", safe=True),
    case(leave_a_guest_that_is_off, "domain_leftover", safe=True),
    case(leave_an_upload, "upload_leftover", safe=True),
    case(lose_a_base_image, "image_missing", safe=True),
    case(leave_a_guest_that_runs, "domain_leftover"),
    case(define_a_guest_of_nobody, "domain_unknown"),
    case(put_a_disk_of_nobody, "disk_unknown"),
    case(put_a_filter_of_nobody, "filter_unknown"),
    case(lose_the_guest, "domain_missing"),
    case(lose_the_disk, "disk_missing"),
    case(lose_the_seed, "seed_missing"),
    case(lose_the_filter, "filter_missing"),
    case(give_it_a_second_disk, "disk_extra"),
    case(run_it_from_another_disk, "domain_disks"),
    case(give_it_more_cpus, "domain_definition"),
    case(take_half_of_its_memory, "domain_definition"),
    case(give_it_another_mac, "domain_definition"),
    case(plug_it_into_another_bridge, "domain_definition"),
    case(guard_it_with_the_filter_of_another, "domain_definition"),
    case(boot_it_from_its_seed, "domain_definition"),
    case(read_its_disk_as_raw, "domain_definition"),
    case(define_it_with_the_disk_of_another, "domain_definition"),
    case(define_it_on_two_hosts, "domain_twice", "domain_elsewhere"),
    case(replace_it_by_something_foreign, "domain_foreign_in_place", "domain_missing"),
    case(make_a_phantom, "phantom"),
    case(let_it_start_with_the_host, "autostart"),
    case(sell_an_address_twice, "address_twice"),
    case(sell_a_mac_twice, "mac_twice", "domain_definition"),
    case(hold_room_for_nobody, "claim_without_owner", "server_without_claim"),
    case(hold_an_address_for_nobody, "address_without_owner", "primary_ip_astray"),
    case(unlink_an_address, "address_unlinked"),
    case(hold_less_than_it_has, "claim_differs"),
    case(sell_more_than_there_is, "host_oversold"),
    case(forget_to_create, "lifecycle_stuck"),
    case(forget_to_delete, "lifecycle_stuck"),
    case(abandon_an_action, "action_abandoned"),
    case(be_late, "action_late"),
    case(leave_secrets_in_the_seed, "seed_secret_overdue"),
]


def everything(world: World) -> list[object]:
    """All records that an audit could change, and all that lies on the hosts."""
    records: list[object] = []
    for model in (Server, Host, StoragePool, CapacityClaim, IPAddress, PrimaryIP):
        records += list(model.objects.order_by("pk").values())
    # Not what was seen of them: a look writes that down.
    records += list(StagedImage.objects.order_by("pk").values("pk", "pool", "sha256", "volume"))
    records += list(Account.objects.order_by("pk").values())
    records += list(Action.objects.order_by("pk").values())
    return [*records, *on_hosts()]


def on_hosts() -> list[object]:
    found: list[object] = []
    for host in Host.objects.order_by("pk"):
        driver = World.driver(World, host)  # type: ignore[arg-type]
        found += [driver.domains(), driver.filters(), driver.volumes("vpspanel")]
    return found
