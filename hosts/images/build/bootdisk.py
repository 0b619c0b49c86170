"""A raw disk that a BIOS boots through GRUB, written without loop devices or mounts.

Where things lie follows GRUB's own `grub-core/boot/i386/pc/boot.S` and `diskboot.S`, which is what
`grub-bios-setup` patches: the boot sector holds the first sector of the core image as a 64-bit
number at 0x5c and wants the jump at 0x66 replaced by two NOPs; the core's first sector ends in a
list of sector ranges whose first entry starts at 0x1f4 and must name the sector after it.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from hosts.images.build.recipe import run
from hosts.images.errors import ImageError, ImageErrorCode

SECTOR = 512
GRUB_FILES = Path("/usr/lib/grub/i386-pc")
FIRST_PARTITION_SECTOR = 2048
#: In an MBR disk the core image lives in the gap before the first partition.
MBR_CORE_SECTOR = 1


def grub_core(
    output: Path, *, prefix: str, modules: Sequence[str], config: str | None = None
) -> None:
    """Writes a GRUB core image. `config`, if given, runs at once instead of a grub.cfg."""
    command: list[str | Path] = ["grub-mkimage", "-O", "i386-pc", "-p", prefix, "-o", output]
    if config is not None:
        early = output.with_suffix(".cfg")
        early.write_text(config)
        command += ["-c", early]
    run([*command, *modules])


def write_loader(disk: Path, core: Path, core_sector: int, room_sectors: int) -> None:
    """Puts GRUB's boot sector and core image on a disk; the partition table stays as it is.

    Raises ImageError(BUILD_FAILED) if the core image does not fit into `room_sectors`.
    """
    image = bytearray(core.read_bytes())
    if len(image) > room_sectors * SECTOR:
        raise ImageError(
            ImageErrorCode.BUILD_FAILED, f"GRUB's core image has {len(image)} bytes: too large"
        )
    struct.pack_into("<Q", image, 0x1F4, core_sector + 1)
    boot = bytearray((GRUB_FILES / "boot.img").read_bytes())
    struct.pack_into("<Q", boot, 0x5C, core_sector)
    boot[0x66:0x68] = b"\x90\x90"
    with disk.open("r+b") as handle:
        handle.write(boot[:440])
        handle.seek(core_sector * SECTOR)
        handle.write(image)


def write_mbr(disk: Path, sectors: int) -> None:
    """One bootable Linux partition from sector 2048 to the end of a disk of `sectors`."""
    entry = struct.pack(
        "<B3sB3sII",
        0x80,
        b"\xfe\xff\xff",
        0x83,
        b"\xfe\xff\xff",
        FIRST_PARTITION_SECTOR,
        sectors - FIRST_PARTITION_SECTOR,
    )
    with disk.open("r+b") as handle:
        handle.seek(440)
        handle.write(b"VPS\0" + b"\0\0" + entry)
        handle.seek(510)
        handle.write(b"\x55\xaa")


def place(disk: Path, content: Path, sector: int) -> None:
    """Copies a file system image into the disk, leaving holes where it has only zeros."""
    block = 1 << 20
    with content.open("rb") as source, disk.open("r+b") as target:
        position = sector * SECTOR
        while chunk := source.read(block):
            if chunk.count(0) != len(chunk):
                target.seek(position)
                target.write(chunk)
            position += len(chunk)
