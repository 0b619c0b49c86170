"""What psutil knows of the machine that the panel runs on, and libvirt does not tell of any.

libvirt's node statistics have neither the load average nor swap, and their
"cached" memory counts files that are kept in memory, which nobody gets back.
"""

from __future__ import annotations

import os
from dataclasses import replace
from urllib.parse import urlsplit

import psutil

from hosts.virt.spec import HostLoad
from hosts.virt.uri import is_local

MIB = 1024 * 1024


def is_this_machine(uri: str) -> bool:
    """Whether that host is the machine itself, and no simulated one."""
    return urlsplit(uri).scheme.startswith("qemu") and is_local(uri)


def completed(load: HostLoad) -> HostLoad:
    """The same load with what only the machine itself can tell."""
    memory = psutil.virtual_memory()
    return replace(
        load,
        memory_total_mib=memory.total // MIB,
        memory_used_mib=(memory.total - memory.available) // MIB,
        swap_used_mib=psutil.swap_memory().used // MIB,
        load_average=os.getloadavg()[0],
    )
