"""The page: whole, honest about what is missing, safe, and without network."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from harness.reporting import html, inputs
from harness.reporting.inputs import Inputs
from harness.rundir import RunDir

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; unbalanced tags raise."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.ids: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Push the tag."""
        self.attributes += attrs
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """A tag that closes itself."""
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        """Pop the tag."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Keep the text."""
        self.text += data


@pytest.fixture
def found(run: RunDir) -> Inputs:
    """What a finished run left."""
    return inputs.read(run)


def test_every_number_of_the_results_stands_on_a_well_formed_page(found: Inputs) -> None:
    text = html.render(found)
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert found.results is not None
    for record in found.results["probes"]:
        assert record["name"] in page.text
        assert record["metric"] in page.text
    for code, count in (found.gate or {})["by_code"].items():
        assert code in page.text
        assert str(count) in page.text
    for key, digest in (found.receipt or {}).items():
        if key.endswith("_root"):
            assert digest in page.text
    assert len(text) < 600_000


def test_each_primary_has_its_verdict_in_the_headline(found: Inputs) -> None:
    text = html.render(found)
    primaries = [r for r in (found.results or {})["probes"] if r["primary"]]
    headline = text.partition("What was admitted, and why not</h2>")[0]
    shown = re.findall(r'<article class="promise (\w+)"', headline)
    assert shown == [record["verdict"].lower() for record in primaries]


def test_nothing_is_loaded_from_anywhere(found: Inputs) -> None:
    text = html.render(found)
    page = Page(text)
    for name, value in page.attributes:
        if name in ("src", "href", "xlink:href", "action", "data", "poster"):
            assert (value or "").startswith("#"), (name, value)
    assert "@import" not in text
    assert "<script" not in text
    assert re.findall(r"url\((?!#)", text) == []
    assert "default-src 'none'" in text


def test_figures_are_described_for_those_who_cannot_see_them(found: Inputs) -> None:
    text = html.render(found)
    assert text.count("<svg") == text.count("<desc") == text.count("<title id=") == 6


def test_equal_inputs_give_equal_bytes(found: Inputs, run: RunDir) -> None:
    assert html.render(found) == html.render(inputs.read(run))


def test_no_number_that_is_none_is_printed(found: Inputs) -> None:
    text = Page(html.render(found)).text
    assert not re.search(r"\bnan\b|\binf\b|\bNone\b", text)


@pytest.mark.parametrize("part", ["gate", "receipt", "results", "metrics"])
def test_what_is_missing_is_said_to_be_missing(found: Inputs, part: str) -> None:
    empty: Any = () if part == "metrics" else None
    page = Page(html.render(replace(found, **{part: empty})))
    assert "ot measured" in page.text
    curves = dict.fromkeys((found.results or {})["curves"])
    bare = replace(found, results=(found.results or {}) | {"curves": curves})
    assert html.render(bare).count("<svg") == 1  # the loss curve needs no probe


@pytest.mark.parametrize("hostile", ["<script>alert(1)</script>", '"><img src=x>', "{{ 7*7 }}"])
def test_strings_from_files_are_escaped(found: Inputs, hostile: str) -> None:
    results = json.loads(json.dumps(found.results))
    for record in results["probes"]:
        record["metric"] = record["reason"] = hostile
    for curve in results["curves"]["roc"]:
        curve["label"] = hostile
    gate = (found.gate or {}) | {"by_code": {hostile: 3}}
    record = found.record | {"name": hostile}
    text = html.render(replace(found, results=results, gate=gate, record=record))
    assert "<script" not in text
    assert "<img" not in text
    assert "49" not in re.findall(r"\{\{.*?\}\}|<h1>.*?</h1>", text)
    Page(text)


def test_a_receipt_that_is_not_equal_is_said_aloud(found: Inputs) -> None:
    receipt = (found.receipt or {}) | {"equal": False}
    assert "do not use this adapter" in html.render(replace(found, receipt=receipt))
    assert "do not use this adapter" not in html.render(found)


def test_other_manifests_in_the_stages_are_said_aloud(found: Inputs) -> None:
    receipt = (found.receipt or {}) | {"manifest_sha256": "99" * 32}
    assert "under different manifests" in html.render(replace(found, receipt=receipt))


def test_nothing_is_called_random_that_was_not_drawn(found: Inputs) -> None:
    results = (found.results or {}) | {"randomised": False}
    gate = (found.gate or {}) | {"randomised": False}
    text = Page(html.render(replace(found, results=results, gate=gate))).text
    assert "Exploratory" in text
    assert "drawn at random inside series" not in text
    assert "by lot" not in text
    assert "random draw" not in text


def test_nulls_inside_curves_are_drawn_around(found: Inputs) -> None:
    results = json.loads(json.dumps(found.results))
    curves = results["curves"]
    curves["exposure"]["levels"][0]["planted"] = None
    curves["extraction_by_k"]["points"][0] |= {"ci_low": None, "ci_high": None}
    curves["excluded_vs_heldout"]["means"]["sentinel"] |= {"ci_low": None, "ci_high": None}
    curves["excluded_vs_heldout"]["meetings"][0]["score"] = None
    curves["secrets"]["arms"][0] |= {"rate": None, "ci_low": None, "ci_high": None}
    text = html.render(replace(found, results=results))
    assert text.count("<svg") == 6
    assert not re.search(r"\bnan\b", text)


def test_a_private_training_says_what_it_promises_and_to_whom(found: Inputs) -> None:
    privacy = {"epsilon": 3.0, "delta": 1e-5, "unit": "document", "noise_multiplier": 0.9,
               "clip": 1.0, "documents": 812, "sample_rate": 0.01, "steps": 700,
               "accountant": "Renyi (opacus)"}  # fmt: skip
    page = html.render(replace(found, receipt=(found.receipt or {}) | {"privacy": privacy}))
    assert "ε = 3" in page
    assert "1e-05" in page
    assert "for one document" in page
    assert "Differentially private" not in html.render(found)
