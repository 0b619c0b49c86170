"""The tiny system on a real boot: what a customer would see of it."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
import yaml

from hosts.images.build import BuiltImage
from tests.hosts.images.guest import AFTER_THE_PROMPT, overlay, running
from tests.hosts.images.seeds import (
    PASSWORD,
    PATIENCE,
    crypt_hash,
    make_seed,
    ssh,
    with_password,
)

pytestmark = pytest.mark.qemu


def test_a_customer_finds_a_real_system(tmp_path: Path, tiny: BuiltImage) -> None:
    """Prompt in time, name, password, addresses, grown disk, commands, state, power button."""
    vendor = with_password(PASSWORD)
    commands = ["echo 'ran once' >> /root/ran", ["sh", "-c", 'echo "$0" > /root/list']]
    user = "#cloud-config\n" + yaml.safe_dump({"runcmd": commands})
    seed = make_seed(tmp_path, vendor, user_data=user.encode())
    disk = overlay(tmp_path, tiny.path, "2G")
    with running(tmp_path, disk, seed) as guest:
        guest.wait_for("web1 login:", PATIENCE)
        cost_of_prompt = guest.cpu_seconds()
        guest.log_in(PASSWORD)
        assert guest.shell("uname -r") == tiny.kernel
        addresses = guest.shell("ip addr show eth0")
        assert "inet 10.0.2.15/32" in addresses
        assert "inet6 fd00:5::1/64" in addresses
        assert "default via 10.0.2.2 dev eth0" in guest.shell("ip route")
        assert "default via fe80::1 dev eth0" in guest.shell("ip -6 route")
        assert guest.shell("cat /etc/resolv.conf").split() == [
            *("nameserver", "10.0.2.3", "nameserver", "fd00:5::53")
        ]
        assert guest.shell("ping -c 1 -W 5 10.0.2.2 | grep -c '1 packets received'") == "1"
        guest.shell("while pidof resize2fs; do sleep 0.2; done")
        assert int(guest.shell("df -m / | awk 'END { print $2 }'")) > 1800
        assert guest.shell("cat /root/ran; cat /root/list") == "ran once\nsh"
        guest.shell("echo kept > /root/state")
        fingerprint = guest.shell("dropbearkey -y -f /etc/dropbear/ed25519 | grep ssh-")
        guest.type("reboot")
        guest.wait_for("web1 login:", PATIENCE)
        guest.log_in(PASSWORD)
        assert guest.shell("cat /root/state") == "kept"
        assert guest.shell("cat /root/ran") == "ran once"
        assert guest.shell("dropbearkey -y -f /etc/dropbear/ed25519 | grep ssh-") == fingerprint
        guest.qmp("system_powerdown")
        assert guest.seconds_until_off(PATIENCE) < 30
    # Less than 10 on an idle machine; who shares a core with others is charged for more.
    assert cost_of_prompt < 15


def test_ssh_with_a_key_and_without_a_seed_afterwards(tmp_path: Path, tiny: BuiltImage) -> None:
    """The key of the seed lets in; passwords do not; and an emptied seed changes nothing."""
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    public = key.with_suffix(".pub").read_text().strip()
    seed = make_seed(tmp_path, {"ssh_pwauth": False, "ssh_authorized_keys": [public]})
    disk = overlay(tmp_path, tiny.path, "1G")
    with running(tmp_path, disk, seed, memory_mib=96) as guest:
        guest.wait_for("web1 login:", PATIENCE)
        guest.wait_for_ssh(PATIENCE)
        assert ssh(guest, key, "hostname") == "web1"
        assert ssh(guest, key, "grep ^root /etc/shadow").startswith("root:$6$locked$*:")
        assert "dropbear -F -E -r /etc/dropbear/ed25519 -p 22 -s" in ssh(guest, key, "ps")
        assert ssh(guest, key, "test -x /usr/lib/openssh/sftp-server && echo yes") == "yes"
        ssh(guest, key, "poweroff")
        guest.seconds_until_off(PATIENCE)
    seed.write_bytes(bytes(1 << 20))
    with running(tmp_path, disk, seed) as guest:
        guest.wait_for("web1 login:", PATIENCE)
        guest.wait_for_ssh(PATIENCE)
        assert ssh(guest, key, "ip -4 addr show eth0 | grep -c 10.0.2.15/32") == "1"


def test_a_new_password_is_taken_once(tmp_path: Path, tiny: BuiltImage) -> None:
    seed = make_seed(tmp_path, with_password(PASSWORD))
    disk = overlay(tmp_path, tiny.path, "1G")
    with running(tmp_path, disk, seed) as guest:
        guest.wait_for("web1 login:", PATIENCE)
        guest.log_in(PASSWORD)
        guest.type("poweroff")
        guest.seconds_until_off(PATIENCE)
    new = crypt_hash("second").encode()
    make_seed(tmp_path, with_password(PASSWORD), root_password_hash=new + b"\n")
    with running(tmp_path, disk, seed) as guest:
        guest.wait_for("web1 login:", PATIENCE)
        guest.log_in("second")
        # The owner's own change outlives the next boot with the same seed.
        guest.shell("echo root:third | chpasswd")
        guest.type("reboot")
        guest.wait_for("web1 login:", PATIENCE)
        guest.log_in("third")


def test_without_a_password_the_console_stays_locked(tmp_path: Path, tiny: BuiltImage) -> None:
    disk = overlay(tmp_path, tiny.path, "1G")
    with running(tmp_path, disk, make_seed(tmp_path, {})) as guest:
        guest.wait_for("web1 login:", PATIENCE)
        for password in ("", "root", "*"):
            guest.type("root")
            guest.wait_for("assword:", PATIENCE)
            time.sleep(AFTER_THE_PROMPT)
            guest.type(password)
            guest.wait_for("Login incorrect", PATIENCE)
            guest.wait_for("login:", PATIENCE)
