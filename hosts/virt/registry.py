"""From a host's URI to the one driver that this process uses for it."""

from __future__ import annotations

import threading

from hosts.virt.driver import Driver
from hosts.virt.fake import FakeDriver

try:
    from hosts.virt.libvirt import LibvirtDriver
except ImportError as error:  # a machine that only shows simulated hosts needs no libvirt
    if error.name not in ("libvirt", "hosts.virt.libvirt"):
        raise
    LibvirtDriver = None  # type: ignore[assignment,misc]

_drivers: dict[str, Driver] = {}
_lock = threading.Lock()


def driver_for(uri: str) -> Driver:
    """The driver for `uri`, the same one at every call. Opens no connection.

    Raises `ValueError`, with a sentence fit for a form, if no driver knows such URIs.
    """
    with _lock:
        driver = _drivers.get(uri)
        if driver is None:
            driver = _drivers[uri] = _make(uri)
        return driver


def close_all() -> None:
    """Let go of every driver: their connections and threads end."""
    with _lock:
        drivers = list(_drivers.values())
        _drivers.clear()
    for driver in drivers:
        driver.close()


def _make(uri: str) -> Driver:
    scheme = uri.partition(":")[0].partition("+")[0]
    if scheme == "fake":
        return FakeDriver(uri)
    if scheme not in ("qemu", "test"):
        raise ValueError(
            f"{uri!r} is not the address of a KVM host. Use qemu:///system for this machine, "
            "qemu+ssh://root@host/system for another one, or fake:///name for a simulated host."
        )
    if LibvirtDriver is None:
        raise ValueError(
            f"{uri!r} needs libvirt's Python module, which is not installed here. "
            "Install it (libvirt-python), or use a simulated host: fake:///name."
        )
    return LibvirtDriver(uri)
