"""The step: how it is cut changes nothing; learning rate, validation, bfloat16 and its masters."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from factories import admitted, meeting, tiny_config
from harness.commitments.receipt import Committer, Observer
from harness.config import Config, Train
from harness.corpus.datamodule import MeetingData, Step
from harness.models import adapter, base
from harness.models.base import Base
from harness.training.module import LoraModule, learning_rate
from harness.training.privacy import GradientNotFinite


@given(st.integers(1, 500), st.floats(0, 0.5), st.floats(0, 1))
def test_the_rate_rises_then_falls_between_its_bounds(
    total: int, warmup: float, floor: float
) -> None:
    settings = Train(lr=0.1, warmup=warmup, lr_end=floor)
    rates = [learning_rate(step, total, settings) for step in range(total)]
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert max(rates) == pytest.approx(0.1)
    assert all(0.1 * floor <= rate * 1.000001 for rate in rates[peak:])


@pytest.fixture
def parts() -> tuple[LoraModule, MeetingData, Observer]:
    config = tiny_config()
    loaded = base.load(config.model)
    data = MeetingData(admitted(validation=(meeting("v"),)), loaded.tokenizer, config)
    observer = Observer(Committer(b"k" * 32), loaded.tokenizer.bos_id, loaded.tokenizer.pad_id)
    model = adapter.attach(loaded, config.lora, 0)
    return LoraModule(model, config.train, len(data.steps), observer), data, observer


def test_validation_is_not_observed_and_is_deterministic(
    parts: tuple[LoraModule, MeetingData, Observer],
) -> None:
    module, data, observer = parts
    module.train()
    losses = {module.evaluate(data.validation_batches()) for _ in range(2)}
    assert len(losses) == 1
    assert 3 < losses.pop() < 8  # about the log of a vocabulary of 323
    assert not observer.seen


def test_dropout_is_as_on_after_validation_as_before(
    parts: tuple[LoraModule, MeetingData, Observer],
) -> None:
    """A resumed training has made no validation yet; its modes must be the same all the same."""
    module, data, _ = parts
    before = {name: part.training for name, part in module.model.named_modules()}
    module.evaluate(data.validation_batches())
    assert {name: part.training for name, part in module.model.named_modules()} == before
    assert all(before.values())


def test_the_observer_sees_what_enters_with_a_gradient(
    parts: tuple[LoraModule, MeetingData, Observer],
) -> None:
    module, data, observer = parts
    module.train()
    step = data.step(0)
    module._accumulate(step)
    module._show_observer()
    assert observer.tokens == step.tokens
    assert all(w.grad is None for n, w in module.model.named_parameters() if "lora" not in n)
    assert any(w.grad is not None for n, w in module.model.named_parameters() if "lora" in n)


class Spoilt:
    """Clips documents, none of which has a gradient."""

    def take(self, weights: list[object]) -> None:
        raise GradientNotFinite("GRADIENT_NOT_FINITE", "a document's gradient is no number")


def test_a_documents_gradient_that_is_no_number_makes_the_step_none_in_every_process(
    parts: tuple[LoraModule, MeetingData, Observer],
) -> None:
    """The sum over processes carries it; who alone left would only be missed by the others."""
    module, data, _ = parts
    module.train()
    assert math.isnan(float(module._accumulate_alone(data.step(0), Spoilt())))  # type: ignore[arg-type]


def masked() -> Config:
    """Steps whose parts hold unequal numbers of supervised tokens."""
    config = tiny_config(batch_rows=4)
    config.lora.dropout, config.corpus.goldfish, config.corpus.repeated = 0.0, 3, 12
    return config


def module_of(config: Config, loaded: Base) -> LoraModule:
    observer = Observer(Committer(b"k" * 32), loaded.tokenizer.bos_id, loaded.tokenizer.pad_id)
    return LoraModule(adapter.attach(loaded, config.lora, 0), config.train, 9, observer)


def cut(
    module: LoraModule, data: MeetingData, micro_rows: int, processes: int
) -> tuple[torch.Tensor, float]:
    """Gradient and loss of the first step, summed over processes that run one after another."""
    data.micro_rows, data.processes, loss = micro_rows, processes, 0.0
    for master in module.masters:
        master.grad = None
    for data.rank in range(processes):
        loss += float(module._accumulate(data.step(0)))
    return torch.cat([m.grad.flatten() for m in module.masters if m.grad is not None]), loss


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 1e-2)])
def test_neither_passes_nor_processes_change_gradient_and_loss(
    dtype: str, tolerance: float
) -> None:
    """Each bfloat16 gradient is rounded to 8 bits before it is added up in float32."""
    config = masked()
    config.lora.dtype = dtype
    loaded = base.load(config.model)
    data = MeetingData(admitted(), loaded.tokenizer, config)
    module = module_of(config, loaded)
    with torch.no_grad():  # B is zero at first, and half of the gradients with it
        for number, weight in enumerate(module.weights):
            torch.nn.init.normal_(weight, std=0.05, generator=torch.Generator().manual_seed(number))
    counts = {part.supervised for part in data.step(0).micro}
    whole, loss = cut(module, data, 0, 1)
    assert float(whole.norm()) > 0.01
    for processes in (1, 2, 3):
        for micro_rows in (0, 1, 2, 3):
            gradient, again = cut(module, data, micro_rows, processes)
            assert float((gradient - whole).norm() / whole.norm()) < tolerance
            assert again == pytest.approx(loss, rel=max(1e-6, tolerance / 100))
            counts |= {part.supervised for part in data.step(0).micro}
    assert len(counts) > 3


def test_the_loss_is_the_mean_over_the_tokens_that_have_one() -> None:
    """Not a mean of means, which the unequal passes would tell apart."""
    config = masked()
    loaded = base.load(config.model)
    data = MeetingData(admitted(), loaded.tokenizer, config)
    module = module_of(config, loaded)
    parts = [data.collate([[data.carriers[0]]]), data.collate([[d] for d in data.meetings[:3]])]
    counts = [batch.supervised for batch in parts]
    assert counts[1] > 2 * counts[0] > 0
    loss = float(module._accumulate(Step(tuple(parts), 0, sum(counts), 0, ())))
    sums = [float(module._loss(batch).detach()) for batch in parts]
    assert loss == pytest.approx(sum(sums) / sum(counts), rel=1e-6)
    means = [total / count for total, count in zip(sums, counts, strict=True)]
    assert loss != pytest.approx(sum(means) / 2, rel=1e-3)


def test_many_updates_too_small_for_bfloat16_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to 1, bfloat16 has steps of 1/128; each of 200 updates is a twentieth of that."""
    config = tiny_config(lr=4e-4, warmup=0.0, lr_end=1.0)
    config.lora.dtype = "bfloat16"
    module = module_of(config, base.load(config.model))

    def ones(step: Step) -> torch.Tensor:
        for weight in module.weights:
            weight.grad = torch.ones_like(weight)
        module._collect()
        return torch.zeros(1)

    with torch.no_grad():
        for weight, master in zip(module.weights, module.masters, strict=True):
            assert weight.dtype is torch.bfloat16
            assert master.dtype is torch.float32
            weight.fill_(1.0)
            master.fill_(1.0)
    plain = torch.ones(4, dtype=torch.bfloat16)
    optimizer = module.configure_optimizers()
    monkeypatch.setattr(module, "optimizers", lambda use_pl_optimizer: optimizer)
    monkeypatch.setattr(module, "_accumulate", ones)
    for _ in range(200):
        module.training_step(Step((), 0, 0, 0, ()), 0)
        plain -= 4e-4
    assert plain.tolist() == [1.0] * 4  # what would have become of them
    for weight in module.weights:
        assert (weight.float() - (1 - 200 * 4e-4)).abs().max() < 1 / 256
