"""What merging rounds away: logits of base and adapter beside those of the merged model.

Every number compares next-token logits at all positions of the texts, in rows of 256 tokens, and is
a share of the standard deviation of the position's logits over the vocabulary with the adapter on
in float32. Weights are merged and rounded by ``harness export``; "float32" and "bfloat16" say what
the forward pass computes in. Figures and what they mean: ``docs/adapters.md``.

usage: python scripts/merged_logits.py RUN_DIR TEXT...
"""

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from harness.models import adapter, base
from harness.models.export import export
from harness.rundir import load_config

ROW, ROWS = 256, 8


def main() -> None:
    """Print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("texts", nargs="+", type=Path)
    asked = parser.parse_args()
    ids = rows(asked.run_dir, asked.texts)
    exact = attached(asked.run_dir, "float32", ids)
    print(f"{ids.shape[0]} rows of {ids.shape[1]} tokens")
    tell("adapter on, bfloat16", exact, attached(asked.run_dir, "bfloat16", ids))
    for stored in ("float32", "bfloat16"):
        with tempfile.TemporaryDirectory() as name:
            export(asked.run_dir, Path(name) / "merged", dtype=stored)
            for computed in ("float32", "bfloat16") if stored == "bfloat16" else ("float32",):
                got = merged(Path(name) / "merged", computed, ids)
                tell(f"merged in {stored}, {computed}", exact, got)


def rows(run_dir: Path, texts: Iterable[Path]) -> Tensor:
    """Token ids of the texts, shape (rows, ``ROW``)."""
    tokenizer = base.load(load_config(run_dir).model).tokenizer
    ids = [i for path in texts for i in tokenizer.encode(path.read_text())]
    whole = min(ROWS, len(ids) // ROW)
    return torch.tensor(ids[: whole * ROW]).view(whole, ROW)


def attached(run_dir: Path, dtype: str, ids: Tensor) -> Tensor:
    """Logits of the base with the adapter on."""
    settings = load_config(run_dir).model
    settings.dtype = dtype
    model = adapter.load(base.load(settings), run_dir / "adapter")
    with adapter.computing(model):
        return logits(model, ids)


def merged(folder: Path, dtype: str, ids: Tensor) -> Tensor:
    """Logits of the merged model, by plain transformers."""
    return logits(AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval(), ids)


def logits(model: Any, ids: Tensor) -> Tensor:
    """Logits in float32, shape (positions, vocabulary)."""
    with torch.no_grad():
        return torch.cat([model(input_ids=row.unsqueeze(0)).logits[0].float() for row in ids])


def tell(what: str, exact: Tensor, got: Tensor) -> None:
    """Print how far ``got`` lies from ``exact``."""
    share = (got - exact).abs() / exact.std(dim=-1, keepdim=True)
    kl = torch.nn.functional.kl_div(
        got.log_softmax(-1), exact.log_softmax(-1), log_target=True, reduction="batchmean"
    )
    same = (got.argmax(-1) == exact.argmax(-1)).float().mean()
    print(f"{what}: max {share.max():.2g}, mean {share.mean():.2g}, KL {kl:.2g} nats, "
          f"same first choice at {same:.2%}")  # fmt: skip


if __name__ == "__main__":
    main()
