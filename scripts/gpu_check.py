"""Measure training on this machine's GPU: `make gpu-check`. Prints one JSON object last.

Runs the shipped command on the demo's made meetings and on models of random weights in the shapes
of well-known ones, for speed and memory do not depend on weights. Checks that attention agrees with
its masked form, that packed documents are isolated to the bit, and that a training that was killed
ends with the bits of one that was not.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.corpus.canaries import WORDS
from harness.models import attention
from harness.models.tokenizer import tiny_tokenizer
from harness.training.meter import gemm_peak

SHAPES = {
    "135m": {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
             "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
             "tie_word_embeddings": True},
    "1b": {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
           "tie_word_embeddings": True},
    "8b": {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
           "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
           "tie_word_embeddings": False},
}  # fmt: skip


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/gpu-check"))
    parser.add_argument("--models", default="135m,1b,8b")
    parser.add_argument("--row-tokens", type=int, default=4096)
    parser.add_argument("--batch-rows", type=int, default=3)
    parser.add_argument("--micro-rows", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--settings", nargs="*", default=[
        "train.compile=off", "train.compile=on", "train.compile=on train.deterministic=false",
    ])  # fmt: skip
    parser.add_argument("--skip", nargs="*", default=[], choices=["attention", "resume"])
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu-check: there is no CUDA device here")
    device = torch.device("cuda")
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name(), "torch": torch.__version__,
        "gemm_peak_tflops": round(gemm_peak(device, torch.bfloat16) / 1e12, 1),
    }  # fmt: skip
    print(json.dumps(found), flush=True)
    if "attention" not in arguments.skip:
        found["attention"] = check_attention(device)
        print(json.dumps(found["attention"]), flush=True)
    found["speed"] = []
    for name in arguments.models.split(","):
        folder = made_model(name, arguments.work / "models" / name)
        if name == "135m" and "resume" not in arguments.skip:
            found["resume"] = check_resume(folder, arguments)
            print(json.dumps(found["resume"]), flush=True)
        for settings in arguments.settings:
            found["speed"].append(measure(name, folder, settings, arguments))
            print(json.dumps(found["speed"][-1]), flush=True)
        shutil.rmtree(folder)
    print(json.dumps(found))


def made_model(name: str, folder: Path) -> Path:
    """Random weights in a known shape, and the byte-level tokenizer of the tests."""
    torch.manual_seed(0)
    with torch.device("cuda"):
        config = LlamaConfig(**SHAPES[name], max_position_embeddings=8192, bos_token_id=1,
                             eos_token_id=2, pad_token_id=2, dtype="bfloat16")  # fmt: skip
        before = torch.get_default_dtype()
        torch.set_default_dtype(torch.bfloat16)
        model = LlamaForCausalLM(config)
        torch.set_default_dtype(before)
    model.save_pretrained(folder)
    tiny_tokenizer(WORDS).save_pretrained(folder)
    del model
    torch.cuda.empty_cache()
    return folder


def check_attention(device: torch.device) -> dict[str, Any]:
    """Our attention on this device beside its masked form in float32, and isolation to the bit."""
    torch.manual_seed(0)
    lengths = torch.tensor([[700, 30, 5, 289], [1024, 0, 0, 0]])
    positions = torch.stack([torch.cat([torch.arange(int(n)) for n in row]) for row in lengths])
    starts = attention.document_starts(positions.to(device))
    q, k, v = (torch.randn(2, heads, 1024, 64, device=device, dtype=torch.bfloat16,
                           requires_grad=True) for heads in (9, 3, 3))  # fmt: skip
    ours = attention.within_documents(torch.nn.Module(), q, k, v, None, document_starts=starts)[0]
    exact = [x.detach().float().requires_grad_() for x in (q, k, v)]
    theirs = attention._masked(*exact, starts, 64**-0.5)
    weight = torch.randn_like(theirs)
    mine = torch.autograd.grad((ours.float() * weight).sum(), (q, k, v))
    reference = torch.autograd.grad((theirs * weight).sum(), exact)
    changed = [x.detach().clone() for x in (q, k, v)]
    for x in changed:
        x[0, :, 700:730] += 1
    after = attention.within_documents(torch.nn.Module(), *changed, None, document_starts=starts)[0]
    same = torch.ones(1024, dtype=torch.bool, device=device)
    same[700:730] = False
    return {
        "relative_error": round(_error(ours, theirs), 5),
        "relative_error_of_gradients": [
            round(_error(a, b), 5) for a, b in zip(mine, reference, strict=True)
        ],
        "isolated_to_the_bit": bool(
            torch.equal(after[0][same], ours[0][same]) and torch.equal(after[1], ours[1])
        ),
    }  # fmt: skip


def _error(found: torch.Tensor, exact: torch.Tensor) -> float:
    return float((found.detach().float() - exact.detach()).norm() / exact.detach().norm())


def command(folder: Path, run_dir: Path, arguments: argparse.Namespace, *more: str) -> list[str]:
    """The shipped command on a made model."""
    return [
        sys.executable, "-m", "harness.cli", "train", "model=hub", f"model.name={folder}",
        f"run_dir={run_dir}", "tracking=off", f"data.work={arguments.work / 'data'}",
        "model.dtype=bfloat16", f"corpus.row_tokens={arguments.row_tokens}",
        f"train.epochs={arguments.epochs}", f"train.batch_rows={arguments.batch_rows}",
        f"train.micro_rows={arguments.micro_rows}",
        "train.eval_epochs=0", "canaries.per_level=4", "train.lr=2e-4", *more,
    ]  # fmt: skip


def measure(
    name: str, folder: Path, settings: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Train one epoch; the mean speed over all but the first quarter of its steps."""
    run_dir = arguments.work / f"{name}-{hashlib.sha256(settings.encode()).hexdigest()[:6]}"
    shutil.rmtree(run_dir, ignore_errors=True)
    words = command(folder, run_dir, arguments, "train.checkpoint_steps=1000", *settings.split())
    begun = time.perf_counter()
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - begun
    if done.returncode:
        return {"model": name, "settings": settings, "failed": done.stderr.strip()[-300:]}
    lines = (run_dir / "train" / "metrics.jsonl").read_text().splitlines()
    steps = [json.loads(line) for line in lines]
    later = steps[len(steps) // 4 :]
    spent = sum((b["tokens"] - a["tokens"]) / b["tokens_per_second"] for a, b in pairwise(later))
    report = json.loads((run_dir / "train" / "speed.json").read_text())
    return {
        "model": name, "settings": settings, "steps": len(steps), "seconds": round(seconds, 1),
        "tokens_per_second": round((later[-1]["tokens"] - later[0]["tokens"]) / spent),
        "supervised_tokens_per_second": round(
            (later[-1]["supervised_tokens"] - later[0]["supervised_tokens"]) / spent
        ),
        "mfu": round(statistics.mean(s["mfu"] for s in later), 3),
        "peak_memory_mb": later[-1]["peak_memory_mb"], "padding": report["padding"],
        "attention": report["attention"], "gemm_peak_tflops": report["gemm_peak_tflops"],
        "first_step_seconds": report["first_step_seconds"], "loss": later[-1]["loss"],
    }  # fmt: skip


def check_resume(folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Kill a training at two steps and let it go on; compare with an undisturbed one."""
    digests, small = {}, ["corpus.row_tokens=1024", "train.epochs=1"]
    for kills in ([], [2, 5]):
        run_dir = arguments.work / f"resume-{len(kills)}"
        shutil.rmtree(run_dir, ignore_errors=True)
        words = command(folder, run_dir, arguments, "train.checkpoint_steps=3", "lora.dropout=0.1",
                        "train.compile=off")  # fmt: skip
        for step in kills:
            kill_at([*words, *small], run_dir / "train" / "metrics.jsonl", step)
        subprocess.run([*words, *small], capture_output=True, check=True)
        data = (run_dir / "adapter" / "adapter_model.safetensors").read_bytes()
        digests[len(kills)] = hashlib.sha256(data).hexdigest()
    return {"same_bits": digests[0] == digests[2], "adapter_sha256": digests[0]}


def kill_at(words: list[str], metrics: Path, step: int) -> None:
    """Start a training and kill it once it has made so many steps."""
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            done = metrics.read_bytes().count(b"\n") if metrics.exists() else 0
            if done >= step:
                os.kill(process.pid, signal.SIGKILL)
                return
            time.sleep(0.002)
    raise RuntimeError(f"the training ended before step {step} and was not killed")


if __name__ == "__main__":
    main()
