"""The run directory: contract files written atomically, stages claimed by attempt."""

import contextlib
import errno
import json
import os
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.config import STAGES, Config, config_digest, flatten, stage_values
from harness.errors import HarnessError, Preempted, Refused, Unwritable, UsageError

SCHEMA = "harness/run/v1"
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{32}\.tmp")
GUARDED = ("private", "checkpoints", "adapter")
_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.ESTALE}


def write_bytes(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Write a file whole or not at all: temporary sibling, fsync, rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    with naming(path):
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):  # half a file on a full disk is in everybody's way
                temporary.unlink()
            raise


def append(path: Path, line: str) -> None:
    """Add a line to a file."""
    with naming(path), path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Have a disk's errors name the file that is meant; a write's name none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None:
            error.filename = str(path)
        raise


@contextlib.contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Turn a disk that takes nothing more into one line.

    Args:
        folder: run directory.

    Raises:
        Unwritable: ``RUN_UNWRITABLE`` where the disk is full, read-only or gone.
    """
    try:
        yield
    except OSError as error:
        path = Path(str(error.filename or folder))
        gone = error.errno == errno.ENOENT and not path.parent.is_dir()
        if error.errno not in _DISK and not gone:
            raise
        inside = path.relative_to(folder) if path.is_relative_to(folder) else path
        raise Unwritable(
            "RUN_UNWRITABLE", os.strerror(error.errno or errno.EIO), str(inside),
            "make room or mount it again; the same command goes on",
        ) from None  # fmt: skip


@contextlib.contextmanager
def replaced(path: Path, mode: int = 0o644) -> Iterator[Path]:
    """Write a file whole or not at all: a temporary sibling, which takes its place at the end.

    Args:
        path: of the file; its folder is made.
        mode: of the file.

    Yields:
        The sibling, to be written; an exception removes it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_leftovers(folder: Path) -> None:
    """Remove what :func:`replaced` and :func:`write_bytes` left in a folder when they were killed.

    Args:
        folder: in which nobody else writes now.
    """
    for path in folder.glob(".*.tmp"):
        if _LEFTOVER.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def write_json(path: Path, value: Any, mode: int = 0o644) -> None:
    """Write strict JSON (no NaN), indented, keys in the order given."""
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode(), mode)


def read_json(path: Path) -> Any:
    """Read a JSON file of the run directory.

    Raises:
        Refused: ``RUN_FILE`` when it is missing or unreadable.
    """
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        raise Refused("RUN_FILE", "a file of an earlier stage is missing", path.name,
                      "run that stage first") from None  # fmt: skip
    except ValueError:
        raise Refused(
            "RUN_FILE", "not readable as JSON", path.name, "run that stage again"
        ) from None


def load_config(path: Path) -> Config:
    """The settings that the last command of a run directory resolved.

    Raises:
        Refused: ``RUN_FILE`` where config.yaml is missing or unreadable.
    """
    config = Config()
    try:
        lines = (path / "config.yaml").read_text(encoding="utf-8").splitlines()
        for key, value in (line.split(": ", 1) for line in lines):
            *sections, name = key.split(".")
            section: Any = config
            for part in sections:
                section = getattr(section, part)
            if not hasattr(section, name):
                raise ValueError
            setattr(section, name, json.loads(value))
    except (OSError, ValueError, AttributeError):
        raise Refused("RUN_FILE", "no readable settings of a run", "config.yaml",
                      "name a run directory") from None  # fmt: skip
    return config


@dataclass
class Attempt:
    """One claimed attempt at a stage.

    Attributes:
        stage: gate, train, probe or report.
        n: number from 1; the highest attempt is the one that counts.
        done: True when the stage is done already and nothing has to be written.
    """

    stage: str
    n: int
    done: bool = False


