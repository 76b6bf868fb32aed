"""The model card that travels with an adapter, filled from the run's own record."""

from typing import Any

from harness.config import Config

_CARD = """---
library_name: peft
tags: [lora, meetings, consent-gated]
---

# LoRA adapter, trained on consented meetings

Base model: {base} (SHA-256 of its weights, or commit of the hub: `{base_sha256}`).
LoRA rank {r}, alpha {alpha}, targets {targets}; {passes} epochs at peak learning rate {lr}.

```python
from peft import PeftModel
from transformers import AutoModelForCausalLM

model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(BASE), ADAPTER)
```

## What it was trained on

Turns that manifest `{manifest_sha256}` (epoch {epoch}) admits, and planted canaries:
{tokens} tokens entered the forward pass. Root of the admitted turns `{train_root}`,
of the canaries `{canary_root}`, of what was observed `{observed_root}`: {verdict}.

## What it may give away

See `probes/results.json` and `report.html` of the run before this adapter leaves its folder.
"""


def model_card(config: Config, receipt: dict[str, Any]) -> str:
    """Markdown of the card.

    Args:
        receipt: of the training; see :func:`harness.commitments.receipt.receipt`.
    """
    verdict = "equal, nothing else came in" if receipt["equal"] else "NOT equal"
    return _CARD.format(
        **receipt, verdict=verdict, r=config.lora.r, alpha=config.lora.alpha,
        targets=config.lora.targets, passes=config.train.epochs, lr=config.train.lr,
    )  # fmt: skip
