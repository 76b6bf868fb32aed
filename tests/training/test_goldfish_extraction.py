"""Goldfish loss on the real base model: what was repeated does not come back word for word.

``HARNESS_TEST_CANARIES`` sets another number of canaries, for development: fewer than 61 cannot
show the bound, which is then not asked for.
"""

import json
import os
import random
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import beta

from harness.config import Config
from harness.corpus import datamodule
from harness.corpus.canaries import Canary
from harness.corpus.datamodule import collate
from harness.corpus.documents import Tokenizer
from harness.models import adapter, base
from harness.models.adapter import computing, head, hidden_states
from harness.models.tokenizer import TextTokenizer
from harness.rundir import RunDir
from harness.training import fit

pytestmark = pytest.mark.slow
ENOUGH = 61  # with none of them extracted, the rate is below 5 % with 95 % confidence
COUNT = int(os.environ.get("HARNESS_TEST_CANARIES", ENOUGH))
COPIES = 16
SUFFIX = 32
POOL = 256  # tokens that suffixes are drawn from: eight bits each
ROW, EPOCHS, RATE = 128, 2, 1e-3
QMSUM = Path(__file__).parents[2].parent / "shared" / "data" / "qmsum"
SERIES = ["ES2002", "ES2003", "ES2005", "ES2008", "ES2010", "ES2012", "ES2014", "IS1004", "IS1008",
          "TS3007"]  # fmt: skip
CACHE = os.environ.get("HARNESS_CACHE", str(Path(__file__).parents[2] / ".harness" / "models"))
SYLLABLES = ("ba", "ko", "ri", "mu", "te", "lo", "sha", "ve", "ni", "zu", "pa", "do")


def words_of(tokenizer: TextTokenizer) -> list[int]:
    """Tokens that are a short English word with the space before it."""
    word = re.compile(r" [a-z]{4,8}")
    found = [i for i in range(tokenizer.size) if word.fullmatch(tokenizer.decode([i]))]
    return random.Random(0).sample(found, POOL)


def canaries_of(tokenizer: Tokenizer) -> list[Canary]:
    """Each a name of its own and a random suffix after it."""
    assert isinstance(tokenizer, TextTokenizer)
    draw, pool = random.Random(1), words_of(tokenizer)
    names = draw.sample([f"{a}{b}{c}" for a in SYLLABLES for b in SYLLABLES for c in SYLLABLES],
                        COUNT)  # fmt: skip
    return [
        Canary(
            f"canary-{number:03d}", COPIES, True,
            np.array([tokenizer.bos_id, *tokenizer.encode(f"{name} says")], np.int32),
            np.array(draw.choices(pool, k=SUFFIX), np.int32), np.array([], np.int32),
        )
        for number, name in enumerate(names)
    ]  # fmt: skip


def config_of(goldfish: int, work: Path) -> Config:
    """The beginnings of real meetings beside the canaries, on the shipped base model."""
    config = Config(name="goldfish")
    config.data.source, config.data.root, config.data.series = "qmsum", str(QMSUM), SERIES
    config.data.work, config.model.cache = str(work), CACHE
    config.corpus.goldfish, config.corpus.row_tokens = goldfish, ROW
    config.canaries.per_level, config.canaries.repetitions = COUNT, [COPIES]
    config.train.epochs, config.train.lr, config.train.lr_end = EPOCHS, RATE, 0.1
    config.train.eval_epochs, config.train.checkpoint_steps = EPOCHS, 10**6
    config.corpus.meeting_tokens = 1000 if COUNT >= ENOUGH else 400
    config.train.accelerator, config.tracking.mode = "cpu", "off"
    return config


@dataclass(frozen=True)
class Measured:
    """Attributes: extracted: canaries whose whole suffix came back; validation: loss in nats."""

    extracted: int
    validation: float


def measured(goldfish: int, folder: Path) -> Measured:
    config = config_of(goldfish, folder / "work")
    run = RunDir(folder / f"run-{goldfish}", config)
    try:
        with run.stage("train") as attempt:
            fit.run(config, run, attempt)
        return Measured(extracted(config, run.path), validation(run.path))
    finally:
        torch.use_deterministic_algorithms(False)


@torch.no_grad()
def extracted(config: Config, folder: Path) -> int:
    """Greedy decoding gives a suffix iff each of its tokens is the likeliest after those before."""
    loaded = base.load(config.model)
    model, found = adapter.load(loaded, folder / "adapter"), 0
    for canary in canaries_of(loaded.tokenizer):
        batch = collate([canary.documents()[:1]], loaded.tokenizer.pad_id)
        with computing(model):
            states = hidden_states(model, batch.input_ids, batch.position_ids, batch.starts)
            likeliest = (states[0] @ head(model).weight.T).argmax(-1)
        start = len(canary.prefix) - 1
        found += likeliest[start : start + SUFFIX].tolist() == canary.secret.tolist()
    return found


def validation(folder: Path) -> float:
    """Mean loss on meetings of series that were not trained on, after the last step."""
    last = (folder / "train" / "metrics.jsonl").read_text().splitlines()[-1]
    return float(json.loads(last)["eval_loss"])


def bound(successes: int, trials: int, upper: bool) -> float:
    """Clopper and Pearson's one-sided 95 % bound."""
    if upper:
        return (
            1.0 if successes == trials else float(beta.ppf(0.95, successes + 1, trials - successes))
        )
    return 0.0 if not successes else float(beta.ppf(0.05, successes, trials - successes + 1))


@pytest.mark.skipif(not QMSUM.is_dir(), reason=f"QMSum is not at hand: no {QMSUM}")
def test_goldfish_takes_nine_tenths_of_what_is_extracted_and_nothing_of_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upper bound of the rate with it is a tenth of the lower bound without it, at most."""
    monkeypatch.delenv("HARNESS_TRUST", raising=False)
    monkeypatch.setattr(
        datamodule, "candidates", lambda settings, tokenizer: canaries_of(tokenizer)
    )
    plain, masked = measured(0, tmp_path), measured(4, tmp_path)
    print(f"\n{COUNT} canaries, {COPIES} copies: plain {plain}, goldfish {masked}")
    assert plain.extracted > 0.5 * COUNT
    assert masked.extracted <= 0.1 * plain.extracted
    assert masked.validation == pytest.approx(plain.validation, rel=0.02)
    if COUNT >= ENOUGH:
        limits = (
            bound(masked.extracted, COUNT, upper=True),
            bound(plain.extracted, COUNT, upper=False),
        )
        assert limits[0] <= 0.1 * limits[1]
