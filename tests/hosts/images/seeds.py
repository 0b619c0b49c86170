"""Seeds for booted images, as the panel writes them, and a way into the guest."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import yaml

from hosts.virt.seed import build_seed
from tests.hosts.images.guest import MAC, Guest

# Seconds of patience on a machine that does much else; costs are measured in processor time.
PATIENCE = 90
PASSWORD = "correct horse"
SSH_FAILED = 255  # ssh's own code, not that of the command
NETWORK = {
    "version": 2,
    "ethernets": {
        "eth0": {
            "match": {"macaddress": MAC},
            "set-name": "eth0",
            "dhcp4": False,
            "accept-ra": False,
            # A /32 with its gateway outside: how hosters hand out single addresses.
            "addresses": ["10.0.2.15/32", "fd00:5::1/64"],
            "routes": [
                {"to": "0.0.0.0/0", "via": "10.0.2.2", "on-link": True},
                {"to": "::/0", "via": "fe80::1"},
            ],
            "nameservers": {"addresses": ["10.0.2.3", "fd00:5::53"]},
        }
    },
}


def crypt_hash(password: str) -> str:
    made = subprocess.run(
        ["busybox", "mkpasswd", "-m", "sha512", "-P", "0"],
        input=password,
        capture_output=True,
        text=True,
        check=True,
    )
    return made.stdout.strip()


def make_seed(folder: Path, vendor: object, *, instance: str = "i-1", **more: bytes) -> Path:
    meta = {"instance-id": instance, "local-hostname": "web1"}
    files = {
        "meta-data": yaml.safe_dump(meta).encode(),
        "user-data": b"#cloud-config\n{}\n",
        "network-config": yaml.safe_dump(NETWORK, sort_keys=False).encode(),
        "vendor-data": b"#cloud-config\n" + yaml.safe_dump(vendor).encode(),
        **{name.replace("_", "-"): content for name, content in more.items()},
    }
    path = folder / "seed.iso"
    path.write_bytes(build_seed(files))
    return path


def with_password(password: str) -> dict[str, object]:
    users = [{"name": "root", "password": crypt_hash(password)}]
    return {"ssh_pwauth": True, "chpasswd": {"expire": False, "users": users}}


def ssh(guest: Guest, key: Path, command: str, seconds: float = PATIENCE) -> str:
    """What a command prints that runs as root over SSH. Fails with what it said if it fails.

    Tried again while SSH itself fails: cloud-init starts the server once more
    when it has written its settings.
    """
    options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes"]
    flags = [word for option in options for word in ("-o", option)]
    line = ["ssh", *flags, "-i", str(key), "-p", str(guest.ssh_port), "root@127.0.0.1", command]
    deadline = time.monotonic() + seconds
    while True:
        left = max(1.0, deadline - time.monotonic())
        done = subprocess.run(line, capture_output=True, text=True, timeout=left, check=False)
        if done.returncode != SSH_FAILED or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout.strip()
