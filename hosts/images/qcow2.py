"""Our own reader of qcow2 headers and tables, which trusts nothing that it reads.

It runs before QEMU's code touches a file from outside, because QEMU would follow what such a file
says: a backing file or a data file names any file of the host. Layout and limits are those of
QEMU's `docs/interop/qcow2.txt`.
"""

from __future__ import annotations

import array
import os
import struct
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NoReturn

from hosts.images.errors import ImageError, ImageErrorCode

MAGIC = b"QFI\xfb"
CPU_SECONDS = 30

_HEADER_V2 = struct.Struct(">4sIQIIQIIQQIIQ")  # 72 bytes
_HEADER_V3 = struct.Struct(">QQQII")  # the next 32
_EXTENSION = struct.Struct(">II")

_BACKING_FORMAT, _BITMAPS = 0xE2792ACA, 0x23852875
_ENCRYPTION, _DATA_FILE = 0x0537BE77, 0x44415441

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION_TYPE, _EXTENDED_L2 = 1, 2, 4, 8, 16
_RAW_EXTERNAL = 2  # auto-clear
_ALLOWED_INCOMPATIBLE = _COMPRESSION_TYPE | _EXTENDED_L2

MAX_L1_BYTES = 32 * 1024**2
MAX_REFCOUNT_TABLE_BYTES = 8 * 1024**2
MAX_CLUSTERS = 1 << 26  # of the file: one byte of our memory for each
_OFFSET_MASK = 0x00FF_FFFF_FFFF_FE00
_COMPRESSED = 1 << 62


@dataclass(frozen=True, slots=True)
class Qcow2Facts:
    """What a sound header says."""

    version: int
    virtual_size_bytes: int
    cluster_bytes: int
    compression: str  # "zlib" or "zstd"
    extended_l2: bool


def read_qcow2(file: BinaryIO, *, max_virtual_bytes: int) -> Qcow2Facts:
    """The facts of a qcow2 image that stands on its own.

    Raises ImageError: CORRUPT, BACKING_FILE, DATA_FILE, ENCRYPTED,
    UNKNOWN_FEATURE, SIZE, or LIMIT if reading it takes too long.
    """
    reader = _Reader(file, max_virtual_bytes)
    facts = reader.header()
    reader.extensions()
    reader.tables(facts)
    return facts


def _corrupt(what: str) -> NoReturn:
    raise ImageError(ImageErrorCode.CORRUPT, f"the qcow2 image is damaged: {what}")


