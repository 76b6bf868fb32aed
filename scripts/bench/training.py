"""Training speed beside TRL's SFTTrainer with PEFT: tokens with a loss a second, in turns.

Ours is the shipped command on shipped defaults plus model, data and batch; TRL runs in an
environment of its own. Both read the documents of one token file, packed into rows of 512, four
rows a step, documents isolated, LoRA of rank 16 on all linear layers, bfloat16 with float32 adapter
weights. Runs alternate; the first two steps of each warm up, four where it compiles. TRL packs and
orders the documents itself, except in one more run, which is given our rows in our order: its
losses stand beside ours step by step. The last line is one JSON object.

    scripts/bench/training.py --qmsum ../shared/data/qmsum [--quick] [--peer-python PYTHON]
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import venv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from harness.commitments.merkle import set_root
from harness.commitments.receipt import Committer
from harness.config import Config
from harness.consent import gate
from harness.consent.sources import prepare
from harness.corpus.datamodule import MeetingData
from harness.models import base
from harness.rundir import read_json
from harness.training.meter import gemm_peak

PEER = Path(__file__).parent / "peers" / "trl_sft.py"
NEEDS = ["trl==1.16.0", "peft==0.21.2", "transformers==5.23.0", "accelerate", "datasets"]
WARM = 2  # steps of a run that do not count
COMPILING = 4  # likewise where compilers work: TRL's compiles again in its third step
ROWS, LENGTH, LR = 4, 512, 2e-4


def main() -> None:
    """Measure in turns and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--qmsum", type=Path, default=Path("../shared/data/qmsum"))
    parser.add_argument("--work", type=Path, default=Path("runs/bench-training"))
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--compiled-pairs", type=int, default=1)
    parser.add_argument("--steps", type=int, default=4, help="that count, of each run")
    parser.add_argument("--quick", action="store_true", help="two pairs, nothing compiled")
    arguments = parser.parse_args()
    if not arguments.qmsum.is_dir():
        print(json.dumps({"skipped": f"no QMSum at {arguments.qmsum.name}"}))
        return
    if arguments.quick:
        arguments.pairs, arguments.compiled_pairs = 2, 0
    arguments.work.mkdir(parents=True, exist_ok=True)
    python = arguments.peer_python or peer_environment(arguments.work / "peer")
    config = settings(arguments)
    tokens, data = token_file(config, arguments.work / "tokens.npz",
                              WARM + arguments.steps)  # fmt: skip
    print(f"token file {tokens['sha256'][:16]}: {tokens['documents']} documents, "
          f"{tokens['tokens']} tokens; packed fill {tokens['fill']:.4f}", flush=True)  # fmt: skip
    peers, ours = [], []
    for number in range(arguments.pairs):
        peers.append(peer(python, config, arguments, ()))
        ours.append(mine(arguments, number, data, ()))
        print(line("TRL packed", peers[-1]), line("ours", ours[-1]), sep="\n", flush=True)
    padded = peer(python, config, arguments, ("--padded",))
    print(line("TRL padded", padded), flush=True)
    same = peer(python, config, arguments, ("--laid-out",))
    print(line("TRL, our rows", same), flush=True)
    found = {
        "token_file_sha256": tokens["sha256"], **summary(ours, peers, "eager"),
        "peer_padded_tokens_per_second": round(padded["speed"], 1),
        "peer_our_rows_tokens_per_second": round(same["speed"], 1),
        "losses": [round(loss, 4) for loss in ours[-1]["losses"]],
        "peer_losses_on_our_rows": [round(loss, 4) for loss in same["losses"]],
        **compiled(python, config, arguments, data, peers),
    }  # fmt: skip
    print(json.dumps(found))


def peer_environment(folder: Path) -> Path:
    """The peer's own environment, made once; its torch is the one that ours has."""
    python = folder / "bin" / "python"
    if not (folder / ".ready").exists():
        venv.create(folder, with_pip=True)
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, f"torch=={torch.__version__.partition('+')[0]}"], check=True)
        subprocess.run([*install, *NEEDS], check=True)
        (folder / ".ready").touch()
    return python


