"""report.html: one file without network, for people who decide and for people who check."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.reporting import claims, plots
from harness.reporting.inputs import Inputs

_PERCENT = ("extraction", "secrets_", "exact_memorisation")
_SIGNED = ("sentinel_leak", "leak_", "membership_minus")
_BITS = "exposure_"

Data = TypeVar("Data")


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of the page.

    Attributes:
        name: prefix of its ids.
        title: what it shows, for a heading and for screen readers.
        takeaway: one sentence with the numbers that the eye should find.
        caption: how to read it, with every n.
        svg: the drawing; None says that nothing was measured.
    """

    name: str
    title: str
    takeaway: str
    caption: str
    svg: Markup | None


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table of numbers: a record, or one stratum of the record above it."""

    name: str
    metric: str
    value: str
    interval: str
    p_value: str
    n: str
    verdict: str | None
    threshold: str
    note: str
    stratum: bool = False


def render(found: Inputs) -> str:
    """The page as text; equal inputs give equal bytes.

    Args:
        found: what the stages left; every part may be missing and is then said to be so.
    """
    environment = Environment(
        loader=PackageLoader("harness.reporting", "."), autoescape=True,
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    promises = claims.claims(found.results) if found.results else []
    return environment.get_template("template.html.j2").render(
        run=found.record, gate=found.gate, receipt=found.receipt, results=found.results,
        last=found.metrics[-1] if found.metrics else None, promises=promises,
        headline=claims.headline(promises), reasons=_reasons(found.gate), rows=_rows(found.results),
        shares=_shares(found.gate), digests=_digests(found), agree=_agree(found),
        pictures={picture.name: picture for picture in _pictures(found)}, number=claims.number,
        absent=claims.NOT_MEASURED,
    )  # fmt: skip


def _pictures(found: Inputs) -> list[Picture]:
    results = found.results or {}
    curves = results.get("curves") or {}
    records = {record["name"]: record for record in results.get("probes", [])}
    return [
        _picture("loss", "Loss during training", found.metrics, claims.loss_takeaway,
                 plots.loss_curve, _loss_caption),
        _picture("roc", "Can trained meetings be told from held-out ones?", curves.get("roc"),
                 lambda _: claims.roc_takeaway(records),
                 lambda curve: plots.roc(curve, found.alpha), lambda _: _roc_caption(found)),
        _picture("exposure", "Planted canaries, by number of copies", curves.get("exposure"),
                 claims.exposure_takeaway, plots.exposure, _exposure_caption),
        _picture("extraction", "Text that comes back word for word",
                 curves.get("extraction_by_k"), claims.extraction_takeaway, plots.extraction,
                 _extraction_caption),
        _picture("excluded", "Excluded, held-out and trained meetings",
                 curves.get("excluded_vs_heldout"), claims.excluded_takeaway, plots.excluded,
                 _excluded_caption),
        _picture("secrets", "Secrets that can be drawn out", curves.get("secrets"),
                 claims.secrets_takeaway, plots.secrets, _secrets_caption),
    ]  # fmt: skip


def _picture(
    name: str, title: str, data: Data | None, takeaway: Callable[[Data], str],
    draw: Callable[[Data], str], caption: Callable[[Data], str],
) -> Picture:  # fmt: skip
    if not data:
        return Picture(name, title, claims.NOT_MEASURED.capitalize() + ".", "", None)
    said, read = takeaway(data), caption(data)
    label = Markup('<title id="{0}-title">{1}</title><desc id="{0}-desc">{2} {3}</desc>').format(
        name, title, said, read
    )
    head, _, rest = draw(data).partition(">")
    # Ours, drawn from numbers and fixed labels; what comes from files was escaped when drawn.
    return Picture(name, title, said, read, Markup(head + ">") + label + Markup(rest))


def _loss_caption(metrics: tuple[dict[str, Any], ...]) -> str:
    held = sum(row.get("eval_loss") is not None for row in metrics)
    return (f"{len(metrics)} optimiser steps, thin line each step; squares: {held} measurements on "
            "whole series that no probe touches. Mean nats per supervised token.")  # fmt: skip


def _roc_caption(found: Inputs) -> str:
    counts = (found.results or {}).get("counts", {})
    heldout = counts.get("heldout")
    drawn = (found.results or {}).get("randomised", True)
    how = "drawn at random inside series" if drawn else "not drawn at random"
    finest = f" Rates below 1/{heldout} cannot be seen with them." if heldout else ""
    return (f"{counts.get('members', '?')} trained and {heldout or '?'} held-out meetings, "
            f"{how}.{finest} Dotted: the rate α at which the table reads the "
            "true-positive rate. Grey: chance. The legend has the AUC of the curve as drawn; the "
            "table has the AUC that is tested, with its interval."
            )  # fmt: skip


def _exposure_caption(curve: Mapping[str, Any]) -> str:
    sizes = ", ".join(
        f"{level['level']}×: {(level.get('planted') or {'n': 0})['n']} planted and "
        f"{(level.get('unplanted') or {'n': 0})['n']} not"
        for level in curve["levels"]
    )
    return (f"A dot a canary ({sizes}; each planted by a fair coin); bar: median, line: its 95 % "
            f"interval. Rank of the true secret among {curve['space']} equally likely ones. "
            "Dotted: 1 bit, the median of a secret that the model never saw.")  # fmt: skip


def _extraction_caption(curve: Mapping[str, Any]) -> str:
    sizes: dict[str, list[str]] = {}
    for point in curve["points"]:
        size = f"{point['windows']} windows of {point['meetings']} meetings"
        sizes.setdefault(size, []).append(f"{plots.ARM_LABEL[point['arm']]} k = {point['k']}")
    one = len(sizes) == 1
    said = "; ".join(size if one else f"{size} ({', '.join(of)})" for size, of in sizes.items())
    return ("Greedy decoding; solid with 95 % interval: adapter without what the base model gives "
            f"too, dotted: adapter, dashed: base model. At each point {said}.")  # fmt: skip


def _excluded_caption(curve: Mapping[str, Any]) -> str:
    sizes = ", ".join(
        f"{plots.ARM_LABEL[arm]}: {(curve['means'].get(arm) or {'n': 0})['n']}"
        for arm in plots.ARMS
    )
    return (f"A dot a meeting ({sizes}); diamond: mean, line: 95 % interval over meetings drawn "
            "inside their series. Further right is more familiar to the adapter.")  # fmt: skip


def _secrets_caption(_: Mapping[str, Any]) -> str:
    return ("Planted passcodes, numbers and amounts, each distinct; line: 95 % interval. Held-out "
            "secrets show what guessing alone gives.")  # fmt: skip


def _reasons(gate: Mapping[str, Any] | None) -> list[tuple[str, str, int, float]]:
    """Code, sentence, count and share of the largest count (for the bar), as the gate orders."""
    by_code = (gate or {}).get("by_code", {})
    most = max(by_code.values(), default=1) or 1
    return [
        (code, claims.reason_sentence(code), count, count / most) for code, count in by_code.items()
    ]


def _shares(gate: Mapping[str, Any] | None) -> list[tuple[str, int, int, float]]:
    """What was counted, admitted, total and percent admitted."""
    if gate is None:
        return []
    pairs = (
        (what, gate[f"{what}_admitted"], gate[f"{what}_total"]) for what in ("meetings", "turns")
    )
    return [(what, yes, total, 100 * yes / total if total else 0.0) for what, yes, total in pairs]


def _rows(results: Mapping[str, Any] | None) -> list[Row]:
    rows: list[Row] = []
    for record in (results or {}).get("probes", []):
        form = _form(record["name"])
        rows.append(_row(record, form))
        rows.extend(_stratum(stratum, form) for stratum in record.get("strata") or [])
    return rows


def _form(name: str) -> str:
    if name.startswith(_BITS):
        return "plain"
    if name.startswith(_SIGNED):
        return "signed"
    percent = name.startswith(_PERCENT) and not name.startswith("extraction_strength")
    return "percent" if percent else "plain"


def _row(record: Mapping[str, Any], form: str) -> Row:
    notes = [record.get("reason") or ""]
    if not record.get("resolved", True):
        notes.append("Not resolved: too few independent meetings for this rate.")
    if record.get("minimum_detectable") is not None:
        notes.append(f"Smallest difference this run can find: "
                     f"{claims.number(record['minimum_detectable'])}.")  # fmt: skip
    return Row(
        record["name"], record["metric"], claims.number(record["value"], form),
        claims.interval(record, form), _p_value(record.get("p_value")),
        claims.counted(record["n"], record["unit"]), record.get("verdict"),
        "–" if record.get("threshold") is None else claims.number(record["threshold"], form),
        " ".join(note for note in notes if note),
    )  # fmt: skip


def _stratum(stratum: Mapping[str, Any], form: str) -> Row:
    known = {"name", "value", "ci_low", "ci_high", "n", "p_value", "metric"}
    extra = ", ".join(
        f"{key} {claims.number(value, form if isinstance(value, float) else 'plain')}"
        for key, value in stratum.items()
        if key not in known and isinstance(value, int | float)
    )
    value = claims.number(stratum["value"], form) if stratum.get("value") is not None else "–"
    return Row(str(stratum["name"]), "", value, claims.interval(stratum, form),
               _p_value(stratum.get("p_value")), str(stratum.get("n", "–")), None, "–", extra,
               stratum=True)  # fmt: skip


def _p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _agree(found: Inputs) -> bool | None:
    """Whether gate, training and probes decided under one manifest; None where fewer than two."""
    parts = (found.gate, found.receipt, found.results)
    seen = [part["manifest_sha256"] for part in parts if part and part.get("manifest_sha256")]
    return len(set(seen)) == 1 if len(seen) > 1 else None


def _digests(found: Inputs) -> list[tuple[str, str]]:
    """What an engineer compares: name and value, in the order of the chain."""
    gate, receipt, results = found.gate or {}, found.receipt or {}, found.results or {}
    pairs = [
        ("run id", found.record.get("run_id")),
        ("git commit", found.record.get("git_commit")),
        ("config digest", found.record.get("config_digest")),
        ("trust file", gate.get("trust_sha256")),
        ("manifest at the gate", gate.get("manifest_sha256")),
        ("manifest in training", receipt.get("manifest_sha256")),
        ("manifest in probing", results.get("manifest_sha256")),
        ("manifest epoch", gate.get("epoch", receipt.get("epoch"))),
        ("admitted corpus", gate.get("corpus_root")),
        *((key.replace("_", " "), receipt[key]) for key in receipt if key.endswith("_root")),
        ("base model", receipt.get("base_sha256")),
    ]
    return [(name, claims.NOT_MEASURED if value is None else str(value)) for name, value in pairs]
