"""The API with a hundred thousand servers on PostgreSQL: lists, selectors, one server, by peers."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.db import connection
from django.test import Client, override_settings
from django.test.utils import CaptureQueriesContext

from tests.bench.figures import Figure, compared
from tests.bench.urls import PLAIN_SERVER, ROW_BY_ROW
from tests.world import World, make_world
from vpspanel.accounts.models import Project
from vpspanel.accounts.token_services import create_token
from vpspanel.events.actor import SYSTEM
from vpspanel.servers.models import Lifecycle, PowerSeen, Server

MANY, ALL = 10_000, 100_000
ROUNDS = 25
AT_A_TIME = 200  # requests for one server, for its rate
LIST_MS, SELECTOR_MS, PER_SECOND = 60.0, 100.0, 200.0
UNLIMITED = 10**9


class Program:
    """Asks with a project's token, in this process."""

    def __init__(self, project: Project) -> None:
        made = create_token(SYSTEM, project=project, name="bench", may_write=False)
        self._client = Client(SERVER_NAME="localhost")
        self._headers = {"Authorization": f"Bearer {made.secret}"}

    def get(self, address: str) -> float:
        """Milliseconds of a successful request."""
        started = time.perf_counter()
        answer = self._client.get(address, headers=self._headers)
        took = (time.perf_counter() - started) * 1000
        if answer.status_code != 200:
            raise AssertionError(f"{address}: {answer.status_code} {answer.content[:300]!r}")
        return took


def measure(database: str) -> list[Figure]:
    """All of it, in one process and through the whole middleware."""
    world = make_world()
    large = Project.objects.create(account=world.project.account, name="large")
    _fill(world, world.project, MANY)
    _fill(world, large, ALL - MANY)
    with override_settings(ROOT_URLCONF="tests.bench.urls", API_REQUESTS_PER_HOUR=UNLIMITED):
        one, all_ = Program(world.project), Program(large)
        part = f"API, {database}, {ALL:,} servers, in process"
        figures = _lists(part, one)
        figures.append(_selector(part, all_))
        server = Server.objects.filter(project=world.project).earliest("pk")
        return [*figures, *_one_server(part, one, server)]


def _fill(world: World, project: Project, count: int) -> None:
    """Servers of the project, every hundredth with a label that few have."""
    first = Server.objects.count()
    Server.objects.bulk_create(
        (
            Server(
                project=project,
                name=f"s{number}",
                server_type=world.plan,
                image=world.images[0],
                location=world.location,
                host=world.host,
                vcpus=1,
                memory_mib=1024,
                disk_gib=10,
                mac=f"52:54:{number:08x}",
                labels={"env": "prod" if number % 100 == 0 else "test", "n": str(number % 7)},
                lifecycle=Lifecycle.ACTIVE,
                power_seen=PowerSeen.RUNNING,
            )
            for number in range(first, first + count)
        ),
        batch_size=2000,
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def _lists(part: str, program: Program) -> list[Figure]:
    """The first page and one in the middle; the peer looks up what belongs to each row."""
    figures = []
    counted = []
    for what, page in (("first page", 1), ("page in the middle", MANY // 50)):
        address = f"/api/v1/servers?page={page}&per_page=25"
        values, peers = _alternately(program, address, ROW_BY_ROW)
        peer = "25 rows, each looked up"
        what = f"{what} of {MANY:,} servers"
        figures.append(compared(part, what, "ms", values, peers, peer, target=LIST_MS))
        with CaptureQueriesContext(connection) as queries:
            program.get(address)
        counted.append(len(queries))
    figures.append(Figure(part, "queries of a page, at most", max(counted), "", target=12))
    return figures


def _selector(part: str, program: Program) -> Figure:
    address = "/api/v1/servers?label_selector=env%3Dprod,n+notin+(3,4)&per_page=25"
    values, peers = _alternately(program, address, ROW_BY_ROW)
    what = f"label selector on {ALL - MANY:,} servers of a project"
    return compared(part, what, "ms", values, peers, "25 rows, each looked up", target=SELECTOR_MS)


def _one_server(part: str, program: Program, server: Server) -> list[Figure]:
    """How many a second of processor time serves, beside the plainest view of the same row."""
    mine = _rate(lambda: program.get(f"/api/v1/servers/{server.pk}"))
    plain = _rate(lambda: program.get(f"{PLAIN_SERVER}{server.pk}"))
    peer = "the plainest view of its row, without token, budget or rights"
    what = "GET /servers/{id}, per second of one core"
    return [compared(part, what, "/s", mine, plain, peer, target=PER_SECOND, less=False)]


def _rate(ask: Callable[[], float]) -> list[float]:
    """Requests per second of processor time, in five runs."""
    ask()
    rates = []
    for _ in range(5):
        started = time.process_time()
        for _ in range(AT_A_TIME):
            ask()
        rates.append(AT_A_TIME / (time.process_time() - started))
    return rates


def _alternately(program: Program, address: str, peer: str) -> tuple[list[float], list[float]]:
    program.get(address)
    program.get(peer)
    pairs = [(program.get(address), program.get(peer)) for _ in range(ROUNDS)]
    values, peers = zip(*pairs, strict=True)
    return list(values), list(peers)
