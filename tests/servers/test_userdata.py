"""What cloud-init would accept passes; what would hurt it, or this process, is refused."""

from __future__ import annotations

import contextlib
import time

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from vpspanel.errors import Refused
from vpspanel.servers.userdata import MAX_BYTES, validate_user_data

MIME = """Content-Type: multipart/mixed; boundary="part"
MIME-Version: 1.0

--part
Content-Type: text/cloud-config

{config}
--part
Content-Type: text/x-shellscript

#!/bin/sh
true
--part--
"""

GOOD = {
    "empty": "",
    "blank": "  \n ",
    "only the header": "#cloud-config\n",
    "packages": "#cloud-config\npackages: [nginx, [curl, '8.0']]\npackage_update: true\n",
    "users": "#cloud-config\nusers:\n  - default\n  - name: deploy\n    shell: /bin/bash\n",
    "runcmd": "#cloud-config\nruncmd:\n  - echo hi\n  - [ls, -l, /]\n",
    "write_files": "#cloud-config\nwrite_files:\n  - path: /etc/x\n    content: |\n      {{7*7}}\n",
    "an anchor": "#cloud-config\nx-base: &b [a]\npackages: *b\n",
    "a key of a newer cloud-init": (
        "#cloud-config\nusers:\n  - name: x\n    doas: ['permit nopass x']\n"
    ),
    "leading blank line": "\n#cloud-config\npackages: [nginx]\n",
    "a script": "#!/bin/sh\necho hi > /root/x\n",
    "a list of URLs": "#include\nhttps://example.org/config\n",
    "a template": "## template: jinja\n#cloud-config\nhostname: {{ v1.local_hostname }}\n",
    "a boothook": "#cloud-boothook\n#!/bin/sh\ntrue\n",
    "an archive": "#cloud-config-archive\n- type: text/cloud-config\n  content: 'packages: [a]'\n",
    "mime": MIME.format(config="packages: [nginx]"),
    "exactly 32 KiB": "#!".ljust(MAX_BYTES, "x"),
}


@pytest.mark.parametrize("text", GOOD.values(), ids=GOOD.keys())
def test_it_accepts_what_cloud_init_accepts(text: str) -> None:
    validate_user_data(text)


BAD = {
    "one byte too many": ("#!".ljust(MAX_BYTES + 1, "x"), "32 KiB"),
    "too many bytes by umlauts": ("#!" + "ä" * 17_000, "32 KiB"),
    "plain words": ("install nginx please", "first line"),
    "yaml without the header": ("packages: [nginx]", "first line"),
    "a list": ("#cloud-config\n- packages\n", "mapping"),
    "a word": ("#cloud-config\npackages\n", "mapping"),
    "broken yaml": ("#cloud-config\npackages: [nginx\nusers: x\n", "line 3"),
    "a tab": ("#cloud-config\npackages:\n\t- nginx\n", "line 3"),
    "two documents": ("#cloud-config\na: 1\n---\nb: 2\n", "not valid YAML"),
    "an impossible date": ("#cloud-config\na: 2024-99-99\n", "not valid YAML"),
    "packages is a number": ("#cloud-config\npackages: 5\n", "packages"),
    "path is missing": ("#cloud-config\nwrite_files:\n  - content: x\n", "write_files.0"),
    "a python object": ("#cloud-config\na: !!python/object/apply:os.system [id]\n", "not valid"),
    "nul": ("#!/bin/sh\necho \0", "NUL"),
    "mime with bad config": (MIME.format(config="packages: 5"), "packages"),
    "mime without parts": ("MIME-Version: 1.0\nContent-Type: text/plain\n\nhi\n", "no parts"),
    "archive is a mapping": ("#cloud-config-archive\na: b\n", "list of parts"),
    "unhashable key": ("#cloud-config\n? [a]\n: b\n", "not valid YAML"),
}


@pytest.mark.parametrize(("text", "said"), BAD.values(), ids=BAD.keys())
def test_it_refuses_with_a_reason(text: str, said: str) -> None:
    with pytest.raises(Refused) as refusal:
        validate_user_data(text)
    assert said in refusal.value.message
    assert refusal.value.field == "user_data"
    assert len(refusal.value.message) <= 400


def bomb() -> str:
    """Nine levels of nine aliases: 387 million nodes from 600 bytes."""
    lines = ["a0: &a0 [x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "#cloud-config\n" + "\n".join(lines)


def merge_bomb() -> str:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 10)]
    return "#cloud-config\n" + "\n".join(lines)


HOSTILE = {
    "aliases": bomb(),
    "merges": merge_bomb(),
    "a loop": "#cloud-config\na: &a [*a]\n",
    "deep flow": "#cloud-config\na: " + "[" * 32_000,
    "deep blocks": "#cloud-config\n" + "".join(f"{' ' * n}a:\n" for n in range(240)),
    "deep maps": "#cloud-config\na: " + "{a: " * 8_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_would_eat_the_process_is_refused_quickly(text: str) -> None:
    before = time.process_time()
    with pytest.raises(Refused):
        validate_user_data(text)
    assert time.process_time() - before < 2.0


def test_the_largest_honest_config_is_quick() -> None:
    config = yaml.safe_dump({"runcmd": [["echo", str(n)] for n in range(1500)]})
    before = time.process_time()
    validate_user_data("#cloud-config\n" + config)
    assert time.process_time() - before < 3.0


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_is_accepted_or_refused_and_never_breaks(text: str) -> None:
    for head in ("", "#cloud-config\n", "MIME-Version: 1.0\n", "#cloud-config-archive\n"):
        with contextlib.suppress(Refused):
            validate_user_data(head + text)
