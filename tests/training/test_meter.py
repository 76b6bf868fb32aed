"""The meter's count of operations against PyTorch's own count of what truly ran."""

import json

import pytest
import torch
from peft import PeftModel
from torch.utils.flop_counter import FlopCounterMode

from factories import admitted, meeting, tiny_config
from harness.commitments.receipt import Committer, Observer
from harness.config import Config
from harness.corpus.datamodule import Batch, MeetingData
from harness.models import adapter, base
from harness.training.meter import Cost, Meter, cost, gemm_peak, padding
from harness.training.module import LoraModule

LAYERS, WIDTH, INNER, KV, RANK = 2, 64, 128, 32, 4  # of the tiny model and its adapter
FROZEN = LAYERS * (2 * WIDTH * WIDTH + 2 * WIDTH * KV + 3 * WIDTH * INNER)
FIRST = WIDTH * (WIDTH + 2 * KV) + 3 * WIDTH * RANK  # q, k, v of layer 0, and their A

Shape = tuple[int, int]


def parts(config: Config) -> tuple[LoraModule, MeetingData, PeftModel]:
    config.lora.dropout, config.lora.r = 0.0, RANK
    config.model.attention = "eager"  # PyTorch does not look into our own operator
    loaded = base.load(config.model)
    data = MeetingData(admitted(tuple(meeting(f"m{i}", 30) for i in range(4))),
                       loaded.tokenizer, config)  # fmt: skip
    model = adapter.attach(loaded, config.lora, 0)
    observer = Observer(Committer(b"k" * 32), loaded.tokenizer.bos_id, loaded.tokenizer.pad_id)
    return LoraModule(model, config.train, len(data.steps), observer), data, model


def product(added: Shape, left: Shape, right: Shape, **rest: object) -> int:
    return 2 * left[0] * left[1] * right[1]


def counted(module: LoraModule, batch: Batch) -> int:
    """PyTorch's counter, told that the product in place is a product."""
    known = {torch.ops.aten.addmm_: product}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        module._loss(batch).backward()
    return int(counter.get_total_flops())


@pytest.mark.parametrize("goldfish", [0, 2])
@pytest.mark.parametrize("rows", [1, 3])
def test_our_count_is_what_runs_less_what_need_not(rows: int, goldfish: int) -> None:
    """Of rows that one document fills, what ran differs by the other half of attention's square,
    which is masked, and by nothing else."""
    config = tiny_config()
    config.corpus.goldfish = goldfish
    module, data, model = parts(config)
    full = [document for document in data.meetings if len(document) == 64][:rows]
    assert len(full) == rows
    batch = data.collate([[document] for document in full])
    assert (batch.supervised < batch.tokens - rows) == bool(goldfish)
    half = 6 * LAYERS * WIDTH * rows * 64**2
    ours = cost(model).of(batch)
    assert ours < counted(module, batch) == ours + half


def test_padding_and_other_documents_in_a_row_cost_nothing() -> None:
    """They are computed by this attention and this packing, and are no use to anybody."""
    module, data, model = parts(tiny_config())
    steps = [data.steps[number] for number in range(len(data.steps))]
    row = next(row for step in steps for row in step if len(row) > 1)
    batch = data.collate([row, [data.meetings[0]]])
    row = [*row, data.meetings[0]]
    lengths, token = [len(document) for document in row], cost(model).token
    pairs = sum(length**2 for length in lengths)
    supervised = 4 * WIDTH * len(module.model.get_input_embeddings().weight)
    expected = token * sum(lengths) + supervised * batch.supervised + 6 * LAYERS * WIDTH * pairs
    assert cost(model).of(batch) == expected < counted(module, batch)


def test_frozen_weights_count_four_times_and_not_six() -> None:
    _, _, model = parts(tiny_config())
    adapted = sum(weight.numel() for weight in adapter.trained(model))
    assert cost(model).token == 4 * FROZEN + 6 * adapted - 2 * FIRST


def test_the_peak_is_a_speed_and_measuring_it_moves_no_random_state() -> None:
    before = torch.get_rng_state()
    peak = gemm_peak(torch.device("cpu"), torch.float32, seconds=0.05)
    assert 1e8 < peak < 1e14
    assert torch.equal(before, torch.get_rng_state())


def test_the_report_gives_medians_and_the_padding_of_all_steps() -> None:
    meter = Meter(Cost(10, 20, 1), peak=1e6, facts={"device": "cpu"})
    assert meter.report()["steps"] == 0
    assert "mfu" not in meter.report()
    assert meter.step(2.0, 100, 50, 128, 400_000) == pytest.approx(0.2)
    meter.step(1.0, 100, 90, 128, 400_000)
    meter.step(1.0, 300, 100, 384, 900_000)
    report = meter.report()
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert (report["device"], report["steps"], report["first_step_seconds"]) == ("cpu", 3, 2.0)
    assert report["tokens_per_second"] == 100
    assert report["supervised_tokens_per_second"] == 90
    assert report["mfu"] == 0.4
    assert report["padding"] == round(1 - 500 / 640, 4)
    assert (report["flops_per_token"], report["flops_per_supervised_token"]) == (10, 20)


def test_padding_of_rows_and_of_a_private_step_that_drew_none() -> None:
    assert padding(75, 100) == 0.25
    assert padding(0, 0) == 0.0
