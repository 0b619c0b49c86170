"""Frames that a guest may and may not send, and a way to send them past a filter.

Runs inside a private host as `python spoof_frames.py FROM TO`: sends every
frame out of interface FROM, listens on TO, prints the names of those that came
through, one per line. Needs nothing but the standard library.
"""

from __future__ import annotations

import itertools
import re
import socket
import struct
import sys
import time
from ipaddress import ip_address

MAC, OTHER_MAC = "52:54:00:aa:00:11", "52:54:00:aa:00:99"
IPV4, OTHER_IPV4 = "10.84.0.17", "10.84.0.99"
IPV6, OTHER_IPV6 = "fd84:17::5", "fd84:99::5"
LINK_LOCAL, GATEWAY_LINK_LOCAL = "fe80::5054:ff:feaa:11", "fe80::1"
BROADCAST, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
ETH_P_ALL = 3
HOP_BY_HOP, FRAGMENT, DESTINATION_OPTIONS, ICMPV6, UDP = 0, 44, 60, 58, 17
LISTEN_SECONDS = 1.5


MARK = re.compile(rb"MARK[0-9]{4}")
_numbers = itertools.count()


def mark() -> bytes:
    """Eight bytes by which one frame is known again."""
    return b"MARK%04d" % next(_numbers)


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def ip_bytes(address: str) -> bytes:
    return ip_address(address).packed


def ethernet(kind: int, payload: bytes, *, src: str = MAC, dst: str = BROADCAST) -> bytes:
    return mac_bytes(dst) + mac_bytes(src) + struct.pack("!H", kind) + payload