def settings(arguments: argparse.Namespace) -> Config:
    """What both sides share; three of QMSum's series hold steps enough."""
    config = Config()
    config.data.source, config.data.root = "qmsum", str(arguments.qmsum)
    config.data.work = str(arguments.work / "data")
    config.corpus.row_tokens, config.train.batch_rows = LENGTH, ROWS
    config.model.cache = os.environ.get("HARNESS_CACHE", ".harness/models")
    return config


def token_file(config: Config, path: Path, steps: int) -> tuple[dict[str, Any], MeetingData]:
    """Write the documents of the gated corpus, canaries and all, as both sides read them, and the
    rows of our first steps."""
    loaded = base.load(config.model)
    data = MeetingData(gate.admit(prepare(config.data), config, datetime.now(UTC)),
                       loaded.tokenizer, config)  # fmt: skip
    documents = data.steps.documents
    lengths = np.array([len(document) for document in documents])
    ids = np.concatenate([document.ids for document in documents])
    place = {id(document): number for number, document in enumerate(documents)}
    rows = [row for step in range(min(steps, len(data.steps))) for row in data.steps[step]]
    np.savez(path, ids=ids, lengths=lengths, in_row=[len(row) for row in rows],
             order=[place[id(document)] for row in rows for document in row])  # fmt: skip
    digest = hashlib.sha256(ids.tobytes() + lengths.tobytes()).hexdigest()
    fill = float(lengths.sum() / (LENGTH * len(data.steps.rows)))
    return {"sha256": digest, "documents": len(documents), "tokens": int(lengths.sum()),
            "fill": fill}, data  # fmt: skip


def mine(
    arguments: argparse.Namespace, number: int, data: MeetingData, more: tuple[str, ...]
) -> dict[str, Any]:
    """One run of the shipped command, stopped by a signal when its steps are made."""
    run_dir = arguments.work / f"ours-{number}-{stamp()}"
    words = [
        sys.executable, "-m", "harness.cli", "train", "data=qmsum", f"data.root={arguments.qmsum}",
        f"data.work={arguments.work / 'data'}", f"corpus.row_tokens={LENGTH}", "train.epochs=1",
        f"train.batch_rows={ROWS}", f"train.lr={LR}", "train.lr_end=1", "train.warmup=0",
        "train.eval_epochs=0", "train.checkpoint_steps=100000", "tracking=off",
        f"run_dir={run_dir}", *more,
    ]  # fmt: skip
    warm = _warm(more)
    steps = warm + arguments.steps
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        metrics = run_dir / "train" / "metrics.jsonl"
        while process.poll() is None:
            if metrics.exists() and metrics.read_bytes().count(b"\n") >= steps:
                process.terminate()
                break
            try:
                process.wait(0.2)
            except subprocess.TimeoutExpired:
                continue
        _, errors = process.communicate()
    if process.returncode != 75:
        raise RuntimeError(errors.decode()[-500:])
    lines = [json.loads(text) for text in metrics.read_text().splitlines()][:steps]
    check_same_tokens(run_dir, data)
    counts = np.diff([0, *(entry["supervised_tokens"] for entry in lines)])
    speeds = [entry["supervised_tokens_per_second"] for entry in lines]
    seconds = [count / each for count, each in zip(counts, speeds, strict=True)]
    return {
        "speed": speed(counts[warm:], seconds[warm:]), "losses": [entry["loss"] for entry in lines],
        "peak_memory_mb": lines[-1]["peak_memory_mb"], "mfu": lines[-1]["mfu"],
        "first": seconds[0],
    }  # fmt: skip


def check_same_tokens(run_dir: Path, data: MeetingData) -> None:
    """The run's own plan is made of the documents of the token file, by its keyed root."""
    key = (run_dir / "private" / "audit.key").read_bytes()
    latest = read_json(run_dir / "checkpoints" / "LATEST.json")
    header = (run_dir / "checkpoints" / latest["file"]).read_bytes()
    size = int.from_bytes(header[:8], "little")
    state = json.loads(json.loads(header[8 : 8 + size])["__metadata__"]["state"])
    assert state["train_root"] == set_root(Committer(key).documents(data.meetings))


