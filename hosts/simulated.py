"""Images for simulated hosts: valid, empty and tiny, so that every step has real bytes to carry."""

from __future__ import annotations

import hashlib

from hosts.library import SIMULATED, image_dir, is_usable, only_one
from hosts.models import Image, ImageStatus, ImageType
from hosts.virt.fake_qcow2 import empty_qcow2

SYSTEMS = (
    ("tiny", "Tiny Linux (simulated)", "tiny", "1", 1, 64),
    ("debian-12", "Debian 12 (simulated)", "debian", "12", 3, 256),
)
VIRTUAL_SIZE = 64 * 1024**2


def ensure_simulated_images() -> None:
    """Empty disks under well-known names, for simulated hosts: nothing in them ever runs.

    An image of that name with a real file is left alone.
    """
    for name, description, flavor, version, disk, memory in SYSTEMS:
        known = Image.objects.filter(name=name).first()
        if known is not None and is_usable(known):
            continue
        data = empty_qcow2(VIRTUAL_SIZE, name.encode())
        path = image_dir() / f"{SIMULATED}{name}.qcow2"
        with only_one(name):
            draft = path.with_suffix(".part")
            draft.write_bytes(data)
            draft.replace(path)
        facts = {
            "type": ImageType.SYSTEM,
            "status": ImageStatus.AVAILABLE,
            "description": description,
            "os_flavor": flavor,
            "os_version": version,
            "min_disk_gib": disk,
            "min_memory_mib": memory,
            "sha256": hashlib.sha256(data).hexdigest(),
            "format": "qcow2",
            "file": path.name,
            "size_bytes": len(data),
            "virtual_size_bytes": VIRTUAL_SIZE,
            "has_agent": True,
            "progress": 100,
            "progress_step": "",
            "error": "",
        }
        Image.objects.update_or_create(name=name, defaults=facts)


def withdraw_simulated_images() -> None:
    """On real hosts an empty disk would be sold: take them out until something real is there."""
    Image.objects.filter(file__startswith=SIMULATED).update(
        status=ImageStatus.UNAVAILABLE, file="", sha256="", progress=0
    )
