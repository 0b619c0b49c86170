"""The tiny system: Debian's cloud kernel, BusyBox and Dropbear on a disk that boots in seconds.

A real system for demonstrations and tests: it reads a NoCloud seed, keeps its disk, has SSH,
a login on the serial port and on the screen, and obeys the power button.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from hosts.images.build import bootdisk, initramfs, packages
from hosts.images.build.recipe import (
    EPOCH,
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

NAME = "tiny"
HERE = Path(__file__).parent
SYSTEM = HERE / "tiny_system"
#: Modules that decide what is in the image: when one changes, it is built anew.
RECIPE = ("tiny", "bootdisk", "initramfs", "packages")
DISK_SECTORS = 96 * 2048  # 96 MiB; the guest grows into whatever disk it gets
LIBRARIES = "lib/x86_64-linux-gnu"

#: program -> Debian package, on the machine that builds
PROGRAMS = {
    "apt-get": "apt",
    "dpkg-deb": "dpkg",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "grub-mkimage": "grub-common",
    "qemu-img": "qemu-utils",
}
#: What the guest's programs come from; what these depend on is fetched as well.
GUEST_PACKAGES = ("busybox-static", "dropbear-bin", "e2fsprogs", "openssh-sftp-server")
#: path in the package -> path in the guest
GUEST_PROGRAMS = {
    "usr/sbin/dropbear": "usr/sbin/dropbear",
    "usr/bin/dropbearkey": "usr/bin/dropbearkey",
    "sbin/resize2fs": "sbin/resize2fs",
    "usr/lib/openssh/sftp-server": "usr/lib/openssh/sftp-server",
}
FOLDERS = (
    *("bin", "sbin", "boot", "dev", "proc", "sys", "run", "tmp", "root", "home", "mnt"),
    *("usr/bin", "usr/sbin", "usr/lib/openssh", "lib64", LIBRARIES),
    *("etc/dropbear", "etc/acpi/PWRF", "var/lib/seed", "var/log"),
)
#: Loaded before the root disk is there …
EARLY_MODULES = ("virtio_pci", "virtio_blk")
#: … with it (`isofs` reads the seed), for the power button, and when there is time.
LATER_MODULES = {
    "boot": ("virtio_net", "isofs"),
    "power": ("button", "evdev"),
    "late": ("virtio_rng", "virtio_balloon"),
}

INITRAMFS_APPLETS = (
    *("sh", "mount", "insmod", "cat", "dd", "blockdev"),
    *("usleep", "sleep", "poweroff", "switch_root"),
)

# The 16-bit boot protocol, because it loads the kernel where it belongs; with `linux` GRUB moves it
# there byte by byte afterwards, which takes 2 s on a machine without hardware virtualisation.
GRUB_MODULES = ("biosdisk", "part_msdos", "ext2", "linux16", "boot")
GRUB_CONFIG = """\
linux16 /boot/vmlinuz console=tty0 console=ttyS0,115200 quiet loglevel=4 edd=off
initrd16 /boot/initrd.img
boot
"""
# Until the seed sets a password nobody gets in through a console: no password hashes to this.
# ("*" would do as well, but BusyBox's login stops with "bad salt" instead of asking again.)
LOCKED = "$6$locked$*"
PROFILE = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin PS1='\\u@\\h:\\w\\$ '\n"
ISSUE = "vpspanel tiny Linux \\r on \\l\n\n"


def build_tiny(
    workdir: Path, progress: Progress = no_progress, *, refresh: bool = False
) -> BuiltImage:
    """Builds the tiny system into `workdir`, or returns the one that is there already.

    `refresh` builds again even so, with the packages that the mirror has today.
    Takes some ten seconds. Needs root, a Debian mirror that apt knows, and `PROGRAMS`.
    Raises ImageError: MISSING_PACKAGE, BUILD_FAILED or DISK_FULL.
    """
    key = recipe_key(SYSTEM, *(HERE / f"{name}.py" for name in RECIPE))
    with build_lock(workdir, NAME):
        found = None if refresh else cached_image(workdir, NAME, key)
        if found:
            progress("done", 100)
            return found
        need_programs(PROGRAMS, grub=bootdisk.GRUB_FILES)
        with scratch(workdir, NAME) as folder:
            built = _build(folder, workdir, key, progress)
        progress("done", 100)
        return built


def _build(folder: Path, workdir: Path, key: str, progress: Progress) -> BuiltImage:
    progress("fetch packages", 5)
    options = packages.refresh_lists(folder)
    kernel = packages.kernel_package(options)
    names = packages.closure(GUEST_PACKAGES, options)
    debs = packages.fetch([kernel, *names], folder / "debs", options)
    progress("unpack packages", 30)
    for name, deb in debs.items():
        packages.unpack(deb, folder / ("kernel" if name == kernel else "unpacked"))
    progress("lay out the root file system", 55)
    root = folder / "root"
    release = _fill_root(root, folder / "unpacked", folder / "kernel")
    progress("make the disk", 70)
    raw = _make_disk(root, folder)
    progress("convert the disk", 85)
    image = folder / "tiny.qcow2"
    # Not compressed: it would save a third of 25 MB and cost each boot half a second.
    run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image])
    used = {name: packages.version(debs[name]) for name in (kernel, *GUEST_PACKAGES)}
    return publish_image(image, workdir, NAME, key, kernel=release, packages=used)


def _fill_root(root: Path, unpacked: Path, kernel: Path) -> str:
    """Lays out the guest's root folder. Returns the kernel's release (6.1.0-56-cloud-amd64)."""
    for name in FOLDERS:
        (root / name).mkdir(parents=True, exist_ok=True)
    release = next((kernel / "lib/modules").iterdir()).name
    shutil.copy(kernel / f"boot/vmlinuz-{release}", root / "boot/vmlinuz")
    busybox = _find(unpacked, "bin/busybox")
    shutil.copy(busybox, root / "bin/busybox")
    for applet in run([busybox, "--list-full"]).decode().split():
        link = root / applet
        if not link.exists():
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to("/bin/busybox")
    _copy_programs(root, unpacked)
    _copy_modules(root, kernel, release)
    _write_configuration(root)
    for entry in [root, *root.rglob("*")]:
        os.utime(entry, (EPOCH, EPOCH), follow_symlinks=False)
    return release


def _find(unpacked: Path, path: str) -> Path:
    """A file of a package, whether the package still uses /bin or already /usr/bin."""
    for candidate in (unpacked / path, unpacked / "usr" / path):
        if candidate.is_file():
            return candidate
    raise ImageError(ImageErrorCode.BUILD_FAILED, f"no package brought {path}")


def _copy_programs(root: Path, unpacked: Path) -> None:
    """The programs that are not BusyBox, with the libraries that their loader asks for."""
    # Not lib64/…: in the package that is an absolute link, which would be this machine's loader.
    loader = _find(unpacked, f"{LIBRARIES}/ld-linux-x86-64.so.2")
    shutil.copy(loader, root / "lib64/ld-linux-x86-64.so.2")
    folders = f"{unpacked / LIBRARIES}:{unpacked / 'usr' / LIBRARIES}"
    for source, target in GUEST_PROGRAMS.items():
        program = _find(unpacked, source)
        (root / target).unlink(missing_ok=True)
        shutil.copy(program, root / target)
        listed = run([loader, "--library-path", folders, "--list", program]).decode()
        for line in listed.splitlines():
            if " => " in line and "ld-linux" not in line:
                library = Path(line.split(" => ")[1].split(" (")[0])
                shutil.copy(library, root / LIBRARIES / line.split()[0])


def _copy_modules(root: Path, kernel: Path, release: str) -> None:
    files = initramfs.module_files(kernel)
    early = initramfs.load_order(EARLY_MODULES, files)
    modules = root / "lib/modules" / release
    modules.mkdir(parents=True)
    seen = set(early)
    for moment, wanted in LATER_MODULES.items():
        names = [name for name in initramfs.load_order(wanted, files) if name not in seen]
        seen.update(names)
        for name in names:
            shutil.copy(files[name], modules / f"{name}.ko")
        (root / f"etc/modules.{moment}").write_text("\n".join(names) + "\n")
    entries: dict[str, bytes | str | None] = dict.fromkeys(
        ("bin", "modules", "dev", "proc", "sys", "root")
    )
    entries["bin/busybox"] = (root / "bin/busybox").read_bytes()
    for applet in INITRAMFS_APPLETS:
        entries[f"bin/{applet}"] = "busybox"
    for name in early:
        entries[f"modules/{name}.ko"] = files[name].read_bytes()
    entries["modules/order"] = "\n".join(early).encode()
    entries["init"] = (SYSTEM / "initramfs-init").read_bytes()
    archive = initramfs.cpio_archive(entries, ("bin/busybox", "init"))
    (root / "boot/initrd.img").write_bytes(archive)


def _write_configuration(root: Path) -> None:
    etc = root / "etc"
    for name in ("rc.boot", "rc.late", "rc.power", "rc.sshd", "rc.stop", "udhcpc.sh"):
        shutil.copy(SYSTEM / name, etc / name)
        (etc / name).chmod(0o755)
    shutil.copy(SYSTEM / "chpasswd", root / "usr/sbin/chpasswd")
    (root / "usr/sbin/chpasswd").chmod(0o755)
    for name in ("inittab", "modules.sh", "seed.sh", "network.sh", "yaml.awk"):
        shutil.copy(SYSTEM / name, etc / name)
        (etc / name).chmod(0o644)
    (etc / "shadow").write_text(f"root:{LOCKED}:19723:0:99999:7:::\n")
    (etc / "shadow").chmod(0o600)
    (etc / "passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (etc / "group").write_text("root:x:0:\ntty:x:5:\n")
    (etc / "shells").write_text("/bin/sh\n/bin/ash\n")
    (etc / "hostname").write_text("tiny\n")
    (etc / "hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    (etc / "resolv.conf").write_text("")
    (etc / "issue").write_text(ISSUE)
    (etc / "profile").write_text(PROFILE)
    (etc / "acpi/PWRF/00000080").write_text("#!/bin/sh\nexec /sbin/poweroff\n")
    (etc / "acpi/PWRF/00000080").chmod(0o755)
    (etc / "os-release").write_text('ID=vpspanel-tiny\nPRETTY_NAME="vpspanel tiny Linux"\n')
    (root / "root").chmod(0o700)
    (root / "tmp").chmod(0o1777)


def _make_disk(root: Path, folder: Path) -> Path:
    """The root folder as an ext4 partition on a raw disk with GRUB."""
    content = folder / "root.ext4"
    sectors = DISK_SECTORS - bootdisk.FIRST_PARTITION_SECTOR
    # Room for block group descriptors of 2 TiB, so that the file system can grow while mounted,
    # and a journal that can take a growth step (the kernel refuses with 4 MiB);
    # the identifiers are fixed because a random one would make every build another file.
    options = (
        "resize=536870912,root_owner=0:0,lazy_itable_init=1,nodiscard,"
        "hash_seed=7d5e3a52-4c0e-4a55-9d43-2f6a6f0f5a11"
    )
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-m", "1", "-J", "size=16"]
    command += ["-L", "tiny-root", "-U", "5b0b9c7e-7f0e-4a39-8f7a-0c1f2d3e4b5a", "-E", options]
    run(
        [*command, "-d", root, content, f"{sectors // 2}k"],
        env={"E2FSPROGS_FAKE_TIME": str(EPOCH)},
    )
    # mke2fs takes the change times of the files from the disk, where nobody can set them.
    paths = [f"/{entry.relative_to(root)}" for entry in sorted(root.rglob("*"))]
    script = "".join(f'set_inode_field "{path}" ctime @{EPOCH}\n' for path in paths)
    run(
        ["debugfs", "-w", "-f", "-", content],
        env={"E2FSPROGS_FAKE_TIME": str(EPOCH)},
        stdin=script.encode(),
    )
    core = folder / "core.img"
    bootdisk.grub_core(core, prefix="(,msdos1)/boot", modules=GRUB_MODULES, config=GRUB_CONFIG)
    disk = folder / "disk.raw"
    with disk.open("wb") as handle:
        handle.truncate(DISK_SECTORS * bootdisk.SECTOR)
    bootdisk.write_mbr(disk, DISK_SECTORS)
    room = bootdisk.FIRST_PARTITION_SECTOR - bootdisk.MBR_CORE_SECTOR
    bootdisk.write_loader(disk, core, bootdisk.MBR_CORE_SECTOR, room)
    bootdisk.place(disk, content, bootdisk.FIRST_PARTITION_SECTOR)
    return disk
