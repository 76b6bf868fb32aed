"""Learning rate, validation and the stop at a loss that is no number."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factories import admitted, meeting, tiny_config
from harness.commitments.receipt import Committer, Observer
from harness.config import Train
from harness.corpus.datamodule import MeetingData
from harness.models import adapter, base
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
