"""The cloud-init seed: a NoCloud disk, made in memory.

An ISO 9660 image with the label `cidata` and the Rock Ridge and Joliet names
under which cloud-init looks for its files. It holds secrets: it is never
written to a disk of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pycdlib

LABEL = "cidata"
REQUIRED = ("meta-data", "user-data")
# The last one is for our own small system, which has no cloud-init; cloud-init passes it over.
ALLOWED = (*REQUIRED, "network-config", "vendor-data", "root-password-hash")


def build_seed(files: Mapping[str, bytes]) -> bytes:
    """The image with `files`, by their NoCloud names. Its length is a multiple of 2048.

    Raises `ValueError` if meta-data or user-data is missing (cloud-init would
    take the disk for none of its own), or for a file that it does not read.
    """
    for name in REQUIRED:
        if name not in files:
            raise ValueError(f"A seed needs {name}")
    for name in files:
        if name not in ALLOWED:
            raise ValueError(f"cloud-init reads no file {name!r} from a seed")
    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    try:
        for number, name in enumerate(sorted(files)):
            data = files[name]
            image.add_fp(
                BytesIO(data),
                len(data),
                f"/FILE{number}.;1",  # ISO 9660 itself knows neither lower case nor "-"
                rr_name=name,
                joliet_path=f"/{name}",
            )
        out = BytesIO()
        image.write_fp(out)
    finally:
        image.close()
    return out.getvalue()
