"""Pictures: drawn from the numbers, the same bytes each time, colours left to the page."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.reporting import plots

ROWS = [{"step": i, "loss": 3 / i, "eval_loss": 2.0 if i % 5 == 0 else None} for i in range(1, 40)]


@pytest.fixture(scope="module")
def drawing() -> str:
    return plots.loss_curve(ROWS)


def test_drawing_is_xml_with_text_and_without_urls(drawing: str) -> None:
    root = ElementTree.fromstring(drawing.replace("xlink:href", "href"))
    assert "optimiser step" in "".join(root.itertext())
    assert "http" not in drawing
    assert "font-family" not in drawing


def test_every_line_and_word_takes_its_colour_from_the_page(drawing: str) -> None:
    assert not re.search(r"(?:fill|stroke): #", drawing)
    assert {"var(--ink)", "var(--member)", "var(--heldout)"} <= set(
        re.findall(r"var\(--\w+\)", drawing)
    )


def test_ids_carry_the_name_so_that_pictures_share_a_page(drawing: str) -> None:
    other = plots.loss_curve(ROWS, "other")
    ids = [set(re.findall(r'\bid="([^"]+)"', svg)) for svg in (drawing, other)]
    assert not ids[0] & ids[1]
    assert drawing == plots.loss_curve(ROWS)


def test_other_numbers_give_another_drawing(drawing: str) -> None:
    assert drawing != plots.loss_curve([row | {"loss": row["loss"] + 1} for row in ROWS])


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=30), st.integers(1, 40))
def test_running_mean_agrees_with_the_plain_definition(values: list[float], width: int) -> None:
    plain = [np.mean(values[max(0, i + 1 - width) : i + 1]) for i in range(len(values))]
    np.testing.assert_allclose(plots.running_mean(np.array(values), width), plain, atol=1e-9)


@given(st.integers(0, 200))
def test_spread_keeps_dots_apart_and_inside(n: int) -> None:
    offsets = plots.spread(n, 0.2)
    assert len(np.unique(offsets)) == n
    assert np.all(np.abs(offsets) <= 0.2)
