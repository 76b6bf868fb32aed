"""wandb, under an allow-list: numbers and identifiers leave the run, text never does.

A run has one wandb id, its own run id; every process that opens a tracker for it (training,
each resumed attempt, the report) adds to that same run. What wandb would collect by itself
(console, code, git, host, packages, system statistics) is switched off.
"""

import logging
import re
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Self

from harness.config import Config, config_digest, flatten
from harness.errors import Refused
from harness.rundir import RunDir

if TYPE_CHECKING:
    import wandb

Number = bool | int | float
Value = Number | str | None

_LOG = logging.getLogger(__name__)
_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.=@%/+-]{0,127}")
# Codes (PASS, CONSENT_REFUSED), git commits and SHA-256. Short digit strings are not here on
# purpose: a passcode or a phone number has that form.
_IDENTIFIER = re.compile(r"[A-Z][A-Z0-9_]{0,47}|[0-9a-f]{40}|[0-9a-f]{64}")
_ENUMERATIONS = ("data.source", "model.source", "model.dtype", "train.accelerator")


class Tracker:
    """The wandb run of a run directory; does nothing when ``tracking.mode`` is off.

    Args:
        run: its ``config.tracking`` says mode, project and group; files go to ``wandb/`` in it.

    A tracker that cannot write warns once and falls silent, as losing a chart is no reason to
    lose a training run. Text is another matter: every method raises :class:`Refused` for it.
    """

    def __init__(self, run: RunDir) -> None:
        self._run: wandb.Run | None = None
        if run.config.tracking.mode != "off":
            self._attempt(lambda: setattr(self, "_run", _init(run)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close(exit_code=0 if error is None else 1)

    @property
    def active(self) -> bool:
        """Whether anything is still being written."""
        return self._run is not None

    def log(self, step: int, numbers: Mapping[str, Value]) -> None:
        """Add a row to the history.

        Args:
            step: optimiser step, from 1.
            numbers: key to number, or to a code or digest; None is left out.

        Raises:
            Refused: ``TRACKING_TEXT`` for a key or value that is not on the allow-list.
        """
        row = allowed(numbers)
        if (run := self._run) is not None:
            self._attempt(lambda: run.log(row, step=step))

    def summary(self, numbers: Mapping[str, Value]) -> None:
        """Set values that describe the run as a whole; raises as :meth:`log` does."""
        row = allowed(numbers)
        if (run := self._run) is not None:
            self._attempt(lambda: run.summary.update(row))

    def close(self, exit_code: int = 0) -> None:
        """Flush and end; further calls do nothing."""
        if (run := self._run) is not None:
            self._attempt(lambda: run.finish(exit_code=exit_code))
        self._run = None

    def _attempt(self, action: Callable[[], object]) -> None:
        try:
            action()
        # wandb raises errors of many libraries (network, protobuf, service, usage).
        except Exception as error:
            self._run = None
            _LOG.warning("wandb stopped (%s); the run goes on without it", type(error).__name__)


def allowed(numbers: Mapping[str, Value]) -> dict[str, Number | str]:
    """Return ``numbers`` without None, refusing everything that could carry text.

    Raises:
        Refused: ``TRACKING_TEXT``; the message holds no value, and no key unless it is safe.
    """
    for key in numbers:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise Refused("TRACKING_TEXT", "a key is no short identifier", "tracking",
                          "log numbers under fixed names")  # fmt: skip
    for key, value in numbers.items():
        if not _is_safe(value):
            raise Refused("TRACKING_TEXT", f"a {type(value).__name__} is neither number, code nor "
                          "digest", key, "log numbers only")  # fmt: skip
    return {key: value for key, value in numbers.items() if value is not None}


def settings_of(config: Config) -> dict[str, Value]:
    """The configuration as wandb may see it: numbers, checked enumerations and the digest.

    Paths, names and URIs of the configuration stay out: a folder is often named after people.
    """
    flat = flatten(config)
    numbers = {key: value for key, value in flat.items() if isinstance(value, bool | int | float)}
    enumerations = {key: flat[key] for key in _ENUMERATIONS}
    return numbers | enumerations | {"config_digest": config_digest(config)}


def _is_safe(value: object) -> bool:
    if isinstance(value, str):
        return _IDENTIFIER.fullmatch(value) is not None
    return value is None or isinstance(value, bool | int | float)


def _init(run: RunDir) -> "wandb.Run":
    import wandb  # 0.5 s: not at start

    tracking = run.config.tracking
    settings = wandb.Settings(
        console="off", disable_code=True, disable_git=True, disable_job_creation=True,
        save_code=False, silent=tracking.mode == "offline", symlink=False, init_timeout=30.0,
        x_disable_stats=True, x_disable_meta=True, x_disable_machine_info=True,
        x_save_requirements=False,
    )  # fmt: skip
    return wandb.init(
        id=run.run_id, name=run.run_id, resume="allow", dir=str(run.path),
        project=tracking.project, group=tracking.group, config=settings_of(run.config),
        mode="online" if tracking.mode == "online" else "offline", settings=settings,
    )  # fmt: skip
