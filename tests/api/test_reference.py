"""The page that says what the API offers."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.test import Client

from vpspanel.api.schema import document


@pytest.fixture
def shown(db: None, client: Client) -> str:
    """As somebody reads it who has not signed in."""
    answer = client.get("/api/docs/")
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_has_every_operation_with_an_example(shown: str) -> None:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            assert f'id="{operation["operationId"]}"' in shown
            assert f"<code>{method.upper()} {path}</code>" in shown
    found = re.findall(r'aria-label="Request">(.*?)</pre>', shown, re.DOTALL)
    commands = [unescape(one) for one in found]
    assert len(commands) == sum(len(methods) for methods in document()["paths"].values())
    orders = [one for one in commands if one.endswith('"$PANEL/api/v1/servers"')]
    order = next(one for one in orders if " POST " in one)
    assert order.startswith('curl -X POST -H "Authorization: Bearer $TOKEN" -H')
    assert '"server_type": "small"' in order
    assert any("/metrics?type=cpu&start=" in one for one in commands)


def test_every_link_on_it_leads_somewhere(shown: str) -> None:
    anchors = set(re.findall(r'id="([^"]+)"', shown))
    links = set(re.findall(r'href="#([^"]+)"', shown))
    assert len(links) > 100
    assert links <= anchors


def test_it_needs_no_script_and_no_style_of_its_own(shown: str) -> None:
    main = shown[shown.index("<main") : shown.index("</main>")]
    assert "<script" not in main
    assert "style=" not in main


def test_it_costs_no_more_for_being_long(
    db: None, client: Client, django_assert_max_num_queries: pytest.FixtureRequest
) -> None:
    client.get("/api/docs/")
    with django_assert_max_num_queries(3):  # type: ignore[operator]
        client.get("/api/docs/")
