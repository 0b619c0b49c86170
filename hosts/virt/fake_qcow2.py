"""The file that stands for every disk of a simulated host: a valid qcow2 with nothing in it."""

from __future__ import annotations

import struct

CLUSTER_BITS = 16
CLUSTER = 1 << CLUSTER_BITS
L2_COVERS = CLUSTER // 8 * CLUSTER  # bytes of the disk that one L1 entry stands for
HEADER_LENGTH = 104
EMPTY_BYTES = 4 * CLUSTER  # the length of every such file


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
