"""Specs written down as libvirt's XML. Nothing is decided here, nothing is asked of a host.

Built with ElementTree, so that no text can become markup; each function
returns a whole document and raises `ValueError` for what libvirt must not be
given (see names.py). Element order and values follow libvirt's schemas.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from uuid import UUID
from xml.etree import ElementTree as ET

from hosts.virt import names
from hosts.virt.spec import DiskSpec, DomainSpec, NetworkSpec, NicSpec

NAMESPACE = "https://vpspanel.example/xmlns/domain/1"
SERIAL_LOG_DIR = "/var/log/libvirt/vpspanel"
_SERIAL_LOG = re.compile(r"vps-([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.log(?:\.\d+)?")

ET.register_namespace("vps", NAMESPACE)


def add(
    parent: ET.Element, tag: str, attributes: Mapping[str, str] | None = None, text: str = ""
) -> ET.Element:
    """A new last child of `parent`."""
    child = ET.SubElement(parent, tag, dict(attributes or {}))
    if text:
        child.text = text
    return child


def document(root: ET.Element) -> str:
    """The document, indented, ending in a newline."""
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


# --- domains ----------------------------------------------------------------


def domain_xml(spec: DomainSpec, *, hypervisor: str = "") -> str:
    """The definition of a guest; `hypervisor` replaces the type for libvirt's test driver.

    A crash of QEMU destroys the domain (`on_crash`): preserving it would keep
    the memory and a monitor that answers nobody. A kernel that panics is left to
    its own `kernel.panic`, because no panic device tells QEMU about it.
    """
    if spec.virt_type not in ("kvm", "qemu"):
        raise ValueError(f"{spec.virt_type!r} is neither kvm nor qemu")
    if spec.vcpus < 1 or spec.memory_mib < 1:
        raise ValueError("A guest needs at least one vCPU and one MiB")
    root = ET.Element("domain", {"type": hypervisor or spec.virt_type})
    add(root, "name", text=names.object_name(spec.name))
    add(root, "uuid", text=str(spec.uuid))
    if spec.title:
        add(root, "title", text=names.text(spec.title))
    _metadata(root, spec.metadata)
    for tag in ("memory", "currentMemory"):
        add(root, tag, {"unit": "MiB"}, str(spec.memory_mib))
    add(root, "vcpu", {"placement": "static"}, str(spec.vcpus))
    _boot(root, spec.disks)
    _processor(root, spec)
    for event, then in (("poweroff", "destroy"), ("reboot", "restart"), ("crash", "destroy")):
        add(root, f"on_{event}", text=then)
    # A guest that sleeps cannot be woken by the panel's verbs.
    sleep = add(root, "pm")
    add(sleep, "suspend-to-mem", {"enabled": "no"})
    add(sleep, "suspend-to-disk", {"enabled": "no"})
    _devices(root, spec)
    return document(root)


def _metadata(root: ET.Element, entries: Mapping[str, str]) -> None:
    """The mark that makes a domain ours: present even without any entry."""
    add(root, "metadata").append(_mark(entries, f"{{{NAMESPACE}}}"))


def _mark(entries: Mapping[str, str], space: str) -> ET.Element:
    server = ET.Element(f"{space}server")
    for key in sorted(entries):
        entry = {"name": names.metadata_key(key)}
        add(server, f"{space}entry", entry, names.text(entries[key]))
    return server


def mark_xml(entries: Mapping[str, str]) -> str:
    """The same mark alone, without its namespace: libvirt adds that where it is set."""
    return document(_mark(entries, ""))


def _boot(root: ET.Element, disks: tuple[DiskSpec, ...]) -> None:
    os = add(root, "os")
    add(os, "type", {"arch": "x86_64", "machine": "q35"}, "hvm")
    # libvirt refuses both ways of saying it in one document.
    if all(disk.boot_order is None for disk in disks):
        add(os, "boot", {"dev": "hd"})


def _processor(root: ET.Element, spec: DomainSpec) -> None:
    features = add(root, "features")
    add(features, "acpi")
    add(features, "apic")
    # host-model survives a live migration to a slightly different machine;
    # the emulator can do everything it knows.
    mode = "host-model" if spec.virt_type == "kvm" else "maximum"
    cpu = add(root, "cpu", {"mode": mode})
    # One socket: some guest systems are licensed for, or limited to, very few.
    topology = {"sockets": "1", "dies": "1", "cores": str(spec.vcpus), "threads": "1"}
    add(cpu, "topology", topology)
    clock = add(root, "clock", {"offset": "utc"})
    add(clock, "timer", {"name": "rtc", "tickpolicy": "catchup"})
    add(clock, "timer", {"name": "pit", "tickpolicy": "delay"})
    add(clock, "timer", {"name": "hpet", "present": "no"})


def _devices(root: ET.Element, spec: DomainSpec) -> None:
    devices = add(root, "devices")
    for disk in spec.disks:
        _disk(devices, disk)
    for nic in spec.nics:
        _nic(devices, nic)
    _consoles(devices, spec)
    agent = add(devices, "channel", {"type": "unix"})
    add(agent, "target", {"type": "virtio", "name": "org.qemu.guest_agent.0"})
    # Without a tablet the pointer of a VNC viewer and that of the guest drift apart.
    add(devices, "input", {"type": "tablet", "bus": "usb"})
    video = add(devices, "video")
    add(video, "model", {"type": "vga", "vram": "16384", "heads": "1", "primary": "yes"})
    balloon = add(devices, "memballoon", {"model": "virtio"})
    add(balloon, "stats", {"period": "10"})
    random = add(devices, "rng", {"model": "virtio"})
    add(random, "backend", {"model": "random"}, "/dev/urandom")


def _disk(devices: ET.Element, spec: DiskSpec) -> None:
    if spec.format not in ("qcow2", "raw"):
        raise ValueError(f"{spec.format!r} is neither qcow2 nor raw")
    disk = add(devices, "disk", {"type": "volume", "device": "disk"})
    driver = {"name": "qemu", "type": spec.format, "cache": "none", "discard": "unmap"}
    if not spec.readonly:
        driver["detect_zeroes"] = "unmap"
    add(disk, "driver", driver)
    source = {"pool": names.object_name(spec.pool), "volume": names.volume_name(spec.volume)}
    add(disk, "source", source)
    add(disk, "target", {"dev": names.disk_target(spec.target), "bus": "virtio"})
    if spec.boot_order is not None:
        add(disk, "boot", {"order": str(spec.boot_order)})
    if spec.readonly:
        add(disk, "readonly")


def _nic(devices: ET.Element, spec: NicSpec) -> None:
    if (spec.network is None) == (spec.bridge is None):
        raise ValueError("A network card needs a network or a bridge, not both")
    kind = "network" if spec.network is not None else "bridge"
    nic = add(devices, "interface", {"type": kind})
    add(nic, "mac", {"address": names.mac_address(spec.mac)})
    if spec.network is not None:
        add(nic, "source", {"network": names.object_name(spec.network)})
    elif spec.bridge is not None:
        add(nic, "source", {"bridge": names.bridge_name(spec.bridge)})
    add(nic, "model", {"type": "virtio"})
    add(nic, "filterref", {"filter": names.filter_name(spec.filter_name)})


def _consoles(devices: ET.Element, spec: DomainSpec) -> None:
    """Serial, also into a file (seriallog.py); VNC on a UNIX socket, never a port."""
    serial = add(devices, "serial", {"type": "pty"})
    add(serial, "log", {"file": f"{SERIAL_LOG_DIR}/{serial_log_name(spec.uuid)}", "append": "on"})
    add(serial, "target", {"port": "0"})
    console = add(devices, "console", {"type": "pty"})
    add(console, "target", {"type": "serial", "port": "0"})
    graphics = add(devices, "graphics", {"type": "vnc"})
    add(graphics, "listen", {"type": "socket"})


def serial_log_name(uuid: UUID) -> str:
    """The file that a guest's serial port is also written to."""
    return f"vps-{uuid}.log"


