"""What is measured on the machine that the panel runs on, and on no other."""

from __future__ import annotations

import os

import psutil
import pytest

from hosts.virt.spec import HostLoad
from hosts.virt.this_machine import completed, is_this_machine
from tests.hosts.real_guests import Guests, guests
from tests.kvm import kvm_host

__all__ = ["guests", "kvm_host"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("qemu:///system", True),
        ("qemu+unix:///system?socket=/run/x", True),
        ("qemu+ssh://root@192.0.2.1/system", False),
        ("qemu+tls://192.0.2.1/system", False),
        ("test:///default", False),
        ("fake:///one", False),
    ],
)
def test_which_hosts_are_this_machine(uri: str, expected: bool) -> None:
    assert is_this_machine(uri) is expected


def test_psutil_completes_what_libvirt_says() -> None:
    load = completed(HostLoad(cpu_busy_ns=1, cpu_idle_ns=2, memory_used_mib=0))
    assert (load.cpu_busy_ns, load.cpu_idle_ns) == (1, 2)
    assert load.memory_total_mib == psutil.virtual_memory().total // 1024**2
    assert load.memory_used_mib is not None
    assert 0 < load.memory_used_mib < load.memory_total_mib
    assert load.load_average == pytest.approx(os.getloadavg()[0], abs=5)
    assert load.swap_used_mib is not None


@pytest.mark.qemu
def test_the_driver_of_a_local_host_says_it(guests: Guests) -> None:
    load = guests.driver.load()
    assert load.load_average is not None
    assert load.cpu_busy_ns
