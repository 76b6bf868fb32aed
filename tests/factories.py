"""Small permissions and configurations that tests of several rooms build on."""

import random

from harness.config import Config
from harness.consent.capability import (
    GATE_KEY,
    Admitted,
    Authority,
    GatedMeeting,
    GatedTurn,
)
from harness.corpus.canaries import WORDS

AUTHORITY = Authority("0" * 64, 1, "2026-01-01T00:00:00Z", True, (0, None), "0" * 64, False)


def meeting(name: str, turns: int = 6, seed: int = 0, arm: str = "train") -> GatedMeeting:
    """A meeting of short turns by three speakers, drawn from the canary words."""
    draw = random.Random(f"{name}-{seed}")
    said = (" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in range(turns))
    spoken = tuple(GatedTurn("transcript", i, i % 3, text) for i, text in enumerate(said))
    return GatedMeeting(name, f"series-{name[0]}", arm, "2026-01-05", spoken)


def admitted(
    train: tuple[GatedMeeting, ...] | None = None, validation: tuple[GatedMeeting, ...] = ()
) -> Admitted:
    """A permission to train, as the gate would make it."""
    train = train if train is not None else tuple(meeting(f"m{i}") for i in range(6))
    return Admitted(AUTHORITY, train, validation, {}, GATE_KEY)


def tiny_config(**train: object) -> Config:
    """The tiny model with short rows, few canaries and a few quick steps, on the CPU."""
    config = Config(name="test", run_dir="runs/test")
    config.model.source, config.model.dtype = "tiny", "float32"
    config.corpus.row_tokens = 64
    config.canaries.per_level, config.canaries.repetitions = 3, [1, 2]
    config.lora.r, config.lora.dropout = 4, 0.1
    config.tracking.mode = "off"
    settings = {"epochs": 2, "batch_rows": 2, "checkpoint_steps": 3, "eval_epochs": 1,
                "threads": 1, "accelerator": "cpu", "lr": 1e-2} | train  # fmt: skip
    for key, value in settings.items():
        setattr(config.train, key, value)
    return config
