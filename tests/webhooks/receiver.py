"""A receiver on this machine that answers as it is told, and remembers what came."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.world import World
from vpspanel.events.models import Event
from vpspanel.webhooks.models import Webhook
from vpspanel.webhooks.services import MadeWebhook, create_webhook

LOOPBACK = ["127.0.0.0/8"]


@dataclass
class Receiver:
    """What came, and what is answered: (status, headers, body), one after the other."""

    port: int
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    before_answer: Callable[[str], None] = lambda path: None
    arrived: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook?a=1"


@contextmanager
def receiver() -> Iterator[Receiver]:
    """One that runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.got.append((self.path, dict(self.headers), body))
            here.arrived.release()
            here.before_answer(self.path)
            status, headers, text = here.answers.pop(0) if here.answers else (200, {}, b"thanks")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with suppress(BrokenPipeError):  # it did not wait for the answer
                self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    here = Receiver(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def listening(world: World, url: str = "https://example.com/hook", **more: Any) -> MadeWebhook:
    """A webhook of Alice's project."""
    wanted: dict[str, Any] = {"owner": world.project, "name": "billing", "url": url}
    return create_webhook(world.alice, **{**wanted, **more})


def make_webhook(world: World) -> Webhook:
    """One with a message in its log."""
    webhook = listening(world).webhook
    event = Event.objects.latest("pk")
    webhook.deliveries.create(event=event, due=webhook.created, state="delivered")
    return webhook