class _Reader:
    def __init__(self, file: BinaryIO, max_virtual_bytes: int) -> None:
        self.file = file
        self.max_virtual_bytes = max_virtual_bytes
        self.size = file.seek(0, os.SEEK_END)
        self.cluster = 0
        self.header_bytes = 72
        self.l1_offset = self.l1_entries = 0
        self.give_up_at = time.process_time() + CPU_SECONDS

    def read(self, offset: int, length: int) -> bytes:
        """Exactly these bytes, or damaged."""
        if offset + length > self.size:
            _corrupt("it points behind its own end")
        self.file.seek(offset)
        data = self.file.read(length)
        if len(data) != length:
            _corrupt("it ends too early")
        return data

    # --- header

    def header(self) -> Qcow2Facts:
        fields = _HEADER_V2.unpack(self.read(0, _HEADER_V2.size))
        magic, version, backing_offset, _, cluster_bits, virtual = fields[:6]
        crypt_method, l1_entries, l1_offset, refcounts_offset, refcounts_clusters = fields[6:11]
        snapshots = fields[11]
        if magic != MAGIC or version not in (2, 3):
            _corrupt("no qcow2 header of version 2 or 3")
        if backing_offset:
            raise ImageError(
                ImageErrorCode.BACKING_FILE, "the image wants another file behind it (backing file)"
            )
        if crypt_method:
            raise ImageError(ImageErrorCode.ENCRYPTED, "the image is encrypted")
        incompatible, compression = self.features() if version == 3 else (0, "zlib")
        extended = bool(incompatible & _EXTENDED_L2)
        if not (14 if extended else 9) <= cluster_bits <= 21:
            _corrupt(f"clusters of 2^{cluster_bits} bytes")
        if snapshots:
            raise ImageError(
                ImageErrorCode.UNKNOWN_FEATURE, "the image carries snapshots of its own inside"
            )
        self.cluster = 1 << cluster_bits
        if self.header_bytes > self.cluster:
            _corrupt("the header is longer than a cluster")
        self.check_size(virtual)
        self.check_tables(l1_offset, l1_entries, virtual, extended)
        self.check_refcounts(refcounts_offset, refcounts_clusters)
        return Qcow2Facts(version, virtual, self.cluster, compression, extended)

    def features(self) -> tuple[int, str]:
        """Incompatible feature bits and compression; refuses all that is not known harmless."""
        incompatible, _, autoclear, refcount_order, self.header_bytes = _HEADER_V3.unpack(
            self.read(72, _HEADER_V3.size)
        )
        if incompatible & _EXTERNAL_DATA or autoclear & _RAW_EXTERNAL:
            raise ImageError(
                ImageErrorCode.DATA_FILE, "the image keeps its data in another file (data file)"
            )
        if incompatible & (_DIRTY | _CORRUPT):
            _corrupt("it says so itself (dirty or corrupt bit)")
        if unknown := incompatible & ~_ALLOWED_INCOMPATIBLE:
            raise ImageError(
                ImageErrorCode.UNKNOWN_FEATURE, f"unknown incompatible features {unknown:#x}"
            )
        if autoclear:
            raise ImageError(
                ImageErrorCode.UNKNOWN_FEATURE, f"unknown auto-clear features {autoclear:#x}"
            )
        if refcount_order > 6:
            _corrupt(f"refcounts of 2^{refcount_order} bits")
        if self.header_bytes < 104 or self.header_bytes % 8:
            _corrupt(f"a header of {self.header_bytes} bytes")
        kind = self.read(104, 1)[0] if self.header_bytes > 104 else 0
        if kind > 1 or bool(kind) != bool(incompatible & _COMPRESSION_TYPE):
            _corrupt(f"compression {kind}")
        return incompatible, "zstd" if kind else "zlib"

    def check_size(self, virtual: int) -> None:
        if not 0 < virtual <= self.max_virtual_bytes or virtual % 512:
            raise ImageError(
                ImageErrorCode.SIZE,
                f"a disk of {virtual} bytes; allowed are up to {self.max_virtual_bytes}",
            )

    def check_tables(self, offset: int, entries: int, virtual: int, extended: bool) -> None:
        l2_entries = self.cluster // (16 if extended else 8)
        needed = -(-virtual // (self.cluster * l2_entries))
        if entries < needed or entries * 8 > MAX_L1_BYTES:
            _corrupt(f"an L1 table with {entries} entries where {needed} are needed")
        self.check_offset(offset, "L1 table")
        if offset + entries * 8 > self.size:
            _corrupt("the L1 table lies behind the end")
        self.l1_offset, self.l1_entries = offset, entries

    def check_refcounts(self, offset: int, clusters: int) -> None:
        self.check_offset(offset, "refcount table")
        if not 0 < clusters * self.cluster <= MAX_REFCOUNT_TABLE_BYTES:
            _corrupt(f"a refcount table of {clusters} clusters")
        if offset + clusters * self.cluster > self.size + self.cluster:
            _corrupt("the refcount table lies behind the end")

    def check_offset(self, offset: int, what: str) -> None:
        if offset % self.cluster or not self.cluster <= offset < self.size:
            _corrupt(f"the {what} lies at {offset:#x}")

    # --- extensions

    def extensions(self) -> None:
        """Refuses every header extension that points outside the file."""
        position = self.header_bytes
        while position + 8 <= min(self.cluster, self.size):
            kind, length = _EXTENSION.unpack(self.read(position, 8))
            if kind == 0:
                return
            position += 8 + length + -length % 8
            if position > self.cluster:
                _corrupt("a header extension longer than its cluster")
            if kind == _BACKING_FORMAT:
                raise ImageError(
                    ImageErrorCode.BACKING_FILE, "the image names the format of a backing file"
                )
            if kind == _DATA_FILE:
                raise ImageError(ImageErrorCode.DATA_FILE, "the image names a data file")
            if kind == _ENCRYPTION:
                raise ImageError(ImageErrorCode.ENCRYPTED, "the image has an encryption header")
            if kind == _BITMAPS:
                raise ImageError(ImageErrorCode.UNKNOWN_FEATURE, "the image carries bitmaps")
            # Feature names are text, and any other "can be safely ignored".

    # --- tables

    def tables(self, facts: Qcow2Facts) -> None:
        """Every cluster lies inside the file and belongs to one place of the disk only.

        Otherwise a small file could stand for a disk full of data.
        """
        clusters = -(-self.size // self.cluster)
        if clusters > MAX_CLUSTERS:
            raise ImageError(ImageErrorCode.LIMIT, f"{clusters} clusters are too many to check")
        used = bytearray(clusters)
        compressed: set[int] = set()
        for l2_offset in self.l2_tables(used):
            table = self.words(l2_offset, self.cluster // 8)
            for entry in table[:: 2 if facts.extended_l2 else 1]:
                if entry & _COMPRESSED:
                    self.take_compressed(entry, compressed)
                elif offset := entry & _OFFSET_MASK:
                    self.take(offset, used, "a data cluster")
            if time.process_time() > self.give_up_at:
                raise ImageError(ImageErrorCode.LIMIT, "reading its tables takes too long")

    def l2_tables(self, used: bytearray) -> Iterator[int]:
        for entry in self.words(self.l1_offset, self.l1_entries):
            if offset := entry & _OFFSET_MASK:
                self.take(offset, used, "an L2 table")
                yield offset

    def words(self, offset: int, count: int) -> list[int]:
        """Big-endian 64-bit numbers; none at all for a table of zeros, of which there are many."""
        numbers = array.array("Q", self.read(offset, count * 8))
        if sys.byteorder == "little":
            numbers.byteswap()
        return numbers.tolist() if any(numbers) else []

    def take(self, offset: int, used: bytearray, what: str) -> None:
        # The last cluster of a file may be cut short: what is missing reads as zeros.
        if offset % self.cluster or offset >= self.size:
            _corrupt(f"{what} lies at {offset:#x}")
        if used[offset // self.cluster]:
            _corrupt(f"{what} at {offset:#x} is used twice")
        used[offset // self.cluster] = 1

    def take_compressed(self, entry: int, compressed: set[int]) -> None:
        """A compressed cluster: its offset in bytes, with the number of sectors above it."""
        offset_bits = 62 - (self.cluster.bit_length() - 1 - 8)
        offset = entry & ((1 << offset_bits) - 1)
        if not self.cluster <= offset < self.size:
            _corrupt(f"a compressed cluster lies at {offset:#x}")
        if offset in compressed:
            _corrupt(f"a compressed cluster at {offset:#x} is used twice")
        compressed.add(offset)
