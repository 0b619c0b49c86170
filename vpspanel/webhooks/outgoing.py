"""A POST to an address that a customer chose: never into our own networks, never for long.

The name is looked up once, every address that it has must be a public one, and
the connection goes to the address that was checked: a name that points
elsewhere a moment later changes nothing. Redirects are not followed.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

USER_AGENT = "vpspanel-webhooks/1"
DEADLINE = 15.0  # seconds for everything after the look-up
CONNECT = 5.0  # seconds for one address to take the connection
ANSWER_KEPT = 500  # characters of the answer that go into the log
ANSWER_READ = 16 * 1024  # bytes of the answer that are looked at
URL_LENGTH = 500
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Unsendable(Exception):
    """It was not sent, or no answer came. The text is for whoever owns the webhook."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    retry_after: float | None  # seconds
    took_ms: int

    @property
    def is_good(self) -> bool:
        """Whether the receiver has taken it."""
        return 200 <= self.status < 300


def url_problem(url: str) -> str | None:
    """Why nothing can be sent to this address, or None. Looks nothing up."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "This is not an address such as https://example.com/hook."
    if parts.scheme not in _schemes() or not parts.hostname or not url.isprintable() or " " in url:
        return "This is not an address such as https://example.com/hook."
    if len(url) > URL_LENGTH:
        return f"An address has up to {URL_LENGTH} characters."
    if parts.username is not None or parts.password is not None:
        return "Put no name or password into the address: every message is signed."
    if port is not None and port not in (80, 443) and not 1024 <= port <= 65535:
        return "The port must be 80, 443 or from 1024 on."
    return None


def _schemes() -> tuple[str, ...]:
    """Plain HTTP only where the site allows its own networks: there is a receiver of its own."""
    return ("https", "http") if settings.WEBHOOK_ALLOWED_NETWORKS else ("https",)


def is_allowed(address: Address) -> bool:
    """Whether a message may go there: a public address, or one of a network the site allows."""
    if any(address in ipaddress.ip_network(net) for net in settings.WEBHOOK_ALLOWED_NETWORKS):
        return True
    inner = _inside(address)
    if inner is not None:
        return is_allowed(inner)
    return address.is_global and not address.is_multicast


def _inside(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 one stands for, if it does."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if any(address in network for network in _TRANSLATED):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    teredo = address.teredo
    return address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)


def addresses_of(host: str, port: int) -> list[str]:
    """Where the name leads, all of it allowed. Raises `Unsendable`."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Unsendable(f"The name {host} was not found.") from None
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        if not is_allowed(ipaddress.ip_address(text.partition("%")[0])):
            raise Unsendable(f"{host} leads to {text}, which is not a public address.")
    return addresses


def post(url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """Send it and read how the answer begins. Raises `Unsendable`."""
    problem = url_problem(url)
    if problem:
        raise Unsendable(problem)
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"https": 443}.get(parts.scheme, 80)
    started = time.monotonic()
    connection = _connection(parts, host, port, addresses_of(host, port))
    watchdog = threading.Timer(DEADLINE, _cut, (connection,))
    watchdog.daemon = True
    watchdog.start()
    try:
        return _exchange(connection, parts, headers, body, started)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if time.monotonic() - started >= DEADLINE or isinstance(error, TimeoutError):
            raise Unsendable(f"{host} did not answer within {DEADLINE:.0f} seconds.") from error
        raise Unsendable(f"{host}: {_said(error)}") from error
    finally:
        watchdog.cancel()
        connection.close()


def _exchange(
    connection: http.client.HTTPConnection,
    parts: SplitResult,
    headers: Mapping[str, str],
    body: bytes,
    started: float,
) -> Answer:
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.request("POST", target, body, {"User-Agent": USER_AGENT, **headers})
    response = connection.getresponse()
    text = response.read(ANSWER_READ).decode(errors="replace")
    took = int((time.monotonic() - started) * 1000)
    shown = "".join(character if character.isprintable() else " " for character in text)
    return Answer(response.status, shown[:ANSWER_KEPT], _retry_after(response), took)


def _connection(
    parts: SplitResult, host: str, port: int, addresses: Sequence[str]
) -> http.client.HTTPConnection:
    """Connected to one of these addresses; TLS is still for the name."""
    raw = _first_that_answers(addresses, port)
    if parts.scheme == "http":
        plain = http.client.HTTPConnection(host, port, timeout=DEADLINE)
        plain.sock = raw
        return plain
    secure = http.client.HTTPSConnection(host, port, timeout=DEADLINE)
    try:
        secure.sock = ssl.create_default_context().wrap_socket(raw, server_hostname=host)
    except OSError as error:
        raw.close()
        raise Unsendable(f"{host}: {_said(error)}") from error
    return secure


def _first_that_answers(addresses: Sequence[str], port: int) -> socket.socket:
    failure: OSError | None = None
    for address in addresses[:4]:
        try:
            found = socket.create_connection((address, port), timeout=CONNECT)
        except OSError as error:
            failure = error
        else:
            found.settimeout(CONNECT)
            return found
    raise Unsendable(f"No connection to port {port}: {_said(failure or OSError('no address'))}")


def _cut(connection: http.client.HTTPConnection) -> None:
    """End an exchange that drips: a time limit for each read alone would never end it."""
    try:
        if connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it has ended by itself


def _retry_after(response: http.client.HTTPResponse) -> float | None:
    text = response.getheader("Retry-After", "")
    return float(text) if text.isascii() and text.isdecimal() and len(text) < 7 else None


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
