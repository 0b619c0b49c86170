"""A machine is enrolled once, under one name; repeating it refreshes facts and keeps decisions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from itertools import count
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hosts.enrol import Share, enroll_host, prepare_network, probe_host, reserve_of
from hosts.errors import EnrolError
from hosts.models import Host, HostStatus, Location, StoragePool
from hosts.virt.errors import AlreadyExists, HostUnreachable
from hosts.virt.fake import FakeDriver
from hosts.virt.registry import driver_for
from hosts.virt.spec import NetworkSpec

NETWORK = NetworkSpec("vpspanel", "vpspanel0", "10.80.0.1/24", "fd80::1/48")
_numbers = count(1)


@pytest.fixture
def location(db: None) -> Location:
    return Location.objects.create(name="here")


@pytest.fixture
def uri() -> Iterator[str]:
    """A simulated machine that nobody knows yet."""
    uri = f"fake:///enrol{next(_numbers)}?cpus=4&memory_mib=16384&disk_gib=100"
    yield uri
    driver(uri).wipe()


def driver(uri: str) -> FakeDriver:
    found = driver_for(uri)
    assert isinstance(found, FakeDriver)
    return found


def enroll(location: Location, uri: str, name: str = "kvm1", **changes: Any) -> Host:
    wanted: dict[str, Any] = {"pool_path": "/pool", "network": NETWORK}
    return enroll_host(name=name, location=location, uri=uri, **{**wanted, **changes})


def test_the_row_has_the_facts_and_the_machine_is_ready(location: Location, uri: str) -> None:
    host = enroll(location, uri)
    seen = driver(uri).probe()
    assert (host.host_uuid, host.cpus, host.memory_mib) == (seen.uuid, 4, 16384)
    assert (host.virt_type, host.virt_reason) == (seen.virt_type, seen.virt_reason)
    assert (host.status, host.status_reason) == (HostStatus.REACHABLE, "")
    assert host.seen_at is not None
    assert (host.network, host.bridge) == ("vpspanel", "")
    assert driver(uri).network_record("vpspanel") == NETWORK
    pool = host.pools.get()
    assert (pool.name, pool.path) == ("vpspanel", "/pool")
    assert driver(uri).pool("vpspanel").path == "/pool"


def test_some_of_the_machine_is_left_to_itself(location: Location, uri: str) -> None:
    host = enroll(location, uri)
    assert host.vcpus_limit == 16
    assert host.memory_limit_mib == 16384 - 1638
    assert host.pools.get().limit_gib == 90


def test_what_may_be_sold_can_be_said(location: Location, uri: str) -> None:
    share = Share(vcpus_per_cpu=1.5, memory_reserve_mib=384, disk_reserve_gib=60)
    host = enroll(location, uri, share=share)
    assert (host.vcpus_limit, host.memory_limit_mib) == (6, 16000)
    assert host.pools.get().limit_gib == 40


@pytest.mark.parametrize(
    ("whole", "kept"), [(0, 0), (1000, 500), (4096, 1024), (10240, 1024), (65536, 6553)]
)
def test_the_reserve_is_never_more_than_half(whole: int, kept: int) -> None:
    assert reserve_of(whole, at_least=1024) == kept


def test_again_refreshes_facts_and_keeps_decisions(location: Location, uri: str) -> None:
    host = enroll(location, uri)
    Host.objects.filter(pk=host.pk).update(
        vcpus_limit=3, accepting=False, memory_used_mib=77, cpus=1, hostname="old",
        status=HostStatus.UNREACHABLE, status_reason="gone",
    )  # fmt: skip
    StoragePool.objects.update(limit_gib=5, used_gib=4)
    again = enroll(location, uri)
    assert again.pk == host.pk
    assert (again.cpus, again.hostname) == (4, driver(uri).options.name)
    assert (again.vcpus_limit, again.accepting, again.memory_used_mib) == (3, False, 77)
    assert (again.status, again.status_reason) == (HostStatus.REACHABLE, "")
    assert list(StoragePool.objects.values_list("limit_gib", "used_gib")) == [(5, 4)]


def test_a_machine_that_moved_to_another_address_is_the_same(location: Location, uri: str) -> None:
    host = enroll(location, uri)
    Host.objects.filter(pk=host.pk).update(uri="qemu+ssh://old/system")
    assert enroll(location, uri).pk == host.pk
    assert Host.objects.get().uri == uri


def test_one_machine_has_one_name(location: Location, uri: str) -> None:
    enroll(location, uri)
    with pytest.raises(EnrolError, match="This machine is enrolled already, as kvm1"):
        enroll(location, uri, name="kvm2")
    assert Host.objects.count() == 1


def test_one_name_is_one_machine(location: Location, uri: str) -> None:
    enroll(location, uri)
    with pytest.raises(EnrolError, match="kvm1 is another machine"):
        enroll(location, "fake:///somebody-else")
    assert Host.objects.get().uri == uri


def test_another_machine_behind_a_known_address_is_told(location: Location, uri: str) -> None:
    enroll(location, uri)
    Host.objects.update(host_uuid="00000000-0000-0000-0000-000000000001")
    with pytest.raises(EnrolError, match="another machine answers there now"):
        enroll(location, uri, name="kvm2")


def test_a_refused_machine_is_left_untouched(location: Location, uri: str) -> None:
    enroll(location, uri, network=None)
    with pytest.raises(EnrolError):
        enroll(location, uri, name="kvm2", pool_name="other")
    assert [pool.name for pool in driver(uri).probe().pools] == ["vpspanel"]
    assert driver(uri).network_record("vpspanel") is None


def test_a_host_does_not_change_its_place(location: Location, uri: str) -> None:
    enroll(location, uri)
    with pytest.raises(EnrolError, match="kvm1 stands in here"):
        enroll(Location.objects.create(name="there"), uri)


def test_a_silent_machine_leaves_no_row(location: Location, uri: str) -> None:
    driver(uri).inject("probe", HostUnreachable)
    with pytest.raises(EnrolError, match="No libvirt answers at fake:///enrol"):
        enroll(location, uri)
    assert not Host.objects.exists()


def test_a_pool_that_cannot_be_made_leaves_no_row(location: Location, uri: str) -> None:
    driver(uri).inject("ensure_pool", AlreadyExists("Pool vpspanel exists at /elsewhere"))
    with pytest.raises(EnrolError, match="could not be prepared: Pool vpspanel exists"):
        enroll(location, uri)
    assert not Host.objects.exists()


@pytest.mark.parametrize("uri", ["xen:///", "nonsense", "fake:///a/b"])
def test_an_address_that_nobody_understands(location: Location, uri: str) -> None:
    with pytest.raises(EnrolError):
        probe_host(uri)


def test_a_network_or_a_bridge(location: Location, uri: str) -> None:
    with pytest.raises(EnrolError, match="not both"):
        enroll(location, uri, bridge="br0")
    assert enroll(location, uri, network=None, bridge="br0").bridge == "br0"


def test_a_network_that_is_there_is_taken_as_it_is(uri: str) -> None:
    driver(uri).ensure_network(NETWORK)
    other = NetworkSpec("vpspanel", "vpspanel0", "10.80.7.1/24", "fd87::1/48")
    assert prepare_network(uri, other) == NETWORK


# --- commands -------------------------------------------------------------------


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def test_host_add_and_host_check(location: Location, uri: str) -> None:
    assert "For sale: 16 vCPUs" in run(
        "host_add", "kvm1", "--uri", uri, "--location", "here", "--bridge", "br0"
    )
    assert "This is a simulated host" in run("host_check", "kvm1")
    told = json.loads(run("host_check", "kvm1", "--json"))
    assert (told["cpus"], told["wrong"]) == (4, [])
    assert told["pools"][0]["name"] == "vpspanel"


def test_host_check_tells_what_has_changed(location: Location, uri: str) -> None:
    enroll(location, uri)
    Host.objects.update(virt_type="qemu", network="gone")
    StoragePool.objects.update(name="lost")
    out = StringIO()
    with pytest.raises(CommandError, match="not what the records say"):
        call_command("host_check", "kvm1", stdout=out, stderr=out)
    for words in ("enrolled with qemu", "network gone is not there", "pool lost is not there"):
        assert words in out.getvalue()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("host_check", "nobody"), "There is no host nobody"),
        (("host_check", "xen:///"), "not the address of a KVM host"),
        (("host_add", "a", "--uri", "fake:///a", "--location", "mars"), "no location mars"),
        (
            ("host_add", "a", "--uri", "fake:///a", "--location", "here", "--network", "n"),
            "--ipv4 and --ipv6",
        ),
    ],
)
def test_mistakes_are_told_in_words(
    location: Location, arguments: tuple[str, ...], words: str
) -> None:
    with pytest.raises(CommandError, match=words):
        run(*arguments)