def checksum(data: bytes) -> int:
    """That of IP, UDP and ICMPv6, over whole 16-bit words."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def arp(sender_ip: str, target_ip: str, *, sender_mac: str = MAC, src: str = MAC) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    body += mac_bytes(sender_mac) + ip_bytes(sender_ip) + bytes(6) + ip_bytes(target_ip) + mark()
    return ethernet(0x0806, body, src=src)


def udp(sport: int = 4000, dport: int = 4001) -> bytes:
    return struct.pack("!HHHH", sport, dport, 16, 0) + mark()


def ipv4(source: str, payload: bytes, *, src: str = MAC) -> bytes:
    return ethernet(0x0800, ipv4_packet(source, payload), src=src)


def ipv4_packet(source: str, payload: bytes) -> bytes:
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 7, 0, 64, UDP, 0)
    head += ip_bytes(source) + ip_bytes("10.84.0.255")
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def ipv6(source: str, kind: int, payload: bytes, *extensions: int, src: str = MAC) -> bytes:
    """With empty extension headers before the payload, as evaders use them."""
    addresses = ip_bytes(source) + ip_bytes("ff02::1")
    # The bridge itself looks into listener reports and drops those with a wrong checksum.
    total = checksum(addresses + struct.pack("!II", len(payload), kind) + payload)
    place = 2 if kind == ICMPV6 else 6
    chain = payload[:place] + struct.pack("!H", total) + payload[place + 2 :]
    following = kind
    for extension in reversed(extensions):
        body = bytes(7) if extension == FRAGMENT else bytes([0, 1, 4, 0, 0, 0, 0])
        chain = bytes([following]) + body + chain
        following = extension
    head = struct.pack("!IHBB", 0x60000000, len(chain), following, 255)
    return ethernet(0x86DD, head + addresses + chain, src=src, dst=ALL_NODES)


def icmpv6(kind: int) -> bytes:
    return struct.pack("!BBHI", kind, 0, 0, 0) + bytes(16) + mark()


ALLOWED = {
    "arp request": arp(IPV4, OTHER_IPV4),
    "gratuitous arp": arp(IPV4, IPV4),
    "arp probe for the own address": arp("0.0.0.0", IPV4),
    "ipv4": ipv4(IPV4, udp()),
    "ipv6": ipv6(IPV6, UDP, udp()),
    "ipv6 second address of the network": ipv6("fd84:17::abcd:1", UDP, udp()),
    "solicitation from the link-local address": ipv6(LINK_LOCAL, ICMPV6, icmpv6(135)),
    "duplicate address detection": ipv6("::", ICMPV6, icmpv6(135)),
    "listener report before an address": ipv6("::", ICMPV6, icmpv6(143), HOP_BY_HOP),
    "dhcp client's own port as a source": ipv4(IPV4, udp(68, 4001)),
}

FORBIDDEN = {
    "ipv4 from another card": ipv4(IPV4, udp(), src=OTHER_MAC),
    "ipv6 from another card": ipv6(IPV6, UDP, udp(), src=OTHER_MAC),
    "arp from another card": arp(IPV4, OTHER_IPV4, src=OTHER_MAC),
    "arp that names another card": arp(IPV4, OTHER_IPV4, sender_mac=OTHER_MAC),
    "arp for another address": arp(OTHER_IPV4, IPV4),
    "gratuitous arp for another address": arp(OTHER_IPV4, OTHER_IPV4),
    "arp probe for another address": arp("0.0.0.0", OTHER_IPV4),
    "ipv4 from another address": ipv4(OTHER_IPV4, udp()),
    "ipv4 from nowhere": ipv4("0.0.0.0", udp(68, 67)),
    "dhcp offer": ipv4(IPV4, udp(67, 68)),
    "dhcp offer from another port": ipv4(IPV4, udp(4000, 68)),
    "dhcp answer to a relay": ipv4(IPV4, udp(67, 67)),
    "ipv6 from another network": ipv6(OTHER_IPV6, UDP, udp()),
    "ipv6 from the gateway's link-local address": ipv6(GATEWAY_LINK_LOCAL, ICMPV6, icmpv6(136)),
    "ipv6 from nowhere": ipv6("::", UDP, udp()),
    "dhcpv6 reply": ipv6(LINK_LOCAL, UDP, udp(547, 546)),
    "dhcpv6 reply from another port": ipv6(LINK_LOCAL, UDP, udp(4000, 546)),
    "dhcpv6 answer to a relay": ipv6(LINK_LOCAL, UDP, udp(547, 547)),
    "router advertisement": ipv6(LINK_LOCAL, ICMPV6, icmpv6(134)),
    "router advertisement from the network": ipv6(IPV6, ICMPV6, icmpv6(134)),
    "router advertisement behind options": ipv6(LINK_LOCAL, ICMPV6, icmpv6(134), HOP_BY_HOP),
    "router advertisement behind destination options": ipv6(
        LINK_LOCAL, ICMPV6, icmpv6(134), DESTINATION_OPTIONS
    ),
    "router advertisement behind both": ipv6(
        LINK_LOCAL, ICMPV6, icmpv6(134), HOP_BY_HOP, DESTINATION_OPTIONS
    ),
    "router advertisement in a fragment": ipv6(LINK_LOCAL, ICMPV6, icmpv6(134), FRAGMENT),
    "redirect": ipv6(LINK_LOCAL, ICMPV6, icmpv6(137)),
    "vlan": ethernet(0x8100, b"\0\x05\x08\0" + ipv4_packet(IPV4, udp())),
    "vlan in vlan": ethernet(0x88A8, b"\0\x05\x81\0\0\x06\x08\0" + ipv4_packet(IPV4, udp())),
    "rarp": ethernet(0x8035, arp(IPV4, IPV4)[14:]),
    "link discovery": ethernet(0x88CC, mark() + bytes(40), dst="01:80:c2:00:00:0e"),
    "spanning tree": ethernet(38, b"\x42\x42\x03" + bytes(27) + mark(), dst="01:80:c2:00:00:00"),
    "another protocol": ethernet(0x9000, mark() + bytes(40)),
}


def main(sender: str, listener: str) -> None:
    """Send, listen, print."""
    raw = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) for _ in "ab"]
    raw[0].bind((sender, 0))
    raw[1].bind((listener, 0))
    raw[1].settimeout(0.1)
    frames = {**ALLOWED, **FORBIDDEN}
    for frame in frames.values():
        raw[0].send(frame)
    arrived: set[bytes] = set()
    end = time.monotonic() + LISTEN_SECONDS
    while time.monotonic() < end:
        try:
            arrived |= set(MARK.findall(raw[1].recv(4096)))
        except TimeoutError:
            continue
    for name, frame in frames.items():
        if MARK.findall(frame)[0] in arrived:
            print(name)


if __name__ == "__main__":
    main(*sys.argv[1:])
