"""The report's pictures: matplotlib figures as small inline SVG that follows light and dark mode.

Colours are placeholders in the drawing and CSS variables in the page (Okabe and Ito's palette,
told apart by marker and line style too), text stays text, and equal numbers give equal bytes.
"""

import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

Curve = Mapping[str, Any]

INK, MUTED, GRID = "#1a1a1b", "#6b6b6c", "#dcdcdd"
ARMS = ("member", "heldout", "sentinel")
ARM_COLOUR = {"member": "#d55e00", "heldout": "#0072b2", "sentinel": "#009e73"}
ARM_MARKER = {"member": "o", "heldout": "s", "sentinel": "^"}
ARM_LABEL = {"member": "trained on", "heldout": "held out", "sentinel": "excluded (sentinel)"}
_VARIABLES = {
    INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--grid)",
    **{colour: f"var(--{arm})" for arm, colour in ARM_COLOUR.items()},
}  # fmt: skip
_STYLE = {
    "svg.fonttype": "none", "font.family": "sans-serif", "font.size": 11.0,
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.7, "axes.axisbelow": True,
    "legend.frameon": False, "legend.fontsize": 10.0, "lines.linewidth": 1.8,
}  # fmt: skip
_SIZE = (5.6, 3.7)  # inches: 403 points wide, so that text stays readable on a phone