def peer(
    python: Path, config: Config, arguments: argparse.Namespace, more: tuple[str, ...]
) -> dict[str, Any]:
    """One run of TRL."""
    words = [
        str(python), str(PEER), "--model", str(Path(config.model.cache) / "smollm2-135m"),
        "--tokens", str(arguments.work / "tokens.npz"), "--out", str(arguments.work / "trl"),
        "--rows", str(ROWS), "--length", str(LENGTH), "--lr", str(LR), "--steps",
        str(_warm(more) + arguments.steps), *more,
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["adapter_dtypes"] == ["torch.float32"]
    warm = _warm(more)
    found["speed"] = speed(found["supervised"][warm:], found["seconds"][warm:])
    found["first"] = found["seconds"][0]
    return found


def speed(counts: Any, seconds: Any) -> float:
    """Tokens with a loss a second, over the steps that count."""
    return float(sum(counts) / sum(seconds))


def _warm(more: tuple[str, ...]) -> int:
    return COMPILING if any("compile" in word for word in more) else WARM


def summary(ours: list[Any], peers: list[Any], name: str) -> dict[str, Any]:
    """Medians and the median ratio of pairs."""
    mine_, theirs = ([run["speed"] for run in runs] for runs in (ours, peers))
    ratios = [a / b for a, b in zip(mine_, theirs, strict=True)]
    peak = gemm_peak(torch.device("cpu"), base.compute_dtype("auto"))
    memory = statistics.median(r["peak_memory_mb"] for r in ours) / statistics.median(
        r["peak_memory_mb"] for r in peers
    )
    return {
        "tokens_per_second": round(statistics.median(mine_), 1),
        "peer_tokens_per_second": round(statistics.median(theirs), 1),
        f"ratio_{name}": round(statistics.median(ratios), 3),
        f"ratios_{name}": [round(ratio, 3) for ratio in ratios],
        "peak_memory_ratio": round(memory, 3),
        "gemm_share": round(statistics.median(run["mfu"] for run in ours), 4),
        "gemm_peak_tflops": round(peak / 1e12, 4),
    }  # fmt: skip


def compiled(
    python: Path, config: Config, arguments: argparse.Namespace, data: MeetingData,
    packed: list[Any],
) -> dict[str, Any]:  # fmt: skip
    """Both sides compiled, after their warm-up."""
    if not arguments.compiled_pairs:
        return {"ratio_compiled": None}
    peers, ours = [], []
    for number in range(arguments.compiled_pairs):
        ours.append(mine(arguments, number, data, ("train.compile=on",)))
        print(line("ours compiled", ours[-1]), flush=True)
        peers.append(peer(python, config, arguments, ("--compile",)))
        print(line("TRL compiled", peers[-1]), flush=True)
    here, there = (statistics.median(run["speed"] for run in runs) for runs in (ours, peers))
    plain = statistics.median(run["speed"] for run in packed)
    return {
        "compiled_tokens_per_second": round(here, 1),
        "peer_compiled_tokens_per_second": round(there, 1),
        "ratio_compiled": round(here / there, 3),
        "ratio_compiled_to_peer_not_compiled": round(here / plain, 3),
        "first_step_seconds_compiled": round(ours[-1]["first"], 1),
        "peer_first_step_seconds_compiled": round(peers[-1]["first"], 1),
    }


def line(name: str, run: dict[str, Any]) -> str:
    """A run in one line."""
    return (f"{name:14} {run['speed']:7.1f} tokens/s  peak {run['peak_memory_mb']:.0f} MiB  "
            f"first step {run['first']:.1f} s  losses "
            + " ".join(f"{loss:.3f}" for loss in run["losses"]))  # fmt: skip


def stamp() -> str:
    """A name that no earlier run has."""
    return datetime.now(UTC).strftime("%H%M%S%f")


if __name__ == "__main__":
    main()