@dataclass
class RunDir:
    """A run directory, opened for one configuration; an attempt that is claimed records both.

    Args:
        path: of the directory; made when it is not there.
        config: resolved settings.
        command: the command line, for run.json.

    Attributes:
        asked: whether a signal asked this process to stop; no other stage is begun then.

    Raises:
        UsageError: ``RUN_CONFIG`` naming the keys, where a stage of this directory was made
            with other settings.
    """

    path: Path
    config: Config
    command: str = ""
    asked: bool = False
    _record: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with writable(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            for name in GUARDED:
                (self.path / name).mkdir(exist_ok=True)
                (self.path / name).chmod(0o700)  # also where a copy or a umask had opened it
            self._record = self._load() or self._new()

    def file(self, *parts: str) -> Path:
        """Path of a file below the run directory; its folder is made, the directory never again."""
        path = self.path.joinpath(*parts)
        if not self.path.is_dir():  # whoever removed it, removed what it held
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @property
    def run_id(self) -> str:
        """Stable identifier of the run, for wandb too."""
        return str(self._record["run_id"])

    @property
    def record(self) -> dict[str, Any]:
        """What run.json says."""
        return self._record

    @contextlib.contextmanager
    def stage(self, name: str, again: bool = False) -> Iterator[Attempt]:
        """Claim an attempt at a stage and record how it ended.

        A stage that is done is not claimed again, unless ``again`` asks for it: the attempt has
        ``done`` set.

        Raises:
            UsageError: ``RUN_CONFIG`` when the stage was made with other settings.
            Refused: ``SUPERSEDED`` when a later attempt took over meanwhile.
            Unwritable: ``RUN_UNWRITABLE``.
        """
        self._check_config(name)
        state = self._record["stages"].get(name, {})
        if state.get("status") == "done" and not again:
            yield Attempt(name, len(state["attempts"]), done=True)
            return
        with writable(self.path):
            attempt = self._claim(name)
        started = time.monotonic()
        try:
            with writable(self.path):
                yield attempt
        except BaseException as error:
            with contextlib.suppress(OSError, HarnessError):  # the first error is the one to tell
                self._end(attempt, *_outcome(error), time.monotonic() - started)
            raise
        with writable(self.path):
            self._end(attempt, "done", 0, time.monotonic() - started)

    def is_done(self, stage: str) -> bool:
        """Whether a stage ended well."""
        return bool(self._record["stages"].get(stage, {}).get("status") == "done")

    def is_current(self, attempt: Attempt) -> bool:
        """Whether no later attempt at the stage was claimed."""
        return self._newest(attempt.stage) <= attempt.n

    def publish(self, attempt: Attempt) -> None:
        """Call before writing contract files.

        Raises:
            Refused: ``SUPERSEDED`` when a later attempt holds the stage.
        """
        if not self.is_current(attempt):
            raise Refused("SUPERSEDED", f"attempt {attempt.n} of {attempt.stage} was overtaken",
                          "run.json", "let the newer attempt finish")  # fmt: skip

    def _load(self) -> dict[str, Any] | None:
        path = self.path / "run.json"
        return read_json(path) if path.exists() else None

    def _new(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "run_id": self._identity(),
            "name": self.config.name,
            "command": "",
            "status": "running",
            "attempts": 0,
            "git_commit": _git_commit(),
            "config_digest": config_digest(self.config),
            "created": _now(),
            "seconds": {},
            "stages": {},
        }

    def _identity(self) -> str:
        """The run's id: made by whoever comes first, the same for all who open the directory."""
        path, mine = self._claims() / "run_id", uuid.uuid4().hex[:12]
        write_bytes(path.with_name(mine), mine.encode())
        with contextlib.suppress(FileExistsError):
            os.link(path.with_name(mine), path)
        path.with_name(mine).unlink()
        return path.read_text()

    def _check_config(self, stage: str) -> None:
        """Compare with the stage's own settings and with those of the stages it builds on."""
        for earlier in STAGES[: STAGES.index(stage) + 1]:
            state = self._record["stages"].get(earlier)
            if state is not None and not self._is_free(earlier, state):
                self._compare(earlier, state)

    def _compare(self, stage: str, state: dict[str, Any]) -> None:
        now, then = stage_values(self.config, stage), state["config"]
        keys = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        if keys:
            raise UsageError("RUN_CONFIG", f"{stage} was run here with other values of "
                             f"{', '.join(keys)}", str(self.path.name),
                             "choose another run_dir or the old values")  # fmt: skip

    def _is_free(self, stage: str, state: dict[str, Any]) -> bool:
        """Whether nothing of a stage is there that other settings could not continue."""
        if stage == "train" and any(self.path.glob("checkpoints/step-*")):
            return False
        ended = ("refused", "failed") if stage == "train" else ("refused",)
        return state["status"] in ended

    def _claims(self) -> Path:
        folder = self.file("logs", "claims")
        folder.mkdir(exist_ok=True)
        return folder

    def _newest(self, stage: str) -> int:
        names = (path.name for path in self.path.glob(f"logs/claims/{stage}-*"))
        return max((int(name.rpartition("-")[2]) for name in names), default=0)

    def _claim(self, stage: str) -> Attempt:
        number = self._newest(stage) + 1
        while not self._take(stage, number):
            number += 1
        self._record = (self._load() or self._record) | {"command": self.command}
        lines = [f"{key}: {json.dumps(value)}" for key, value in flatten(self.config).items()]
        write_bytes(self.path / "config.yaml", ("\n".join(lines) + "\n").encode())
        state = self._record["stages"].setdefault(stage, {"attempts": []})
        state |= {"status": "running", "config": stage_values(self.config, stage)}
        self._save()
        return Attempt(stage, number)

    def _take(self, stage: str, number: int) -> bool:
        """Create the claim file of an attempt; False where another process was first."""
        entry = {"n": number, "start": _now(), "end": None, "exit_code": None,
                 "host": socket.gethostname(),
                 "slurm_job_id": os.environ.get("SLURM_JOB_ID")}  # fmt: skip
        try:
            with (self._claims() / f"{stage}-{number}").open("x") as file:
                file.write(json.dumps(entry))
        except FileExistsError:
            return False
        return True

    def _end(self, attempt: Attempt, status: str, code: int, seconds: float) -> None:
        if not self.is_current(attempt):
            return
        claim = self._claims() / f"{attempt.stage}-{attempt.n}"
        write_json(claim, read_json(claim) | {"end": _now(), "exit_code": code})
        self._record = self._load() or self._record  # another stage may have ended meanwhile
        self._record["stages"][attempt.stage]["status"] = status
        spent = self._record["seconds"].get(attempt.stage, 0.0)
        self._record["seconds"][attempt.stage] = round(spent + seconds, 3)
        self._save()

    def _save(self) -> None:
        """Write run.json; again if an attempt was claimed meanwhile, so that none is forgotten."""
        stages = self._record["stages"]
        self._record["config_digest"] = config_digest(self.config)
        self._record["status"] = _overall([state["status"] for state in stages.values()])
        while True:
            for name, state in stages.items():
                state["attempts"] = self._attempts(name)
            self._record["attempts"] = sum(len(state["attempts"]) for state in stages.values())
            write_json(self.path / "run.json", self._record)
            if all(state["attempts"] == self._attempts(name) for name, state in stages.items()):
                return

    def _attempts(self, stage: str) -> list[dict[str, Any]]:
        """What the claim files of a stage say, in order; one just being made is left out."""
        entries = []
        for path in self._claims().glob(f"{stage}-*"):
            with contextlib.suppress(ValueError):
                entries.append(json.loads(path.read_bytes()))
        return sorted(entries, key=lambda entry: int(entry["n"]))


def _overall(states: list[str]) -> str:
    for status in ("running", "failed", "refused", "preempted"):
        if status in states:
            return status
    return "done" if states else "running"


def _outcome(error: BaseException) -> tuple[str, int]:
    if isinstance(error, Preempted):
        return "preempted", int(error.exit_code)
    if isinstance(error, Refused | UsageError):
        return "refused", int(error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return "failed", 130
    return "failed", int(error.exit_code) if isinstance(error, HarnessError) else 5


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _git_commit() -> str | None:
    try:
        answer = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent,
                                capture_output=True, text=True, timeout=5, check=False)  # fmt: skip
    except OSError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