def loss_curve(metrics: Sequence[Curve], name: str = "loss") -> str:
    """Training loss of each step, its running mean, and validation loss (nats per token)."""
    steps = np.array([row["step"] for row in metrics], dtype=float)
    loss = np.array([row["loss"] for row in metrics], dtype=float)
    held = [(row["step"], row["eval_loss"]) for row in metrics if row.get("eval_loss") is not None]

    def draw(axes: Axes) -> None:
        axes.plot(steps, loss, color=ARM_COLOUR["member"], linewidth=0.7, alpha=0.45)
        axes.plot(steps, running_mean(loss, max(1, len(loss) // 25)), color=ARM_COLOUR["member"],
                  label="training (running mean)")  # fmt: skip
        if held:
            axes.plot(*zip(*held, strict=True), color=ARM_COLOUR["heldout"], marker="s",
                      linestyle="--", label="validation series")  # fmt: skip
        axes.set(xlabel="optimiser step", ylabel="loss (nats per token)", ylim=(0, None))
        axes.legend()

    return _svg(draw, name)


def roc(curves: Sequence[Curve], alpha: float, name: str = "roc") -> str:
    """ROC of every score (linear axes), the model-free baseline, and the rate read at alpha."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GRID, linewidth=1.2)
        for curve in sorted(curves, key=lambda item: bool(item.get("primary"))):
            axes.plot(curve["fpr"], curve["tpr"], drawstyle="steps-post", **_roc_style(curve))
        axes.axvline(alpha, color=INK, linestyle=":", linewidth=1)
        axes.text(alpha + 0.015, 0.03, f"α = {alpha:g}", color=INK)
        axes.set(xlabel="false-positive rate (held-out meetings)", xlim=(-0.01, 1.01),
                 ylabel="true-positive rate (trained)", ylim=(-0.01, 1.02))  # fmt: skip
        axes.legend(loc="lower right")

    return _svg(draw, name, (5.6, 4.4))


def exposure(curve: Curve, name: str = "exposure") -> str:
    """Exposure in bits of planted canaries and of their unplanted twins, by repetitions."""
    levels = curve["levels"]

    def draw(axes: Axes) -> None:
        for place, level in enumerate(levels):
            _box(axes, place - 0.17, level.get("planted"), "member", place == 0)
            _box(axes, place + 0.17, level.get("unplanted"), "heldout", place == 0)
        axes.axhline(curve["max_bits"], color=INK, linestyle="--", linewidth=1)
        axes.text(-0.45, curve["max_bits"] + 0.2, f"most possible: {curve['max_bits']:.3g} bits")
        axes.axhline(1.0, color=MUTED, linestyle=":", linewidth=1)
        axes.set_xticks(range(len(levels)), [f"{level['level']}×" for level in levels])
        axes.set(xlabel="copies in the training text", ylabel="exposure (bits)",
                 xlim=(-0.5, len(levels) - 0.5), ylim=(-0.5, curve["max_bits"] * 1.14))  # fmt: skip
        _legend_above(axes)

    return _svg(draw, name)


def extraction(curve: Curve, name: str = "extraction") -> str:
    """Share of windows that come back word for word, by prefix length, with and without adapter."""

    def draw(axes: Axes) -> None:
        for shift, arm in ((-0.06, "member"), (0.06, "heldout")):
            points = sorted(
                (point for point in curve["points"] if point["arm"] == arm), key=lambda p: p["k"]
            )
            if points:
                _extraction_arm(axes, points, arm, shift)
        lengths = sorted({point["k"] for point in curve["points"]})
        shares = [point[key] or 0.0 for point in curve["points"]
                  for key in ("adapter", "base", "ci_high")]  # fmt: skip
        top = min(1.0, max(0.25, *shares))
        axes.set_xticks(range(len(lengths)), [str(k) for k in lengths])
        axes.set(xlabel="prefix given (tokens)", ylabel="share of windows",
                 xlim=(-0.3, len(lengths) - 0.7), ylim=(-0.03 * top, 1.05 * top))  # fmt: skip
        _legend_above(axes)

    return _svg(draw, name)


def excluded(curve: Curve, name: str = "excluded") -> str:
    """A dot a meeting: its reference score, with mean and interval, for the three arms."""

    def draw(axes: Axes) -> None:
        for place, arm in enumerate(reversed(ARMS)):
            scores = [m["score"] for m in curve["meetings"]
                      if m["arm"] == arm and m["score"] is not None]  # fmt: skip
            axes.scatter(scores, place + spread(len(scores), 0.22), s=22, alpha=0.6,
                         marker=ARM_MARKER[arm], color=ARM_COLOUR[arm], linewidths=0)  # fmt: skip
            _mean(axes, place + 0.36, curve["means"].get(arm))
        axes.set_yticks(range(3), ["excluded\n(sentinel)", "held out", "trained on"])
        axes.set(xlabel="reference score (nats per token over the base model)", ylim=(-0.5, 2.65))
        axes.grid(visible=False, axis="y")

    return _svg(draw, name)


def secrets(curve: Curve, name: str = "secrets") -> str:
    """Share of planted secrets that are exposed, with its interval, for the three arms."""
    arms = {arm["arm"]: arm for arm in curve["arms"]}

    def draw(axes: Axes) -> None:
        shown = [arm for arm in reversed(ARMS) if arm in arms]
        for place, arm in enumerate(shown):
            _secret_bar(axes, place, arms[arm])
        axes.set_yticks(range(len(shown)), [ARM_LABEL[arm].replace(" (", "\n(") for arm in shown])
        axes.set(xlabel="share of secrets exposed", xlim=(0, 1.12), ylim=(-0.6, len(shown) - 0.4))
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        axes.grid(visible=False, axis="y")

    return _svg(draw, name, (5.6, 2.9))


def running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Mean of each value and up to ``width`` - 1 before it; same length."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - width)
    return np.asarray((sums[ends] - sums[starts]) / (ends - starts))


def spread(n: int, width: float) -> NDArray[np.float64]:
    """Fixed offsets in [-width, width] that keep ``n`` dots apart (golden-ratio sequence)."""
    return np.asarray(((np.arange(n) * 0.6180339887498949) % 1 * 2 - 1) * width)


def _roc_style(curve: Curve) -> dict[str, Any]:
    label = f"{curve['label']} (AUC {curve['auc']:.2f})" if curve.get("auc") is not None else None
    label = label or str(curve["label"])
    if curve.get("primary"):
        return {"color": ARM_COLOUR["member"], "linewidth": 2.6, "label": label}
    if curve["name"] == "model_free":
        return {"color": INK, "linestyle": "--", "linewidth": 1.6, "label": label}
    dashes = {"membership_loss": "-", "membership_zlib": "-.", "membership_min_k": (0, (4, 1))}
    style = dashes.get(curve["name"], (0, (1, 1)))
    return {"color": ARM_COLOUR["heldout"], "linestyle": style, "linewidth": 1.1, "label": label}


def _box(axes: Axes, x: float, box: Curve | None, arm: str, labelled: bool) -> None:
    if box is None or not box["n"]:
        return
    label = {"member": "planted", "heldout": "not planted (twins)"}[arm] if labelled else None
    axes.scatter(x + spread(len(box["values"]), 0.09), box["values"], s=16, alpha=0.5,
                 marker=ARM_MARKER[arm], color=ARM_COLOUR[arm], linewidths=0, label=label
                 )  # fmt: skip
    axes.hlines(box["median"], x - 0.14, x + 0.14, color=INK, linewidth=2.2)
    if box.get("ci_low") is not None and box.get("ci_high") is not None:
        axes.vlines(x, box["ci_low"], box["ci_high"], color=INK, linewidth=1.2)


def _extraction_arm(axes: Axes, points: Sequence[Curve], arm: str, shift: float) -> None:
    x = np.arange(len(points)) + shift
    colour, marker = ARM_COLOUR[arm], ARM_MARKER[arm]
    net = np.array([point["net"] for point in points], dtype=float)
    low, high = (np.array([point[key] if point[key] is not None else point["net"]
                           for point in points], dtype=float)
                 for key in ("ci_low", "ci_high"))  # fmt: skip
    around = np.clip([net - low, high - net], 0, None)
    axes.errorbar(x, net, yerr=around, color=colour, marker=marker, capsize=3,
                  label=f"{ARM_LABEL[arm]}: adapter, net of base")  # fmt: skip
    for key, style, label in (("adapter", ":", "adapter"), ("base", "--", "base model")):
        axes.plot(x, [point[key] for point in points], color=colour, linestyle=style,
                  linewidth=1.2, marker=marker, markersize=4, markerfacecolor="none",
                  label=f"{ARM_LABEL[arm]}: {label}")  # fmt: skip


def _mean(axes: Axes, y: float, mean: Curve | None) -> None:
    if mean is None or mean["value"] is None:
        return
    if mean["ci_low"] is not None and mean["ci_high"] is not None:
        axes.hlines(y, mean["ci_low"], mean["ci_high"], color=INK, linewidth=1.6)
    axes.plot([mean["value"]], [y], marker="D", color=INK, markersize=5)


def _secret_bar(axes: Axes, place: int, arm: Curve) -> None:
    if arm["rate"] is None:
        return
    axes.barh(place, arm["rate"], height=0.5, color=ARM_COLOUR[arm["arm"]])
    right = arm["rate"]
    if arm["ci_low"] is not None and arm["ci_high"] is not None:
        axes.hlines(place, arm["ci_low"], arm["ci_high"], color=INK, linewidth=1.6)
        right = max(right, arm["ci_high"])
    label = f"{arm['exposed']} of {arm['n']}"
    if right < 0.8:
        axes.text(right + 0.02, place, label, va="center")
    else:  # no room beside the bar: above it
        axes.text(0.01, place + 0.27, label, va="bottom")


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, columnspacing=1.2,
                handlelength=1.8, borderaxespad=0.2, markerscale=1.3)  # fmt: skip


def _svg(draw: Callable[[Axes], None], name: str, size: tuple[float, float] = _SIZE) -> str:
    """Draw one figure and return it as an inline ``<svg>`` without ids that clash or URLs."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.add_subplot())
        buffer = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _inline(buffer.getvalue(), name)


def _inline(svg: str, name: str) -> str:
    """Strip what an HTML page must not carry (URLs, global styles, fonts) and prefix the ids."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style .*?</style>|<!--.*?-->", "", body, flags=re.S)
    box = re.search(r'viewBox="[^"]*"', body)
    assert box is not None  # matplotlib always writes one
    head = (
        f'<svg {box[0]} role="img" aria-labelledby="{name}-title" aria-describedby="{name}-desc">'
    )
    body = head + body[body.index(">") + 1 :]
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", body[len(head) :])
    body = re.sub(r"font-family: [^;\"]*;? ?", "", body)
    body = re.sub(r"(\d+\.\d\d)\d+", r"\1", body)
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    return head + re.sub(r"\n\s*", "\n", body).strip()
