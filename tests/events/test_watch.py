"""What a browser may ask to watch: ids, or all; anything else is refused and breaks nothing."""

from __future__ import annotations

import json

import pytest

from vpspanel.events.consumers import Page, watch
from vpspanel.events.guard import Owner


def page() -> Page:
    return Page(Owner(1, "session", "hash"))


@pytest.mark.parametrize(
    "text",
    ["[Infinity]", "[-Infinity]", "[NaN]", "[null]", "[[1]]", '["x"]', "{}", "1", '"some"', "null"],
)
def test_what_is_no_list_of_ids_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        watch(page(), json.loads(text))


def test_ids_and_all_are_noted() -> None:
    shown = page()
    watch(shown, [12, "13"])
    assert (shown.cares_for(12), shown.cares_for(13), shown.cares_for(14)) == (True, True, False)
    watch(shown, "all")
    assert shown.cares_for(14)
