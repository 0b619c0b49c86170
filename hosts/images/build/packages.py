"""Debian packages from the mirror that this machine's apt uses: unpacked, never installed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from hosts.images.build.recipe import run
from hosts.images.errors import ImageError, ImageErrorCode

# apt drops to the user _apt for downloads, who may not write into our folder.
APT_OPTIONS = ("-q", "-o", "APT::Sandbox::User=root")


def refresh_lists(folder: Path) -> tuple[str, ...]:
    """apt options for package lists that are usable now.

    The machine's own lists are taken if they know our packages; in a container they are often
    empty, and then a private copy is fetched into `folder`.
    """
    if _knows("linux-image-cloud-amd64", ()):
        return ()
    lists = folder / "apt-lists"
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    cache = folder / "apt-cache"
    (cache / "archives" / "partial").mkdir(parents=True, exist_ok=True)
    options = ("-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}")
    run(["apt-get", *APT_OPTIONS, *options, "update"])
    if not _knows("linux-image-cloud-amd64", options):
        raise ImageError(
            ImageErrorCode.BUILD_FAILED,
            "apt knows no package linux-image-cloud-amd64: is a Debian mirror configured?",
        )
    return options


def _knows(package: str, options: tuple[str, ...]) -> bool:
    shown = run(["apt-cache", *options, "policy", package]).decode()
    return "Candidate:" in shown and "Candidate: (none)" not in shown


def kernel_package(options: tuple[str, ...]) -> str:
    """The package with the newest cloud kernel, such as "linux-image-6.1.0-56-cloud-amd64"."""
    shown = run(["apt-cache", *options, "depends", "linux-image-cloud-amd64"]).decode()
    found = re.search(r"Depends: (linux-image-\S+)", shown)
    if not found:
        raise ImageError(
            ImageErrorCode.BUILD_FAILED, "linux-image-cloud-amd64 depends on no kernel package"
        )
    return found.group(1)


def closure(names: Iterable[str], options: tuple[str, ...]) -> list[str]:
    """These packages and all that they need to run, sorted; recommended ones are left out."""
    flags = [
        f"--no-{kind}"
        for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")
    ]
    shown = run(["apt-cache", *options, "depends", "--recurse", *flags, *names]).decode()
    # Names start at the beginning of a line; <angle brackets> are virtual packages.
    return sorted({line.strip() for line in shown.splitlines() if re.match(r"[a-z0-9]", line)})


def fetch(names: Iterable[str], folder: Path, options: tuple[str, ...]) -> dict[str, Path]:
    """Downloads packages into `folder`. Returns name -> .deb file; apt checks the signatures."""
    folder.mkdir(parents=True, exist_ok=True)
    run(["apt-get", *APT_OPTIONS, *options, "download", *names], cwd=folder)
    return {deb.name.split("_")[0]: deb for deb in sorted(folder.glob("*.deb"))}


def version(deb: Path) -> str:
    return run(["dpkg-deb", "-f", deb, "Version"]).decode().strip()


def unpack(deb: Path, root: Path) -> None:
    """Unpacks the files of a package; its scripts do not run."""
    root.mkdir(parents=True, exist_ok=True)
    run(["dpkg-deb", "-x", deb, root])
