"""What a server is made of: records in, specs out. All policy is here, and no I/O.

The seed follows cloud-init's NoCloud contract (cloudinit docs, "NoCloud"):
`user-data` is the customer's alone, `vendor-data` is ours, and `network-config`
is version 2, matched by MAC, static. Once a guest has booted, its seed is
written again without secrets but with the same instance id, so cloud-init
finds nothing new to do.
"""

from __future__ import annotations

import ipaddress
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from hosts.models import Family, Host, IPAddress
from hosts.virt.spec import DiskSpec, DomainSpec, FilterSpec, NicSpec
from vpspanel.servers.models import Server

SEED_BYTES = 1024 * 1024
# Else cloud-init applies the network configuration of the seed at the first boot only.
NETWORK_AT_EACH_BOOT = {"updates": {"network": {"when": ["boot-new-instance", "boot"]}}}
_FILTER_NAMESPACE = uuid.UUID("5ae4b2f0-6a2b-4f7e-9d5c-0a3d6b1f8c11")


@dataclass(frozen=True, slots=True)
class Secrets:
    """What a seed holds only until the first boot is over."""

    root_password_hash: str = ""
    user_data: str = ""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A server with everything that its specs are made from, loaded once."""

    server: Server
    host: Host
    addresses: Sequence[IPAddress] = field(default_factory=tuple)

    def domain(self, *, rescue: bool = False) -> DomainSpec:
        """The guest; with `rescue` it boots the rescue system, its own disk comes second."""
        server, host = self.server, self.host
        return DomainSpec(
            uuid=server.uuid,
            name=server.domain_name,
            title=server.name,
            vcpus=server.vcpus,
            memory_mib=server.memory_mib,
            virt_type=host.virt_type,
            disks=self._rescue_disks() if rescue else self._disks(),
            nics=(
                NicSpec(
                    mac=server.mac,
                    network=host.network or None,
                    bridge=None if host.network else host.bridge,
                    filter_name=server.filter_name,
                ),
            ),
            metadata={"server": str(server.pk), "project": str(server.project_id)},
        )

    def _disks(self) -> tuple[DiskSpec, ...]:
        """An ISO is booted from first, as long as it is there and can be booted from.

        A guest that was taken over has no seed: its cloud-init would begin a new instance.
        """
        server, iso = self.server, self.server.iso
        disk = _disk(server, server.disk_volume(), "vda", boot=1 if iso is None else 2)
        own = (disk,) if server.has_adopted_disk else (disk, _seed(server, "vdb"))
        if iso is None:
            return own
        cdrom = DiskSpec(
            server.pool, iso.volume, "sda", "raw", readonly=True, boot_order=1, cdrom=True
        )
        return (*own, cdrom)

    def _rescue_disks(self) -> tuple[DiskSpec, ...]:
        """Its own seed is left out: the rescue system has one of its own."""
        server = self.server
        disk, seed = server.rescue_volumes
        return (
            _disk(server, disk, "vda", boot=1),
            _disk(server, server.disk_volume(), "vdb"),
            _seed(server, "vdc", seed),
        )

    def filter(self) -> FilterSpec:
        """The addresses that its network card may use."""
        return FilterSpec(
            name=self.server.filter_name,
            uuid=uuid.uuid5(_FILTER_NAMESPACE, str(self.server.uuid)),
            mac=self.server.mac,
            ipv4=tuple(a.address for a in self.addresses if a.family == Family.V4),
            ipv6=tuple(a.address for a in self.addresses if a.family == Family.V6),
        )

    def seed_files(self, secrets: Secrets, *, boot_hash: str = "") -> dict[str, bytes]:
        """The files of the seed.

        With `boot_hash` the guest sets root's password to it at each boot,
        whether or not cloud-init takes it for the first one.
        """
        files = {
            "meta-data": _yaml(self._meta_data()),
            "network-config": _yaml(self.network_config()),
            "user-data": (secrets.user_data or "#cloud-config\n{}\n").encode(),
            "vendor-data": b"#cloud-config\n" + _yaml(_vendor_data(secrets, boot_hash)),
        }
        password_hash = boot_hash or secrets.root_password_hash
        if password_hash:
            files["root-password-hash"] = f"{password_hash}\n".encode()
        return files

    def rescue_seed_files(self, keys: Sequence[str], password_hash: str) -> dict[str, bytes]:
        """The files of the rescue system's seed: who may log in, and its addresses."""
        meta_data = {
            "instance-id": f"{self.server.uuid}-rescue",
            "local-hostname": "rescue",
            "public-keys": [*keys],
        }
        vendor_data = _vendor_data(Secrets(root_password_hash=password_hash), "")
        return {
            "meta-data": _yaml(meta_data),
            "network-config": _yaml(self.network_config()),
            "user-data": b"#cloud-config\n{}\n",
            "vendor-data": b"#cloud-config\n" + _yaml(vendor_data),
        }

    def _meta_data(self) -> Mapping[str, Any]:
        return {
            "instance-id": f"{self.server.uuid}-{self.server.instance}",
            "local-hostname": self.server.name,
            "public-keys": list(self.server.authorized_keys),
        }

    def network_config(self) -> Mapping[str, Any]:
        """Static addresses, matched by MAC. IPv6 guests get the first address of their /64."""
        addresses: list[str] = []
        routes: list[dict[str, Any]] = []
        dns: list[str] = []
        for address in self.addresses:
            own, gateway = guest_address(address), address.pool.gateway
            addresses.append(own)
            routes.append(_default_route(own, gateway))
            dns += [server for server in address.pool.dns_servers if server not in dns]
        nic: dict[str, Any] = {
            "match": {"macaddress": self.server.mac},
            "set-name": "eth0",
            "dhcp4": False,
            "dhcp6": False,
            "accept-ra": False,
            "addresses": addresses,
            "routes": routes,
        }
        if dns:
            nic["nameservers"] = {"addresses": dns}
        return {"version": 2, "ethernets": {"eth0": nic}}


