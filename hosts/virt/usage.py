"""Who needs a volume: a function on an open connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import libvirt

from hosts.virt import names, storage
from hosts.virt.hostinfo import parse, refresh


def users(connection: Any, pool_name: str, name: str) -> list[str]:
    """See `Driver.volume_users`."""
    names.volume_name(name)
    pool = connection.storagePoolLookupByName(pool_name)
    refresh(pool)
    volume = storage.find_volume(pool, name)
    if volume is None:
        return []
    path = volume.path()
    # By the name alone: it may be written down as a relative path, or with a link in it.
    listed = storage.volumes(connection, pool_name)
    found = {one.name for one in listed if one.base.rpartition("/")[2] == name}
    for domain in connection.listAllDomains(0):
        if any(_names(described, path, pool_name, name) for described in _descriptions(domain)):
            found.add(domain.name())
    return sorted(found)


def _descriptions(domain: Any) -> Iterator[ET.Element]:
    """How it runs, if it does, and how it would start; nothing of one that has just gone."""
    for flags in (0, libvirt.VIR_DOMAIN_XML_INACTIVE):
        try:
            yield parse(domain.XMLDesc(flags))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                raise


def _names(described: ET.Element, path: str, pool: str, volume: str) -> bool:
    """Whether a disk, or what libvirt knows to be below it, is that volume."""
    return any(
        source.get("file") == path or (source.get("pool"), source.get("volume")) == (pool, volume)
        for disk in described.iterfind("devices/disk")
        for source in disk.iter("source")
    )
