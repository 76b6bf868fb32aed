"""TRL's SFTTrainer with PEFT on one token file: the peer of scripts/bench/training.py.

Runs in an environment of its own (``pip install trl peft transformers torch``), imports nothing of
the harness, and prints one JSON object last.
"""

import argparse
import json
import resource
import time
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Seconds at the end of each optimiser step."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        self.ends.append(time.perf_counter())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Note the end of a step."""
        self.ends.append(time.perf_counter())


def dataset(path: str, laid_out: bool) -> Dataset:
    """Documents of the token file, in its order; or the rows that it lays them out in."""
    held = np.load(path)
    cuts = np.cumsum(held["lengths"])[:-1]
    documents = [[int(i) for i in part] for part in np.split(held["ids"], cuts)]
    if not laid_out:
        return Dataset.from_dict({"input_ids": documents})
    rows = np.split(held["order"], np.cumsum(held["in_row"])[:-1])
    return Dataset.from_dict({
        "input_ids": [[token for i in row for token in documents[i]] for row in rows],
        "seq_lengths": [[len(documents[i]) for i in row] for row in rows],
    })  # fmt: skip


def main() -> None:
    """Train for some steps; print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--tokens", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=7)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512)
    parser.add_argument("--lr", type=float, default=2e-4)
    parser.add_argument("--padded", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--laid-out", action="store_true", help="rows and their order are given")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(arguments.model, dtype=torch.bfloat16)
    lora = LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear",
                      task_type="CAUSAL_LM")  # fmt: skip
    settings = SFTConfig(
        output_dir=arguments.out, max_steps=arguments.steps, logging_steps=1, save_strategy="no",
        per_device_train_batch_size=arguments.rows, gradient_accumulation_steps=1, bf16=True,
        max_length=None if arguments.laid_out else arguments.length,
        packing=not arguments.padded and not arguments.laid_out, padding_free=arguments.laid_out,
        train_sampling_strategy="sequential" if arguments.laid_out else "random",
        shuffle_dataset=False, learning_rate=arguments.lr,
        gradient_checkpointing=False, torch_compile=arguments.compile, report_to="none",
        lr_scheduler_type="constant", warmup_steps=0, use_cpu=not torch.cuda.is_available(),
        dataloader_num_workers=0, disable_tqdm=True, optim="adamw_torch_fused", max_grad_norm=1.0,
    )  # fmt: skip
    clock = Clock()
    trainer = SFTTrainer(
        model=model, args=settings, train_dataset=dataset(arguments.tokens, arguments.laid_out),
        peft_config=lora,
        processing_class=AutoTokenizer.from_pretrained(arguments.model), callbacks=[clock],
    )  # fmt: skip
    counts: list[int] = []
    collate = trainer.data_collator

    def counted(rows: list[Any]) -> Any:
        batch = collate(rows)
        counts.append(int((batch["labels"] != -100).sum()))
        return batch

    trainer.data_collator = counted
    trainer.train()
    seconds = np.diff(clock.ends).tolist()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    kinds = sorted({str(w.dtype) for w in trainer.model.parameters() if w.requires_grad})
    print(json.dumps({
        "seconds": seconds, "supervised": counts[: len(seconds)], "losses": losses,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "adapter_dtypes": kinds, "rows": len(trainer.train_dataset),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
