"""Debian 12 with cloud-init, built from packages: a full cloud image for sites without internet."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hosts.images.build import bootdisk
from hosts.images.build.recipe import (
    BuiltImage,
    Progress,
    build_lock,
    cached_image,
    need_programs,
    no_progress,
    publish_image,
    recipe_key,
    run,
    scratch,
)
from hosts.images.errors import ImageError, ImageErrorCode

NAME = "debian-12"
SUITE = "bookworm"
HERE = Path(__file__).parent
SYSTEM = HERE / "debian12_system"
#: Modules that decide what is in the image: when one changes, it is built anew.
RECIPE = ("debian12", "bootdisk")
DISK_BYTES = 2 * 1024**3
ROOT_SECTOR = 4096
BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"

#: program -> Debian package, on the machine that builds
PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "apt-get": "apt",
    "mke2fs": "e2fsprogs",
    "sfdisk": "fdisk",
    "grub-mkimage": "grub-common",
    "qemu-img": "qemu-utils",
}
GUEST_PACKAGES = (
    *("linux-image-cloud-amd64", "systemd-sysv", "udev", "dbus", "netbase", "iproute2"),
    *("cloud-init", "cloud-guest-utils", "fdisk", "e2fsprogs", "netplan.io", "systemd-resolved"),
    *("systemd-timesyncd", "openssh-server", "openssh-sftp-server", "qemu-guest-agent", "sudo"),
    *("ca-certificates", "curl", "iputils-ping", "less", "nano", "procps"),
)
GRUB_MODULES = (
    *("biosdisk", "part_gpt", "part_msdos", "ext2", "linux", "linux16", "boot", "normal"),
    *("configfile", "echo", "test", "search", "search_label", "serial", "terminal", "ls", "cat"),
)


def build_debian12(
    workdir: Path, progress: Progress = no_progress, *, refresh: bool = False
) -> BuiltImage:
    """Builds the image into `workdir`, or returns the one that is there already.

    `refresh` builds again even so, with the packages that the mirror has today.
    Takes about two minutes. Needs root, a Debian mirror and `PROGRAMS`.
    Raises ImageError: NEEDS_ROOT, MISSING_PACKAGE, BUILD_FAILED or DISK_FULL.
    """
    key = recipe_key(SYSTEM, *(HERE / f"{name}.py" for name in RECIPE))
    with build_lock(workdir, NAME):
        found = None if refresh else cached_image(workdir, NAME, key)
        if found:
            progress("done", 100)
            return found
        _need_root()
        need_programs(PROGRAMS, grub=bootdisk.GRUB_FILES)
        with scratch(workdir, NAME) as folder:
            built = _build(folder, workdir, key, progress)
        progress("done", 100)
        return built


def _need_root() -> None:
    """Its root file system has owners, and is made in it by its own programs."""
    if os.geteuid() != 0:
        raise ImageError(
            ImageErrorCode.NEEDS_ROOT,
            "only root can build this image; as another user fetch Debian's own: "
            "manage.py image_fetch debian-12",
        )


def _build(folder: Path, workdir: Path, key: str, progress: Progress) -> BuiltImage:
    progress("install packages", 2)
    root = folder / "root"
    # mmdebstrap mounts /proc, /sys and parts of /dev into the new root. In a mount namespace of
    # its own they end with it, also if it is killed; else the next clean-up would walk into them.
    command = [
        "unshare",
        "--mount",
        "mmdebstrap",
        "--quiet",
        "--variant=minbase",
        "--format=directory",
    ]
    # The new root is thrown away if the machine goes down, so dpkg need not sync each file.
    command += ["--dpkgopt=force-unsafe-io"]
    command += [f"--include={','.join(GUEST_PACKAGES)}", f"--customize-hook={SYSTEM}/customize"]
    run([*command, SUITE, str(root), *_mirrors()])
    _finish_root(root)
    kernel = next((root / "lib/modules").iterdir()).name
    versions = _versions(root)
    progress("make the disk", 60)
    raw = _make_disk(root, folder)
    shutil.rmtree(root)
    progress("compress the disk", 75)
    image = folder / "debian.qcow2"
    options = ["-c", "-W", "-m", "8", "-o", "compression_type=zstd"]
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", *options, raw, image])
    return publish_image(image, workdir, NAME, key, kernel=kernel, packages=versions)


def _mirrors() -> list[str]:
    """The sources of this machine's apt for the suite, as lines of a sources.list.

    Empty if it has none, and then mmdebstrap takes Debian's own.
    """
    shown = run(
        [
            *("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)"),
            *("Created-By: Packages", "Origin: Debian", "Component: main"),
        ]
    ).decode()
    pairs = dict.fromkeys(tuple(line.split()) for line in shown.splitlines() if line.strip())
    wanted = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    lines = [f"deb {uri} {release} main" for uri, release in pairs if release in wanted]
    return lines if any(line.endswith(f" {SUITE} main") for line in lines) else []


def _finish_root(root: Path) -> None:
    """What mmdebstrap wrote last of all, and what GRUB reads."""
    # Links into /run do not resolve here, so ask for the name and not for what it points at.
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/resolv.conf").symlink_to("../run/systemd/resolve/stub-resolv.conf")
    (root / "etc/hostname").unlink(missing_ok=True)
    shutil.copy(SYSTEM / "etc/apt/sources.list", root / "etc/apt/sources.list")
    for folder in ("etc/apt/sources.list.d", "etc/apt/apt.conf.d", "etc/dpkg/dpkg.cfg.d"):
        for left in (root / folder).glob("*mmdebstrap*"):
            left.unlink()
    for name in ("vmlinuz", "initrd.img"):
        if not (root / name).is_symlink():
            raise ImageError(ImageErrorCode.BUILD_FAILED, f"the kernel package made no /{name}")


def _versions(root: Path) -> dict[str, str]:
    shown = run(
        ["dpkg-query", f"--admindir={root}/var/lib/dpkg", "-W", "-f", "${Package} ${Version}\n"]
    ).decode()
    installed = dict(line.split() for line in shown.splitlines())
    return {name: installed[name] for name in GUEST_PACKAGES}


def _make_disk(root: Path, folder: Path) -> Path:
    """A GPT disk: the partition for GRUB, and the root file system up to the end."""
    disk = folder / "disk.raw"
    with disk.open("wb") as handle:
        handle.truncate(DISK_BYTES)
    # The last MiB holds the second copy of the partition table.
    sectors = DISK_BYTES // bootdisk.SECTOR - ROOT_SECTOR - 2048
    table = (
        f"label: gpt\nstart={bootdisk.FIRST_PARTITION_SECTOR},size=2048,type={BIOS_BOOT_TYPE}\n"
        f"start={ROOT_SECTOR},size={sectors},type=L\n"
    )
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk], stdin=table.encode())
    content = folder / "root.ext4"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-L", "cloud-root"]
    run([*command, "-E", "root_owner=0:0,nodiscard", "-d", root, content, f"{sectors // 2}k"])
    core = folder / "core.img"
    bootdisk.grub_core(core, prefix="(,gpt2)/boot/grub", modules=GRUB_MODULES)
    bootdisk.write_loader(disk, core, bootdisk.FIRST_PARTITION_SECTOR, 2048)
    bootdisk.place(disk, content, ROOT_SECTOR)
    content.unlink()
    return disk
