"""The machine that was measured on, and whether it can run guests."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import psutil

from tests.levels import missing


def describe() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = Path("/proc/cpuinfo").read_text()
    models = [line.partition(":")[2].strip() for line in cpu.splitlines() if "model name" in line]
    hardware = any(flag in cpu.split() for flag in ("vmx", "svm"))
    return {
        "cpus": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "memory_mib": psutil.virtual_memory().total // 1024**2,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "guests": "KVM" if hardware else "emulation (TCG)",
        "load": os.getloadavg()[0],
    }


def sentence(of: dict[str, Any]) -> str:
    """The same for people."""
    return (
        f"{of['cpus']} CPUs ({of['cpu']}), {of['memory_mib']} MiB, Linux {of['kernel']}, "
        f"Python {of['python']}, guests by {of['guests']}"
    )


def missing_for_guests() -> str:
    """Why no private KVM host can be started here; empty if one can."""
    return missing("qemu")
