"""The anti-spoofing filter of one network card, as libvirt's nwfilter XML.

libvirt's own `clean-traffic` learns an address if it is given none, and knows
no IPv6. These rules name every address. They are stateless, sit at the bridge
(ebtables) and apply from the guest's first frame; running guests get a changed
filter as soon as it is redefined.

Each rule costs a process when a guest starts: libvirt runs ebtables once per
rule, one after another. So there is no rule that another one makes needless:
what is accepted names the card in the same rule, and what nothing accepts
falls through to one last drop.

Not covered: which address a neighbour advertisement speaks about, because no
rule of libvirt looks so deep. Its sender must be one of the guest's own
addresses, and redirects and router advertisements never leave the guest.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from xml.etree import ElementTree as ET

from hosts.virt import names
from hosts.virt.spec import FilterSpec
from hosts.virt.xml import add, document

Match = tuple[str, dict[str, str]]

ICMPV6 = {"protocol": "icmpv6"}
ROUTER_ADVERTISEMENT, REDIRECT = "134", "137"
# What a host says before it has an address: listener reports (131, 143) to join groups, a
# solicitation (135) to ask whether the address is free. The two above lie between and are dropped.
WITHOUT_ADDRESS = {"type": "131", "typeend": "143"}

# Broadcast, IPv4 multicast, IPv6 multicast (libvirt takes only masks that begin with ones).
GROUPS = (
    ("ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff"),
    ("01:00:5e:00:00:00", "ff:ff:ff:80:00:00"),
    ("33:33:00:00:00:00", "ff:ff:00:00:00:00"),
)


def filter_xml(spec: FilterSpec) -> str:
    """The filter of `spec`. Raises `ValueError` for a wrong name or address."""
    mac = names.mac_address(spec.mac)
    root = ET.Element("filter", {"name": names.filter_name(spec.name), "chain": "root"})
    add(root, "uuid", text=str(spec.uuid))
    priority = 100
    for action, direction, match in _rules(mac, spec):
        attributes = {"action": action, "direction": direction, "priority": str(priority)}
        rule = add(root, "rule", attributes)
        if match is not None:
            add(rule, match[0], match[1])
        priority += 1
    return document(root)


def _rules(mac: str, spec: FilterSpec) -> Iterator[tuple[str, str, Match | None]]:
    """(action, direction, match) in the order in which they are tried; "out" leaves the guest."""
    yield from _ipv4_out(mac, [str(ipaddress.IPv4Address(address)) for address in spec.ipv4])
    yield from _ipv6_out(mac, [ipaddress.IPv6Network(network) for network in spec.ipv6])
    # Other senders, other cards, VLAN tags, RARP, spanning tree and whatever else there is.
    yield "drop", "out", None
    # The other way: frames for this card and for groups, nothing that a bridge floods by mistake.
    yield "accept", "in", ("mac", {"dstmacaddr": mac})
    for address, mask in GROUPS:
        yield "accept", "in", ("mac", {"dstmacaddr": address, "dstmacmask": mask})
    yield "drop", "in", None


def _ipv4_out(mac: str, addresses: list[str]) -> Iterator[tuple[str, str, Match | None]]:
    for address in addresses:
        sender = {"srcmacaddr": mac, "arpsrcmacaddr": mac}
        yield "accept", "out", ("arp", {**sender, "arpsrcipaddr": address})
        # Before a host takes an address it asks, as nobody, whether it is free.
        probe = {"arpsrcipaddr": "0.0.0.0", "arpdstipaddr": address}  # noqa: S104
        yield "accept", "out", ("arp", {**sender, **probe})
    # To the ports of DHCP relays and clients (67, 68), from whatever port: no answer of a DHCP
    # server. Requests go with them, but nobody here is given an address by DHCP.
    if addresses:
        yield "drop", "out", ("ip", _udp_to("67", "68"))
    for address in addresses:
        yield "accept", "out", ("ip", {"srcmacaddr": mac, "srcipaddr": address})


def _ipv6_out(
    mac: str, networks: list[ipaddress.IPv6Network]
) -> Iterator[tuple[str, str, Match | None]]:
    if not networks:
        return
    # The same for DHCPv6: clients listen on 546, relays and servers on 547.
    yield "drop", "out", ("ipv6", _udp_to("546", "547"))
    for forbidden in (ROUTER_ADVERTISEMENT, REDIRECT):
        yield "drop", "out", ("ipv6", {**ICMPV6, "type": forbidden})
    card = {"srcmacaddr": mac}
    for network in networks:
        source = {"srcipaddr": str(network.network_address), "srcipmask": str(network.prefixlen)}
        yield "accept", "out", ("ipv6", {**card, **source})
    yield "accept", "out", ("ipv6", {**card, "srcipaddr": link_local(mac)})
    yield "accept", "out", ("ipv6", {**card, "srcipaddr": "::", **ICMPV6, **WITHOUT_ADDRESS})


def _udp_to(first: str, last: str) -> dict[str, str]:
    return {"protocol": "udp", "dstportstart": first, "dstportend": last}


def link_local(mac: str) -> str:
    """The link-local address that a card with that MAC address gives itself (modified EUI-64)."""
    octets = [int(part, 16) for part in mac.split(":")]
    octets[0] ^= 2
    interface = bytes([*octets[:3], 0xFF, 0xFE, *octets[3:]])
    return str(ipaddress.IPv6Address(b"\xfe\x80" + bytes(6) + interface))
