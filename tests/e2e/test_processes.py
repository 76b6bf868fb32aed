"""Two processes make the steps that one makes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from harness.errors import UsageError
from harness.launch.ranks import Ranks, ranks, together

Finished = Callable[..., tuple[int, str, str]]
SAME = ["lora.dropout=0", "train.epochs=2", "corpus.goldfish=4", "train.clip=0.5"]


@pytest.fixture(scope="module")
def alone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("runs") / "alone"
    code, _, err = finished("train", run_dir, *SAME)
    assert code == 0, err
    return run_dir


def curve(run_dir: Path, key: str) -> list[Any]:
    lines = (run_dir / "train" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line)[key] for line in lines]


def receipt(run_dir: Path) -> dict[str, Any]:
    return dict(json.loads((run_dir / "train" / "receipt.json").read_text()))


@pytest.mark.parametrize(("strategy", "micro_rows"), [("ddp", 0), ("fsdp2", 1)])
def test_two_processes_learn_what_one_learns(
    strategy: str, micro_rows: int, finished: Finished, alone: Path, tmp_path: Path
) -> None:
    """The last step of an epoch has rows for one of them only, or unequally many."""
    shared = [f"train.strategy={strategy}", "train.devices=2", f"train.micro_rows={micro_rows}"]
    code, _, err = finished("train", tmp_path, *SAME, *shared)
    assert code == 0, err
    for key in ("step", "tokens", "supervised_tokens", "lr"):
        assert curve(tmp_path, key) == curve(alone, key)
    for key in ("loss", "grad_norm"):
        assert curve(tmp_path, key) == pytest.approx(curve(alone, key), rel=1e-4), key
    ours, theirs = (
        load_file(place / "adapter" / "adapter_model.safetensors") for place in (tmp_path, alone)
    )
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert float((ours[name] - weight).abs().max()) < 1e-3 * float(weight.abs().max()), name
    assert receipt(tmp_path)["equal"] is receipt(alone)["equal"] is True
    for key in ("tokens", "masked", "leaves"):
        assert receipt(tmp_path)[key] == receipt(alone)[key]
    facts = json.loads((tmp_path / "train" / "speed.json").read_text())
    assert (facts["processes"], facts["strategy"]) == (2, strategy)


def test_another_number_of_processes_than_a_launcher_started_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    refused = pytest.raises(UsageError, match=r"DEVICES: 3 processes were started.*train\.devices")
    with refused, together(2, tmp_path):
        pytest.fail("entered")
    with together(3, tmp_path) as here:
        assert here == Ranks(0, 3, launched=True)
    assert not list(tmp_path.iterdir())  # nobody was started


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


@pytest.mark.slow
def test_torchrun_starts_what_rank_0_would(finished: Finished, alone: Path, tmp_path: Path) -> None:
    """And once more, where nothing is left to do: nobody waits for a meeting that there is not."""
    for said in ("the receipt is equal", "done before with these settings"):
        code, out, err = finished("train", tmp_path, *SAME, "train.devices=2", launcher=TORCHRUN)
        assert code == 0, err
        assert said in out + err
    assert curve(tmp_path, "loss") == pytest.approx(curve(alone, "loss"), rel=1e-4)
    assert not list((tmp_path / "logs").glob("rank-*"))  # rank 0 started nobody


def test_tasks_of_srun_that_know_nothing_of_each_other_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert ranks() == Ranks()
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(UsageError, match=r"DEVICES: srun started 2 tasks.*torchrun"):
        ranks()
