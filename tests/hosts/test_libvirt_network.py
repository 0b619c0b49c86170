"""The filter against real frames, sent through a card that carries it on a real bridge."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import libvirt
import pytest

from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.spec import FilterSpec, NetworkSpec, NicSpec
from tests.hosts import spoof_frames
from tests.hosts.real_guests import Guests, guests
from tests.kvm import KvmHost, kvm_host

pytestmark = pytest.mark.qemu

__all__ = ["guests", "kvm_host"]

NETWORK = NetworkSpec("spoof", "spoofbr", ipv4_gateway="10.84.0.1/24", ipv6_gateway="fd84::1/64")
FILTER = FilterSpec(
    name="vps-spoof",
    uuid=uuid4(),
    mac=spoof_frames.MAC,
    ipv4=(spoof_frames.IPV4,),
    ipv6=("fd84:17::/64",),
)
BINDING = (
    "<filterbinding><owner><name>spoof</name><uuid>{uuid}</uuid></owner>"
    "<portdev name='guest-host'/><mac address='{mac}'/><filterref filter='{filter}'/>"
    "</filterbinding>"
)


@pytest.fixture
def network(kvm_host: KvmHost) -> Iterator[KvmHost]:
    """A bridge with two cards on it: `guest-in` is a guest's side, `near-in` its neighbour's."""
    driver = LibvirtDriver(kvm_host.uri)
    driver.ensure_network(NETWORK)
    driver.ensure_filter(FILTER)
    driver.close()
    for card in ("guest", "near"):
        kvm_host.exec(
            *f"ip link add {card}-in type veth peer name {card}-host".split(),
        )
        kvm_host.exec(*f"ip link set {card}-host master {NETWORK.bridge} up".split())
        kvm_host.exec(*f"ip link set {card}-in up".split())
    yield kvm_host
    for card in ("guest", "near"):
        kvm_host.exec(*f"ip link del {card}-in".split())
    outside = libvirt.open(kvm_host.uri)
    outside.networkLookupByName(NETWORK.name).destroy()
    outside.networkLookupByName(NETWORK.name).undefine()
    outside.nwfilterLookupByName(FILTER.name).undefine()
    outside.close()


def arrived(host: KvmHost) -> set[str]:
    script = Path(spoof_frames.__file__).resolve()
    return set(host.exec(sys.executable, str(script), "guest-in", "near-in").splitlines())


def test_only_the_guests_own_frames_pass(network: KvmHost) -> None:
    every = set(spoof_frames.ALLOWED) | set(spoof_frames.FORBIDDEN)
    # Without the filter all of them arrive, or the bridge itself keeps them: so the test sees them.
    assert arrived(network) >= every - {"link discovery", "spanning tree"}
    outside = libvirt.open(network.uri)
    document = BINDING.format(uuid=uuid4(), mac=FILTER.mac, filter=FILTER.name)
    binding = outside.nwfilterBindingCreateXML(document, 0)
    try:
        assert arrived(network) == set(spoof_frames.ALLOWED)
    finally:
        binding.delete()
        outside.close()


def test_a_guest_has_its_rules_and_no_port_while_it_runs(network: KvmHost, guests: Guests) -> None:
    nic = NicSpec(mac=FILTER.mac, network=NETWORK.name, filter_name=FILTER.name)
    spec = guests.running(nics=(nic,))
    tap = network.vnet_of(spec.uuid)
    rules = network.exec("ebtables", "-t", "nat", "-L")
    assert f"-i {tap} -j libvirt-I-{tap}" in rules
    out = rules.partition(f"Bridge chain: libvirt-I-{tap}")[2].partition("Bridge chain")[0]
    accepted = [rule for rule in out.splitlines() if rule.rstrip().endswith("-j ACCEPT")]
    assert accepted
    assert all(f"-s {FILTER.mac} " in rule for rule in accepted)
    assert out.strip().splitlines()[-1].strip() == "-j DROP"
    assert spoof_frames.IPV4 in rules
    assert "fd84:17::/64" in rules
    listening = network.exec("ss", "-Hltnu")
    assert listening == ""
    sockets = list((network.dir / "lib" / "qemu").glob(f"domain-*-{spec.name}/vnc.sock"))
    assert len(sockets) == 1
    guests.driver.destroy(spec.uuid)
    assert tap not in network.exec("ebtables", "-t", "nat", "-L")
