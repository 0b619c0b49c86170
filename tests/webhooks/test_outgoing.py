"""Where a message may go, and how long it may take."""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from typing import Any

import pytest

from tests.webhooks.receiver import LOOPBACK, Receiver
from vpspanel.webhooks import outgoing
from vpspanel.webhooks.outgoing import Unsendable, is_allowed, post, url_problem

FORBIDDEN = """
    127.0.0.1 10.0.0.1 172.16.3.4 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1
    255.255.255.255 192.0.2.1 ::1 :: fe80::1 fc00::1 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1
    64:ff9b::7f00:1 64:ff9b:1::a00:1 2002:7f00:1:: 2001:db8::1
""".split()  # noqa: SIM905
BAD_URLS = (
    "ftp://example.com/",
    "file:///etc/passwd",
    "http://example.com/",
    "https://",
    "https:///path",
    "example.com",
    "https://user:secret@example.com/",
    "https://@example.com/",
    "https://example.com:22/",
    "https://example.com:99999/",
    "https://example.com/\r\nHost: inside",
    "https://example.com/a b",
    "https://[::1",
    "https://example.com/" + "a" * 500,
)


@pytest.mark.parametrize("address", FORBIDDEN)
def test_our_own_networks_are_not_reached(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "2606:2800::1", "64:ff9b::5db8:d70e"])
def test_the_world_is_reached(address: str) -> None:
    assert is_allowed(ipaddress.ip_address(address))


@pytest.mark.parametrize("url", BAD_URLS)
def test_addresses_that_are_refused_as_they_are_written(url: str) -> None:
    assert url_problem(url)


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "localhost"])
def test_another_spelling_of_this_machine_is_this_machine(host: str) -> None:
    with pytest.raises(Unsendable, match=r"not a public address|not found"):
        post(f"https://{host}/", {}, b"")


def _leads_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[str]:
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        if host not in addresses:  # what is an address already is not looked up
            asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def test_one_private_address_among_public_ones_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    _leads_to(monkeypatch, "93.184.215.14", "10.0.0.1")
    with pytest.raises(Unsendable, match=r"10\.0\.0\.1, which is not a public address"):
        post("https://example.com/", {}, b"")


def test_the_connection_goes_to_the_address_that_was_checked(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up could lead elsewhere."""
    reached = []
    connect = socket.create_connection

    def watched(address: tuple[str, int], **more: Any) -> socket.socket:
        reached.append(address[0])
        return connect(address, **more)

    asked = _leads_to(monkeypatch, "127.0.0.1")
    monkeypatch.setattr(socket, "create_connection", watched)
    answer = post(hook.url.replace("127.0.0.1", "shop.example"), {"X-One": "1"}, b"{}")
    assert (answer.status, answer.text) == (200, "thanks")
    assert asked == ["shop.example"]
    assert reached == ["127.0.0.1"]
    path, headers, body = hook.got[0]
    assert (path, body) == ("/hook?a=1", b"{}")
    assert (headers["Host"], headers["X-One"]) == (f"shop.example:{hook.port}", "1")


def test_redirects_are_answers(hook: Receiver) -> None:
    hook.answers = [(302, {"Location": "http://127.0.0.1:1/"}, b"")]
    answer = post(hook.url, {}, b"")
    assert (answer.status, answer.is_good) == (302, False)
    assert len(hook.got) == 1


def test_only_a_printable_beginning_of_the_answer_is_kept(hook: Receiver) -> None:
    hook.answers = [(500, {"Retry-After": "120"}, b"\x1b[31m<b>\r\n" + b"x" * 100_000)]
    answer = post(hook.url, {}, b"")
    assert answer.text.startswith(" [31m<b>  xx")
    assert len(answer.text) == outgoing.ANSWER_KEPT
    assert answer.retry_after == 120


def test_an_answer_that_drips_is_cut(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK
    monkeypatch.setattr(outgoing, "DEADLINE", 0.3)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            with server.accept()[0] as taken:
                while not ended.is_set():
                    try:
                        taken.sendall(b"H")
                    except OSError:
                        return
                    time.sleep(0.02)

        thread = threading.Thread(target=drip)
        thread.start()
        started = time.monotonic()
        with pytest.raises(Unsendable, match="did not answer within"):
            post(f"http://127.0.0.1:{server.getsockname()[1]}/", {}, b"")
        assert time.monotonic() - started < 3
        ended.set()
        thread.join()


def test_nobody_there(settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = LOOPBACK
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(Unsendable, match="Connection refused"):
        post(f"http://127.0.0.1:{port}/", {}, b"")
