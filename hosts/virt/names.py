"""What may be called what on a host: everything that ends in XML or in a file name.

An allow-list for names, and for free text the rule that XML itself has: what
cannot be one text node is refused, never repaired.
All functions return their argument or raise `ValueError` with a sentence that
says what is wrong.
"""

from __future__ import annotations

import re
import unicodedata

TEXT_LIMIT = 16 * 1024  # characters of one title or metadata value

_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_VOLUME = re.compile(r"[A-Za-z0-9._][A-Za-z0-9._+-]{0,199}")
_FILTER = re.compile(r"vps-[A-Za-z0-9._-]{1,100}")
# The kernel's limit is 15 characters.
_BRIDGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_TARGET = re.compile(r"vd[a-z]")
_CDROM = re.compile(r"sd[a-z]")


def _matching(kind: str, pattern: re.Pattern[str], value: str) -> str:
    if not pattern.fullmatch(value):
        raise ValueError(f"{value[:80]!r} is not a name for a {kind}: {pattern.pattern}")
    return value


def object_name(value: str) -> str:
    """The name of a domain, pool or network."""
    return _matching("domain, pool or network", _DOMAIN, value)


def volume_name(value: str) -> str:
    """The name of a volume: one file of a directory, never a path."""
    if value in (".", ".."):
        raise ValueError(f"{value!r} is not a volume")
    return _matching("volume", _VOLUME, value)


def filter_name(value: str) -> str:
    """The name of one of our network filters: it starts with "vps-"."""
    return _matching("network filter", _FILTER, value)


def bridge_name(value: str) -> str:
    """The name of a network interface of the host."""
    return _matching("bridge", _BRIDGE, value)


def disk_target(value: str) -> str:
    """vda … vdz."""
    return _matching("virtio disk", _TARGET, value)


def cdrom_target(value: str) -> str:
    """sda … sdz."""
    return _matching("CD-ROM", _CDROM, value)


def metadata_key(value: str) -> str:
    """The name of one entry of our metadata."""
    return _matching("metadata entry", _KEY, value)


def mac_address(value: str) -> str:
    """A unicast MAC address in lower case; in capitals it is accepted and lowered."""
    mac = _matching("network card", _MAC, value.lower())
    if int(mac[:2], 16) & 1:
        raise ValueError(f"{value!r} is a group address, not that of one network card")
    return mac


def text(value: str) -> str:
    """Text that XML carries unchanged as one node: no control characters, no half characters."""
    if len(value) > TEXT_LIMIT:
        raise ValueError(f"Text of {len(value)} characters is too long: at most {TEXT_LIMIT}")
    for character in value:
        # Cc: controls, line ends among them, which libvirt refuses in titles and XML parsers
        # rewrite. Cs: surrogates, which no encoding carries. The last two are not XML.
        if unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff":
            raise ValueError(f"Text must not contain the character U+{ord(character):04X}")
    return value