def serial_log_owner(name: str) -> UUID | None:
    """Whose file it is, an older one (NAME.0 …) included; None if it is not such a file."""
    found = _SERIAL_LOG.fullmatch(name)
    return UUID(found[1]) if found else None


# --- networks, pools, volumes -----------------------------------------------


def network_xml(spec: NetworkSpec) -> str:
    """A bridge with the gateways' addresses. Neither DHCP nor DNS, so nothing listens on it."""
    root = ET.Element("network")
    add(root, "name", text=names.object_name(spec.name))
    add(root, "forward", {"mode": "nat"})
    add(root, "bridge", {"name": names.bridge_name(spec.bridge), "stp": "off", "delay": "0"})
    add(root, "dns", {"enable": "no"})
    ipv4 = ipaddress.IPv4Interface(spec.ipv4_gateway)
    ipv6 = ipaddress.IPv6Interface(spec.ipv6_gateway)
    for family, gateway in (("ipv4", ipv4), ("ipv6", ipv6)):
        prefix = str(gateway.network.prefixlen)
        add(root, "ip", {"family": family, "address": str(gateway.ip), "prefix": prefix})
    return document(root)


def pool_xml(name: str, path: str) -> str:
    """A directory pool. libvirt makes a directory that is missing and leaves one that is there."""
    root = ET.Element("pool", {"type": "dir"})
    add(root, "name", text=names.object_name(name))
    if not path.startswith("/"):
        raise ValueError(f"{path!r} is not an absolute path")
    target = add(root, "target")
    add(target, "path", text=names.text(path))
    return document(root)


def raw_volume_xml(name: str, capacity_bytes: int) -> str:
    """A sparse raw file that only root reads, until it is attached to a guest."""
    root = _volume(name, capacity_bytes)
    target = add(root, "target")
    add(target, "format", {"type": "raw"})
    add(add(target, "permissions"), "mode", text="0600")
    return document(root)


def overlay_volume_xml(name: str, capacity_bytes: int, base_path: str, base_format: str) -> str:
    """A qcow2 file on top of `base_path`.

    128 KiB clusters with subclusters: a first write of 4 KiB then copies 4 KiB
    of the base and not a whole cluster.
    """
    root = _volume(name, capacity_bytes)
    target = add(root, "target")
    add(target, "format", {"type": "qcow2"})
    add(add(target, "permissions"), "mode", text="0600")
    add(target, "compat", text="1.1")
    add(target, "clusterSize", {"unit": "KiB"}, "128")
    add(add(target, "features"), "extended_l2")
    backing = add(root, "backingStore")
    add(backing, "path", text=names.text(base_path))
    add(backing, "format", {"type": base_format})
    return document(root)


def flat_volume_xml(name: str, capacity_bytes: int) -> str:
    """A qcow2 file that stands on nothing."""
    root = _volume(name, capacity_bytes)
    target = add(root, "target")
    add(target, "format", {"type": "qcow2"})
    add(add(target, "permissions"), "mode", text="0600")
    add(target, "compat", text="1.1")
    return document(root)


def _volume(name: str, capacity_bytes: int) -> ET.Element:
    root = ET.Element("volume")
    add(root, "name", text=names.volume_name(name))
    add(root, "capacity", {"unit": "bytes"}, str(capacity_bytes))
    add(root, "allocation", {"unit": "bytes"}, "0")
    return root
