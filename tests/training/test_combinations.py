"""Every two settings together train three steps; compiled, every one does."""

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from training.rows import DONE, Row, outcome

FACTORS: dict[str, tuple[Any, ...]] = {
    "kind": ("lora", "rslora", "dora"), "task": ("lm", "sft"),
    "strategy": ("single", "ddp"), "goldfish": (0, 4), "repeated": (0, 20),
    "epsilon": (0.0, 8.0), "micro_rows": (0, 1),
    "checkpointing": (False, True), "dtype": ("float32", "bfloat16"), "resumed": (False, True),
}  # fmt: skip
REFUSED = {("repeated", 20), ("epsilon", 8.0)}  # together: see test_config.py
Pair = tuple[tuple[str, Any], tuple[str, Any]]


def pairs_of(row: Row) -> set[Pair]:
    return set(itertools.combinations(row.items(), 2))


def covering(factors: dict[str, tuple[Any, ...]], tries: int = 50) -> list[Row]:
    """Rows in which every two values of different factors meet, chosen greedily."""
    draw, rows = random.Random(0), []
    left = {
        pair
        for one, two in itertools.combinations(factors, 2)
        for pair in itertools.product(*([(name, v) for v in factors[name]] for name in (one, two)))
        if set(pair) != REFUSED
    }
    while left:
        found = [filled(factors, left, draw) for _ in range(tries)]
        rows.append(max(found, key=lambda row: len(left & pairs_of(row))))
        left -= pairs_of(rows[-1])
    return rows


def filled(factors: dict[str, tuple[Any, ...]], left: set[Pair], draw: random.Random) -> Row:
    """A row around a pair that is missing; each next factor takes what misses most."""
    row: Row = dict(draw.choice(sorted(left, key=str)))
    for name in draw.sample([*factors], len(factors)):
        if name not in row:
            options = [in_order(factors, row | {name: value}) for value in factors[name]]
            options = [option for option in options if not option.items() >= REFUSED]
            row = max(options, key=lambda option: len(left & pairs_of(option)))
    return in_order(factors, row)


def in_order(factors: dict[str, tuple[Any, ...]], row: Row) -> Row:
    return {name: row[name] for name in factors if name in row}


ROWS = covering(FACTORS)


def named(row: Row) -> str:
    return "-".join(str(value) for value in row.values())


def test_every_two_values_meet() -> None:
    met = set().union(*map(pairs_of, ROWS))
    wanted = sum(len(a) * len(b) for a, b in itertools.combinations(FACTORS.values(), 2))
    assert len(met) == wanted - 1
    assert len(ROWS) < 15


def check(row: Row, folder: Path) -> None:
    """Three steps and an equal receipt; bit-identical if a signal stopped it on the way."""
    first, resumed = folder / "first", folder / "resumed"
    assert outcome(row, first) == DONE
    lines = [json.loads(line) for line in (first / "train" / "metrics.jsonl").open()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert json.loads((first / "train" / "receipt.json").read_text())["equal"] is True
    if row["resumed"]:
        shutil.copytree(first / "private", resumed / "private")
        assert outcome(row, resumed, stop_after=1).startswith("PREEMPTED")
        assert outcome(row, resumed) == DONE
        adapters = [place / "adapter" / "adapter_model.safetensors" for place in (first, resumed)]
        assert adapters[0].read_bytes() == adapters[1].read_bytes()


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_every_row_trains(row: Row, tmp_path: Path) -> None:
    check(row | {"compile": "off"}, tmp_path)


def test_processes_that_hold_a_share_of_the_base_wait_for_each_other_in_vain_nowhere(
    tmp_path: Path,
) -> None:
    """In private training some hold a document more than others, or one without any loss."""
    masked: Row = {"kind": "lora", "task": "sft", "strategy": "fsdp2", "goldfish": 4,
                   "repeated": 0, "epsilon": 8.0, "micro_rows": 0, "checkpointing": False,
                   "dtype": "float32", "resumed": False, "compile": "off"}  # fmt: skip
    check(masked, tmp_path)


ALL = FACTORS | {"strategy": ("single", "ddp", "fsdp2")}
COMPILED = [{name: values[n % len(values)] for name, values in ALL.items()}
            | {"repeated": 20 * (n == 2)} for n in range(3)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("row", COMPILED, ids=named)
def test_every_setting_trains_compiled(row: Row, tmp_path: Path) -> None:
    check(row | {"compile": "on"}, tmp_path)
