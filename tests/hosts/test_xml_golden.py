"""The documents that libvirt is given, compared with files and with libvirt's own schemas.

`GOLDEN=write pytest tests/hosts/test_xml_golden.py` writes the files anew.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from lxml import etree

from hosts.virt import nwfilter, xml
from hosts.virt.spec import DiskSpec, DomainSpec, FilterSpec, NetworkSpec, NicSpec

GOLDEN = Path(__file__).parent / "golden"
SCHEMAS = Path("/usr/share/libvirt/schemas")

DISK = DiskSpec(pool="vps", volume="server-17.qcow2", target="vda", format="qcow2", boot_order=1)
SEED = DiskSpec(pool="vps", volume="server-17-seed.iso", target="vdb", format="raw", readonly=True)
NIC = NicSpec(mac="52:54:00:00:00:11", network="vps", filter_name="vps-17")
DOMAIN = DomainSpec(
    uuid=UUID("6f1a7f0e-8e0c-4c1e-9d0a-000000000017"),
    name="vps-17",
    vcpus=2,
    memory_mib=2048,
    disks=(DISK, SEED),
    nics=(NIC,),
    virt_type="kvm",
    title="Shop of <Müller & Söhne>",
    metadata={"server": "17", "project": "4"},
)
CDROM = DiskSpec("vps", "img-17.raw", "sda", "raw", readonly=True, boot_order=1, cdrom=True)
WITH_ISO = replace(DOMAIN, disks=(replace(DISK, boot_order=2), SEED, CDROM))
EMULATED = replace(
    DOMAIN,
    virt_type="qemu",
    title="",
    metadata={},
    disks=(replace(DISK, boot_order=None),),
    nics=(NicSpec(mac="52:54:00:00:00:11", bridge="br0", filter_name="vps-17"),),
)
FILTER = FilterSpec(
    name="vps-17",
    uuid=UUID("6f1a7f0e-8e0c-4c1e-9d0a-00000000f117"),
    mac="52:54:00:00:00:11",
    ipv4=("192.0.2.17",),
    ipv6=("2001:db8:17::/64",),
)
MANY = replace(FILTER, ipv4=("192.0.2.17", "198.51.100.4"), ipv6=())
NETWORK = NetworkSpec("vps", "vpsbr0", ipv4_gateway="10.80.0.1/24", ipv6_gateway="fd80::1/48")

DOCUMENTS = {
    "domain-kvm": ("domain", xml.domain_xml(DOMAIN)),
    "domain-iso": ("domain", xml.domain_xml(WITH_ISO)),
    "domain-emulated": ("domain", xml.domain_xml(EMULATED)),
    "filter": ("nwfilter", nwfilter.filter_xml(FILTER)),
    "filter-two-addresses": ("nwfilter", nwfilter.filter_xml(MANY)),
    "network": ("network", xml.network_xml(NETWORK)),
    "pool": ("storagepool", xml.pool_xml("vps", "/var/lib/libvirt/images")),
    "volume-raw": ("storagevol", xml.raw_volume_xml("seed.iso", 1048576)),
    "volume-overlay": (
        "storagevol",
        xml.overlay_volume_xml("disk.qcow2", 10 * 1024**3, "/pool/base.qcow2", "qcow2"),
    ),
}


def schema(name: str) -> etree.RelaxNG:
    return etree.RelaxNG(etree.parse(SCHEMAS / f"{name}.rng"))


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_document_is_the_golden_one(name: str) -> None:
    file = GOLDEN / f"{name}.xml"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(DOCUMENTS[name][1])
    assert DOCUMENTS[name][1] == file.read_text()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_libvirts_schema_accepts_it(name: str) -> None:
    kind, document = DOCUMENTS[name]
    grammar = schema(kind)
    assert grammar.validate(etree.fromstring(document)), str(grammar.error_log)


def test_no_document_lets_libvirt_guess_a_format_or_open_a_port() -> None:
    for _kind, document in DOCUMENTS.values():
        root = etree.fromstring(document)
        assert root.xpath(".//disk[not(driver/@type)]") == []
        assert root.xpath(".//graphics[not(listen/@type='socket') or count(listen) > 1]") == []
        assert root.find(".//dhcp") is None


@pytest.mark.parametrize(
    "change",
    [
        {"virt_type": "lxc"},
        {"vcpus": 0},
        {"memory_mib": 0},
        {"name": "a/b"},
        {"name": ""},
        {"name": "-x"},
        {"title": "two\nlines"},
        {"title": "x" * 20_000},
        {"metadata": {"Server": "1"}},
        {"disks": (replace(DISK, format="vmdk"),)},
        {"disks": (replace(DISK, volume="../x"),)},
        {"disks": (replace(DISK, target="sda"),)},
        {"nics": (replace(NIC, filter_name=""),)},
        {"nics": (replace(NIC, filter_name="clean-traffic"),)},
        {"nics": (replace(NIC, mac="01:00:5e:00:00:01"),)},
        {"nics": (replace(NIC, bridge="br0"),)},
        {"nics": (replace(NIC, network=None),)},
    ],
    ids=lambda change: f"{next(iter(change))}={str(next(iter(change.values())))[:30]!r}",
)
def test_what_libvirt_must_not_be_given_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        xml.domain_xml(replace(DOMAIN, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"name": "no-vps"},
        {"mac": "52:54:00:00:00"},
        {"ipv4": ("192.0.2.0/24",)},
        {"ipv4": ("192.0.2.300",)},
        {"ipv6": ("2001:db8::1/64",)},
    ],
    ids=str,
)
def test_a_filter_without_exact_addresses_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        nwfilter.filter_xml(replace(FILTER, **change))  # type: ignore[arg-type]


def test_the_link_local_address_follows_from_the_mac() -> None:
    assert nwfilter.link_local("52:54:00:12:34:56") == "fe80::5054:ff:fe12:3456"
