"""The panel's worker, with a stop-watch on libvirt: `python -m tests.bench.timed_worker LOG`.

Every call into libvirt's C library that a step makes becomes a line
`start, seconds, name` of LOG; start is by the wall clock.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import django
import libvirtmod
from django.core.management import call_command

LANES = {"libvirt-query", "libvirt-action", "libvirt-upload"}


def timed(name: str, call: Callable[..., Any], log: TextIO) -> Callable[..., Any]:
    """`call`, written down when a thread of a driver's lane makes it."""

    def measured(*arguments: Any) -> Any:
        if threading.current_thread().name not in LANES:
            return call(*arguments)
        began, started = time.time(), time.perf_counter()
        try:
            return call(*arguments)
        finally:
            log.write(f"{began:.6f} {time.perf_counter() - started:.6f} {name}\n")

    return measured


def main(path: str) -> None:
    """Work until SIGTERM."""
    with Path(path).open("a", buffering=1) as log:
        # libvirt.py looks its functions up in this module at each call.
        for name in dir(libvirtmod):
            call = getattr(libvirtmod, name)
            if name.startswith("vir") and callable(call):
                setattr(libvirtmod, name, timed(name, call, log))
        django.setup()
        call_command("worker")


if __name__ == "__main__":
    main(*sys.argv[1:])
