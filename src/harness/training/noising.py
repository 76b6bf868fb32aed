"""A private training: its budget, its secrets, and the noise of each step (DP-SGD)."""

import hmac
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from harness.commitments.receipt import secret
from harness.config import Config, Privacy, stage_values
from harness.corpus.datamodule import DrawnSteps
from harness.digest import digest_of
from harness.errors import UsageError
from harness.rundir import RunDir
from harness.training.privacy import ClippedSum, epsilon, noise_generator, noise_multiplier

SECRET = "noise.key"


def is_private(privacy: Privacy) -> bool:
    """Whether a training is to be private."""
    return bool(privacy.epsilon or privacy.noise)


def private_key(run: RunDir, config: Config) -> bytes | None:
    """The run's secret for draws and noise; None for a training that is not private."""
    return secret(run, SECRET) if is_private(config.privacy) else None


def noise_key(run: RunDir, config: Config, plan: str) -> bytes:
    """What the noise starts from: the secret, with the plan and settings of the training.

    The same noise on other documents, or clipped otherwise, could be subtracted; on the same, it
    gives the same bits again.
    """
    about = digest_of([plan, stage_values(config, "train")])
    return hmac.digest(secret(run, SECRET), about.encode(), "sha256")


class Noising:
    """Clips, sums and noises the gradients of a training's documents.

    Args:
        privacy: the section of the settings.
        steps: the plan, for the chance of a draw and the number of documents.
        weights: that are trained.
        key: the run's secret; the noise is no function of any setting.

    Raises:
        Refused: ``DP_EXTRA_MISSING``, ``PRIVACY_UNREACHABLE``.
        UsageError: ``PRIVACY_VALUE`` where ``privacy.delta`` is not below 1 / documents: to
            publish one of the documents, picked by chance, would keep such a promise.
    """

    def __init__(
        self, privacy: Privacy, steps: DrawnSteps, weights: Sequence[Tensor], key: bytes
    ) -> None:
        self.privacy, self.rate, self.documents = privacy, steps.rate, len(steps.documents)
        if privacy.delta * self.documents >= 1:
            raise UsageError("PRIVACY_VALUE", f"{privacy.delta:g} is not below 1 / documents, of "
                             f"which there are {self.documents}", "privacy.delta",
                             "lower it")  # fmt: skip
        self.multiplier = privacy.noise or noise_multiplier(
            privacy.epsilon, privacy.delta, steps.rate, len(steps)
        )
        self.spent(len(steps))  # what cannot be accounted for is refused before it is trained
        self.generator = noise_generator(key)
        self._weights = list(weights)
        self._sum: ClippedSum | None = None

    @property
    def _clipped(self) -> ClippedSum:
        """Made when the weights are where they are trained."""
        if self._sum is None:
            self._sum = ClippedSum(self._weights, self.privacy.clip)
        return self._sum

    @property
    def sums(self) -> list[Tensor]:
        """Of this step so far, without noise."""
        return self._clipped.sums

    def take(self, weights: Sequence[Tensor]) -> None:
        """Add the gradients of one document, and clear them."""
        self._clipped.add([w.grad for w in weights if w.grad is not None])
        for weight in weights:
            weight.grad = None

    def gradients(self) -> list[Tensor]:
        """The step's noised mean gradient."""
        return self._clipped.noised(self.multiplier, self.generator, self.rate * self.documents)

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"noise.generator": self.generator.get_state()}

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Put back what :meth:`state` gave."""
        self.generator.set_state(tensors["noise.generator"])

    def spent(self, steps: int) -> dict[str, Any]:
        """What the receipt says of a training of so many steps."""
        return {
            "epsilon": epsilon(self.multiplier, self.rate, steps, self.privacy.delta),
            "delta": self.privacy.delta, "unit": "document", "neighbours": "add or remove one",
            "noise_multiplier": self.multiplier, "clip": self.privacy.clip,
            "sample_rate": self.rate, "steps": steps, "documents": self.documents,
            "accountant": "Renyi (opacus)",
        }  # fmt: skip
