"""The tiny system's own reader of cloud-config gives the values that PyYAML gives."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from hosts.images.build.tiny import SYSTEM

KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl "
    "a person with a long comment"
)
CONFIG: dict[str, Any] = {
    "ssh_authorized_keys": [KEY, "ecdsa-sha2-nistp256 AAAA x"],
    "ssh_pwauth": True,
    "chpasswd": {
        "expire": False,
        "users": [{"name": "root", "password": "$6$abc$d./e=f", "type": "hash"}],
    },
    "runcmd": ["echo 'it''s: x' # no", ["sh", "-c", "echo \"a b\" > /x; echo 'q'"], "a\nb\\n"],
    "write_files": [{"path": "/etc/x", "content": "1\n2: y\n\n  z", "permissions": "0600"}],
    "network": {
        "version": 2,
        "ethernets": {
            "eth0": {
                "match": {"macaddress": "52:54:00:aa:bb:cc"},
                "addresses": ["10.0.0.2/32", "fd00::2/64"],
                "routes": [{"to": "default", "via": "10.0.0.1", "on-link": True}],
                "nameservers": {"addresses": ["10.0.0.53"]},
            }
        },
    },
    "empty": "",
    "nothing": None,
    "hash in text": "a #b",
    "quotes": 'it\'s "x"',
    "tab": "a\tb",
    "looks like no": "no",
}


def flatten(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from flatten(inner, f"{path}.{number}")
    else:
        text = {True: "true", False: "false", None: ""}.get(value, str(value))
        yield f"{path}={text}".replace("\n", "\x01")


def read_by_the_guest(text: str) -> list[str]:
    done = subprocess.run(
        ["busybox", "awk", "-f", str(SYSTEM / "yaml.awk")],
        input=text,
        capture_output=True,
        text=True,
        check=True,
    )
    return sorted(done.stdout.splitlines())


@pytest.mark.parametrize(
    "text",
    [
        yaml.safe_dump(CONFIG),
        yaml.safe_dump(CONFIG, sort_keys=False, indent=4),
        yaml.safe_dump(CONFIG, width=1_000_000),
        yaml.safe_dump(CONFIG, default_flow_style=True),
        json.dumps(CONFIG),
        json.dumps(CONFIG, indent=2),
        "# a comment\n---\n" + yaml.safe_dump(CONFIG).replace("\n", "\r\n"),
    ],
    ids=["block", "indented", "wide", "flow", "JSON", "indented JSON", "DOS"],
)
def test_the_guest_reads_what_was_written(text: str) -> None:
    assert read_by_the_guest("#cloud-config\n" + text) == sorted(flatten(CONFIG))


def test_block_scalars_and_comments_as_people_write_them() -> None:
    text = """\
#cloud-config
hostname: web1   # the first
runcmd:
  - |
    echo one
    echo "two: x"
  - >-
    folded
    line
  - [touch, "/a b"]
users:
- name: root
  ssh_authorized_keys: ['ssh-ed25519 AAAA x']
"""
    assert read_by_the_guest(text) == sorted(
        [
            "hostname=web1",
            'runcmd.0=echo one\x01echo "two: x"',
            "runcmd.1=folded line",
            "runcmd.2.0=touch",
            "runcmd.2.1=/a b",
            "users.0.name=root",
            "users.0.ssh_authorized_keys.0=ssh-ed25519 AAAA x",
        ]
    )


@pytest.mark.parametrize("text", ["", ":", "- ", "{", "[", '"', "a: [b", "a: 'b", "\t", "a: |"])
def test_broken_text_ends(text: str) -> None:
    done = subprocess.run(
        ["busybox", "awk", "-f", str(SYSTEM / "yaml.awk")],
        input=f"#cloud-config\n{text}\n",
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    assert done.returncode == 0, done.stderr