def _disk(server: Server, volume: str, target: str, *, boot: int | None = None) -> DiskSpec:
    return DiskSpec(server.pool, volume, target, format="qcow2", boot_order=boot)


def _seed(server: Server, target: str, volume: str = "") -> DiskSpec:
    """A virtio disk and no CD-ROM: Debian's cloud kernel has no AHCI driver."""
    return DiskSpec(server.pool, volume or server.seed_volume, target, format="raw", readonly=True)


def guest_address(address: IPAddress) -> str:
    """What the guest configures: its IPv4 with the pool's prefix, or ::1 of its /64."""
    if address.family == Family.V4:
        return f"{address.address}/{ipaddress.ip_network(address.pool.network).prefixlen}"
    network = ipaddress.IPv6Network(address.address)
    return f"{network[1]}/{network.prefixlen}"


def _default_route(own: str, gateway: str) -> dict[str, Any]:
    """The default route; told to be on-link where the gateway lies outside the guest's prefix."""
    interface, via = ipaddress.ip_interface(own), ipaddress.ip_address(gateway)
    everything = "0.0.0.0/0" if via.version == 4 else "::/0"
    route: dict[str, Any] = {"to": everything, "via": gateway}
    if via not in interface.network and not via.is_link_local:
        route["on-link"] = True
    return route


def _vendor_data(secrets: Secrets, boot_hash: str) -> dict[str, Any]:
    """Our part: root may log in with the key, or with the password if one was made."""
    config: dict[str, Any] = {
        "disable_root": False,
        "ssh_pwauth": bool(secrets.root_password_hash),
        **NETWORK_AT_EACH_BOOT,
    }
    if secrets.root_password_hash:
        config["chpasswd"] = {
            "expire": False,
            "users": [{"name": "root", "password": secrets.root_password_hash}],
        }
    if boot_hash:
        # bootcmd runs at every boot, unlike chpasswd, which is once per instance.
        config["bootcmd"] = [["sh", "-c", f"echo 'root:{boot_hash}' | chpasswd -e"]]
    return config


def _yaml(value: Mapping[str, Any]) -> bytes:
    """Block-style YAML: scalars are quoted where needed, so customer text stays one scalar."""
    return yaml.safe_dump(
        value, default_flow_style=False, allow_unicode=False, sort_keys=False, width=1_000_000
    ).encode()
