"""Images for simulated hosts: valid, empty and tiny, so that every step has real bytes to carry."""

from __future__ import annotations

import hashlib
import struct

from hosts.library import SIMULATED, image_dir, is_usable, only_one
from hosts.models import Image, ImageStatus, ImageType

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
L2_COVERS = CLUSTER // 8 * CLUSTER  # bytes of the disk that one L1 entry stands for
HEADER_LENGTH = 104


def empty_qcow2(virtual_size_bytes: int, marker: bytes = b"") -> bytes:
    """A qcow2 file (version 3) of an empty disk, four clusters long.

    `marker` goes where no reader looks, so that two images have two checksums.
    The layout is that of QEMU's docs/interop/qcow2.txt: header, refcount
    table, refcount block, L1 table.
    """
    l1_size = -(-virtual_size_bytes // L2_COVERS)
    if l1_size * 8 + len(marker) > CLUSTER:
        raise ValueError("The simulated disk is too large for one L1 cluster")
    header = struct.pack(
        ">4sIQIIQIIQQIIQQQQII",
        b"QFI\xfb",
        3,  # version
        0,  # backing file: none
        0,
        CLUSTER_BITS,
        virtual_size_bytes,
        0,  # encryption: none
        l1_size,
        3 * CLUSTER,  # L1 table
        1 * CLUSTER,  # refcount table
        1,  # its length in clusters
        0,  # snapshots: none
        0,
        0,  # incompatible features
        0,  # compatible features
        0,  # autoclear features
        4,  # refcount order: 16 bits
        HEADER_LENGTH,
    )
    refcount_table = struct.pack(">Q", 2 * CLUSTER)
    refcount_block = struct.pack(">4H", 1, 1, 1, 1)
    l1_table = bytes(CLUSTER - len(marker)) + marker
    parts = (header, refcount_table, refcount_block, l1_table)
    return b"".join(part.ljust(CLUSTER, b"\0") for part in parts)


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
