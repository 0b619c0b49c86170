"""Images as an attacker would send them: a sound qcow2 of our own make, and ways to spoil it."""

from __future__ import annotations

import struct
from collections.abc import Callable

CLUSTER = 65536
VIRTUAL = 64 * 1024**2
GIB = 1024**3

#: Offsets of header fields.
BACKING_OFFSET, BACKING_LENGTH, CLUSTER_BITS, SIZE, CRYPT = 8, 16, 20, 24, 32
L1_ENTRIES, L1_OFFSET, REFCOUNTS_OFFSET, REFCOUNTS_CLUSTERS = 36, 40, 48, 56
SNAPSHOTS, SNAPSHOTS_OFFSET = 60, 64
INCOMPATIBLE, COMPATIBLE, AUTOCLEAR, REFCOUNT_ORDER, HEADER_LENGTH = 72, 80, 88, 96, 100
COMPRESSION = 104
L1 = 3 * CLUSTER
L2 = 4 * CLUSTER
DATA = 5 * CLUSTER


def qcow2(virtual: int = VIRTUAL) -> bytearray:
    """header | refcount table | refcount block | L1 | L2 | one data cluster."""
    image = bytearray(6 * CLUSTER)
    struct.pack_into(
        ">4sIQIIQIIQQIIQQQQII",
        image,
        0,
        *(b"QFI\xfb", 3, 0, 0, 16, virtual, 0, 1, L1, CLUSTER, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    struct.pack_into(">Q", image, CLUSTER, 2 * CLUSTER)
    struct.pack_into(">6H", image, 2 * CLUSTER, *[1] * 6)
    struct.pack_into(">Q", image, L1, L2 | 1 << 63)
    struct.pack_into(">Q", image, L2, DATA | 1 << 63)
    image[DATA : DATA + 4] = b"data"
    return image


def with_u32(offset: int, value: int) -> bytes:
    image = qcow2()
    struct.pack_into(">I", image, offset, value)
    return bytes(image)


def with_u64(offset: int, value: int) -> bytes:
    image = qcow2()
    struct.pack_into(">Q", image, offset, value)
    return bytes(image)


def with_extension(kind: int, content: bytes, length: int | None = None) -> bytes:
    image = qcow2()
    struct.pack_into(">II", image, 104, kind, len(content) if length is None else length)
    image[112 : 112 + len(content)] = content
    return bytes(image)


def with_backing(name: bytes) -> bytes:
    image = qcow2()
    struct.pack_into(">QI", image, BACKING_OFFSET, 512, len(name))
    image[512 : 512 + len(name)] = name
    return bytes(image)


def old_version_with_backing() -> bytes:
    image = bytearray(with_backing(b"/etc/shadow"))
    struct.pack_into(">I", image, 4, 2)
    return bytes(image)


def data_file() -> bytes:
    image = bytearray(with_extension(0x44415441, b"/etc/shadow"))
    struct.pack_into(">Q", image, INCOMPATIBLE, 4)
    return bytes(image)


def all_places_share_one_cluster() -> bytes:
    """A small file that would unfold to a disk full of data."""
    image = qcow2()
    for number in range(CLUSTER // 8):
        struct.pack_into(">Q", image, L2 + 8 * number, DATA | 1 << 63)
    return bytes(image)


def all_l1_entries_share_one_l2() -> bytes:
    image = qcow2(virtual=GIB)
    struct.pack_into(">I", image, L1_ENTRIES, 2)
    struct.pack_into(">Q", image, L1 + 8, L2 | 1 << 63)
    return bytes(image)


def all_places_share_one_compressed_cluster() -> bytes:
    image = qcow2()
    for number in range(CLUSTER // 8):
        struct.pack_into(">Q", image, L2 + 8 * number, DATA | 1 << 62)
    return bytes(image)


def raw(mark: bytes = b"", offset: int = 0, size: int = 1 << 20) -> bytes:
    """A raw disk with a boot sector, and perhaps somebody's mark in it."""
    image = bytearray(size)
    image[510:512] = b"\x55\xaa"
    image[offset : offset + len(mark)] = mark
    return bytes(image)


def iso_with_boot_sector() -> bytes:
    return raw(b"CD001", 0x8001)


def vhd_with_footer() -> bytes:
    return raw(b"conectix", (1 << 20) - 512)


def vmdk_descriptor() -> bytes:
    text = b'# Disk DescriptorFile\nversion=1\nRW 2048 FLAT "/etc/shadow" 0\n'
    return text.ljust(1 << 20, b"\0")


def sparse_monster() -> bytes:
    """200 KiB that declare 100 TiB."""
    return bytes(qcow2(virtual=100 * 1024 * GIB))


Maker = Callable[[], bytes]

#: name -> (how it is made, the code with which it must be refused)
HOSTILE: dict[str, tuple[Maker, str]] = {
    # what would make QEMU open something else
    "backing file": (lambda: with_backing(b"/etc/shadow"), "backing_file"),
    "backing file, json": (
        lambda: with_backing(b'json:{"driver":"nbd","host":"10.0.0.1"}'),
        "backing_file",
    ),
    "backing file, http": (lambda: with_backing(b"http://169.254.169.254/x"), "backing_file"),
    "backing file, version 2": (old_version_with_backing, "backing_file"),
    "backing file without a length": (lambda: with_u64(BACKING_OFFSET, 512), "backing_file"),
    "backing format only": (lambda: with_extension(0xE2792ACA, b"raw"), "backing_file"),
    "data file": (data_file, "data_file"),
    "data file bit only": (lambda: with_u64(INCOMPATIBLE, 4), "data_file"),
    "data file name only": (lambda: with_extension(0x44415441, b"/etc/shadow"), "data_file"),
    "raw data file bit": (lambda: with_u64(AUTOCLEAR, 2), "data_file"),
    "VMDK descriptor": (vmdk_descriptor, "unknown_format"),
    # what cannot be judged
    "unknown incompatible bit": (lambda: with_u64(INCOMPATIBLE, 1 << 5), "unknown_feature"),
    "highest incompatible bit": (lambda: with_u64(INCOMPATIBLE, 1 << 63), "unknown_feature"),
    "unknown auto-clear bit": (lambda: with_u64(AUTOCLEAR, 1 << 40), "unknown_feature"),
    "bitmaps": (lambda: with_extension(0x23852875, bytes(24)), "unknown_feature"),
    "snapshots inside": (lambda: with_u32(SNAPSHOTS, 1), "unknown_feature"),
    "4 billion snapshots": (lambda: with_u32(SNAPSHOTS, 0xFFFFFFFF), "unknown_feature"),
    "AES": (lambda: with_u32(CRYPT, 1), "encrypted"),
    "LUKS in qcow2": (lambda: with_u32(CRYPT, 2), "encrypted"),
    "encryption header only": (lambda: with_extension(0x0537BE77, bytes(16)), "encrypted"),
    # sizes
    "100 TiB": (sparse_monster, "size"),
    "no size": (lambda: with_u64(SIZE, 0), "size"),
    "largest size": (lambda: with_u64(SIZE, 2**64 - 512), "size"),
    "half a sector": (lambda: with_u64(SIZE, VIRTUAL - 100), "size"),
    # damage
    "dirty": (lambda: with_u64(INCOMPATIBLE, 1), "corrupt"),
    "corrupt bit": (lambda: with_u64(INCOMPATIBLE, 2), "corrupt"),
    "version 1": (lambda: with_u32(4, 1), "corrupt"),
    "version 4": (lambda: with_u32(4, 4), "corrupt"),
    "tiny clusters": (lambda: with_u32(CLUSTER_BITS, 8), "corrupt"),
    "huge clusters": (lambda: with_u32(CLUSTER_BITS, 63), "corrupt"),
    "shift overflow": (lambda: with_u32(CLUSTER_BITS, 0xFFFFFFFF), "corrupt"),
    "short header": (lambda: with_u32(HEADER_LENGTH, 72), "corrupt"),
    "crooked header": (lambda: with_u32(HEADER_LENGTH, 109), "corrupt"),
    "endless header": (lambda: with_u32(HEADER_LENGTH, 0xFFFFFFF8), "corrupt"),
    "extension without end": (lambda: with_extension(0x6803F857, b"", 0xFFFFFFF0), "corrupt"),
    "wide refcounts": (lambda: with_u32(REFCOUNT_ORDER, 7), "corrupt"),
    "compression without its bit": (
        lambda: bytes(with_u32(HEADER_LENGTH, 112)[:104]) + b"\x01" + with_u32(0, 0)[105:],
        "corrupt",
    ),
    "no L1": (lambda: with_u32(L1_ENTRIES, 0), "corrupt"),
    "L1 of 32 GiB": (lambda: with_u32(L1_ENTRIES, 0xFFFFFFFF), "corrupt"),
    "L1 in the header": (lambda: with_u64(L1_OFFSET, 0), "corrupt"),
    "L1 behind the end": (lambda: with_u64(L1_OFFSET, 1 << 40), "corrupt"),
    "L1 askew": (lambda: with_u64(L1_OFFSET, L1 + 1), "corrupt"),
    "no refcounts": (lambda: with_u64(REFCOUNTS_OFFSET, 0), "corrupt"),
    "refcounts behind the end": (lambda: with_u64(REFCOUNTS_OFFSET, 1 << 50), "corrupt"),
    "refcounts without end": (lambda: with_u32(REFCOUNTS_CLUSTERS, 0xFFFFFFFF), "corrupt"),
    "L2 behind the end": (lambda: with_u64(L1, 1 << 40), "corrupt"),
    "L2 is the L1": (lambda: with_u64(L2, L2), "corrupt"),
    "data behind the end": (lambda: with_u64(L2, 1 << 40), "corrupt"),
    "one cluster for all": (all_places_share_one_cluster, "corrupt"),
    "one L2 for all": (all_l1_entries_share_one_l2, "corrupt"),
    "one compressed cluster for all": (all_places_share_one_compressed_cluster, "corrupt"),
    "cut in the header": (lambda: bytes(qcow2()[:80]), "corrupt"),
    "cut in the tables": (lambda: bytes(qcow2()[: L1 + 4]), "corrupt"),
    "only a mark": (lambda: b"QFI\xfb", "corrupt"),
    # other formats
    "VMDK": (lambda: raw(b"KDMV"), "unknown_format"),
    "VMDK, old": (lambda: raw(b"COWD"), "unknown_format"),
    "VDI": (lambda: raw(b"\x7f\x10\xda\xbe", 0x40), "unknown_format"),
    "VHDX": (lambda: raw(b"vhdxfile"), "unknown_format"),
    "VHD": (vhd_with_footer, "unknown_format"),
    "QED": (lambda: raw(b"QED\0"), "unknown_format"),
    "LUKS": (lambda: raw(b"LUKS\xba\xbe"), "unknown_format"),
    "ISO with a boot sector": (iso_with_boot_sector, "unknown_format"),
    "DMG": (lambda: raw(b"koly", (1 << 20) - 512), "unknown_format"),
    "gzip": (lambda: raw(b"\x1f\x8b"), "unknown_format"),
    "a web page": (lambda: b"<html>404 Not Found</html>" * 100, "unknown_format"),
    "nothing": (lambda: b"", "unknown_format"),
    "zeros": (lambda: bytes(1 << 20), "unknown_format"),
    "raw, half a sector": (lambda: raw(size=(1 << 20) + 100), "size"),
}
