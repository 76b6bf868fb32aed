"""The command: finds the subcommand, lets Hydra compose its settings, turns errors into one line.

Nothing heavy is imported before a stage starts, so that help and completion answer at once.
"""

import argparse
import contextlib
import difflib
import importlib
import importlib.util
import json
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, NoReturn

from harness.errors import ExitCode, HarnessError, Preempted, ProbeFailed, UsageError

if TYPE_CHECKING:
    from harness.config import Config
    from harness.rundir import RunDir

COMMANDS = {
    "gate": "decide every turn of every meeting; print reasons and counts",
    "train": "train a LoRA adapter on what the gate admits",
    "probe": "measure what the adapter remembers, beside the base model",
    "report": "write report.html from a run directory",
    "run": "gate, train, probe and report in one go",
}
TOOLS = {
    "import": ("turn exports into a content store and a draft", "harness.intake.command"),
    "export": ("merge the adapter into its base, as a plain model", "harness.models.command"),
    "explain": ("say why a meeting was admitted or denied", "harness.consent.explain"),
    "manifest": ("make, lint, sign, compare and trust manifests", "harness.consent.desk"),
}
STAGE_MODULES = {
    "gate": "harness.consent.gate",
    "train": "harness.training.fit",
    "probe": "harness.probes.suite",
    "report": "harness.reporting.stage",
}
FOLLOW = "follow"  # not for people: what a training starts its other processes by
_JSON = {"--json": "json=true"}
SUMMARIES = {
    "gate": "gate/summary.json",
    "train": "train/receipt.json",
    "probe": "probes/results.json",
}
INTERRUPTED = 130
CLOSED_PIPE = 141
# From best to worst; a sweep ends with the worst code of its members.
SEVERITY = (0, 75, 6, 3, 4, 2, 5, CLOSED_PIPE, INTERRUPTED)
ENVIRONMENT = {
    "HYDRA_FULL_ERROR": "1",  # Hydra raises its errors to us instead of printing them
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # what deterministic training needs on CUDA
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
    "WANDB_SILENT": "true",
}
CHATTY = (
    "pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.rank_zero",
    "lightning_fabric.utilities.distributed", "lightning_utilities.core.rank_zero",
)  # fmt: skip


def main() -> int:
    """Run the command line; return the exit code of the contract (design, section 3)."""
    _hush()
    return answer(lambda: dispatch(sys.argv[1:]))


def dispatch(words: Sequence[str]) -> int:
    """Send ``words``, the command line without the program, to its subcommand.

    Raises:
        UsageError: ``COMMAND`` for a word that is no command.
    """
    first = words[0] if words else "--help"
    if first in ("-h", "--help", "help"):
        print(usage())
    elif first == "--version":
        print(f"harness {importlib.import_module('harness').__version__}")
    elif first in ("-sc", "--shell-completion"):
        return complete(list(words))
    elif first in COMMANDS:
        return HydraCommand(first, [_JSON.get(word, word) for word in words[1:]])()
    elif first == FOLLOW:
        return follow(Path(words[1]))
    elif first in TOOLS:
        return int(importlib.import_module(TOOLS[first][1]).main(list(words[1:])))
    else:
        known = [*COMMANDS, *TOOLS]
        raise UsageError("COMMAND", f"no command '{first}'", "", _near(first, known))
    return ExitCode.DONE


def usage() -> str:
    """Help of the command as a whole."""
    lines = COMMANDS | {name: line for name, (line, _) in TOOLS.items()}
    rows = "\n".join(f"  {name:<10}{line}" for name, line in lines.items())
    return (
        "harness: consent-gated fine-tuning on meetings, and proof of what the model kept\n\n"
        f"usage: harness COMMAND [group=option] [key=value] [-m]\n\n{rows}\n\n"
        "harness COMMAND --help lists its groups and settings; the tools have flags.\n"
        'eval "$(harness -sc install=bash)" completes commands, groups and keys (also zsh, fish).\n'
        "HARNESS_DEBUG=1 shows the traceback of an internal error."
    )


def command_help(name: str, overrides: Sequence[str]) -> str:
    """Help of one subcommand: the template of ``conf/shared.yaml`` with groups and settings.

    Hydra's own ``--help`` also lists its some seventy groups, unasked, which takes 0.3 s.

    Raises:
        UsageError: for a key or value that the schema refuses.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    _register_schema()
    conf = _conf()
    with plain_refusals(), initialize_config_dir(str(conf), version_base="1.3"):
        tree = compose(name, list(overrides), return_hydra_config=True)
        template = Template(tree.hydra.help.template)
        settings = OmegaConf.masked_copy(tree, [key for key in tree if key != "hydra"])
    options: dict[str, list[str]] = {}
    for path in sorted(conf.glob("*/*.yaml")):
        options.setdefault(path.parent.name, []).append(path.stem)
    groups = "".join(f"{group}: {', '.join(names)}\n" for group, names in options.items())
    return template.substitute(APP_CONFIG_GROUPS=groups, CONFIG=OmegaConf.to_yaml(settings))


def complete(words: list[str]) -> int:
    """Answer a shell's completion query: commands for the first word, else Hydra's answer.

    Args:
        words: ``-sc`` and ``query=SHELL``, ``install=SHELL`` or ``uninstall=SHELL``; the line
            typed so far stands in the environment variable COMP_LINE, as Hydra's scripts put it.
    """
    typed = os.environ.get("COMP_LINE", "")
    program, _, rest = typed.lstrip().partition(" ")
    command, space, rest = rest.lstrip().partition(" ")
    if not any(word.startswith("query=") for word in words):
        return HydraCommand("run", words)()
    if space and command in COMMANDS:
        os.environ["COMP_LINE"] = f"{program} {rest}"
        return HydraCommand(command, words)()
    if not space:
        names = [*COMMANDS, *TOOLS]
        print(" ".join(name for name in names if name.startswith(command)))
    return ExitCode.DONE


def answer(work: Callable[[], int]) -> int:
    """Run ``work``; turn whatever it raises into at most one line on stderr and an exit code.

    The message of an unforeseen exception may hold meeting text, so only its type and place are
    told. With ``HARNESS_DEBUG=1`` it is raised.
    """
    try:
        code = work()
        sys.stdout.flush()
        return code
    except HarnessError as error:
        return _say(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _say("INTERRUPTED: by the keyboard; the same command continues", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else ExitCode.DONE
    except Exception as error:
        if _debugging():
            raise
        remedy = "set HARNESS_DEBUG=1 for the traceback"
        return _say(
            f"INTERNAL: {type(error).__name__} at {_place(error)}; {remedy}", ExitCode.INTERNAL
        )


@dataclass
class HydraCommand:
    """A subcommand: its own Hydra application on the primary configuration of the same name.

    Attributes:
        name: of the subcommand.
        words: overrides and Hydra's flags.
        codes: exit code of each member that ran in this process.
        members: a sweep's member directories so far, with the overrides that led there.
    """

    name: str
    words: list[str]
    codes: list[int] = field(default_factory=list)
    members: dict[str, str] = field(default_factory=dict)

    def __call__(self) -> int:
        """Compose and run; return the worst exit code.

        Raises:
            UsageError: for a flag, key or value that Hydra or the schema refuses.
        """
        flags = _flags(self.words)
        if flags.help:
            print(command_help(self.name, flags.overrides))
            return ExitCode.DONE
        before, sys.argv = sys.argv, ["harness", *self.words]
        try:
            with plain_refusals():
                _hydra_main(self.name, self.job)()
        finally:
            sys.argv = before
        return max(self.codes, key=SEVERITY.index, default=ExitCode.DONE)

    def job(self, tree: Any) -> None:
        """Hydra's task function: run one configuration and never raise, so that a sweep goes on."""
        self.codes.append(answer(lambda: self._run(tree)))

    def _run(self, tree: Any) -> int:
        from hydra.core.hydra_config import HydraConfig
        from hydra.types import RunMode

        hydra = HydraConfig.get()
        line = " ".join([self.name, *hydra.overrides.task])
        config = typed(tree)
        if hydra.mode == RunMode.MULTIRUN:
            return self._run_member(config, line)
        return run_stages(self.name, config, line)

    def _run_member(self, config: "Config", line: str) -> int:
        from harness.config import config_digest

        parent = Path(config.run_dir)
        member = config_digest(config)[:12]
        if self.members.setdefault(member, line) != line:
            raise UsageError("SWEEP_TWINS", f"'{line}' asks for what '{self.members[member]}' asks",
                             member, "sweep a setting that changes the result")  # fmt: skip
        config.run_dir = str(parent / member)
        print(f"sweep: {member} {line}", flush=True)
        code = answer(lambda: run_stages(self.name, config, line))
        index_sweep(parent, member, line, code)
        return code


def typed(tree: Any) -> "Config":
    """The dataclasses of a composed configuration; interpolations resolved, values checked.

    Raises:
        UsageError: naming the key that is missing or has a value that nothing could work with.
    """
    from omegaconf import OmegaConf

    from harness.config import Config, check, flatten

    with plain_refusals():
        config = OmegaConf.to_object(tree)
        keys = flatten(OmegaConf.to_container(tree))
    for key in sorted(keys.keys() - flatten(Config()).keys()):  # Hydra's + adds what it likes
        raise UsageError("CONFIG_KEY", f"no setting '{key}'", "", _near(key, _settings()))
    assert isinstance(config, Config)  # the schema stands first in every defaults list
    check(config)
    return config


def run_stages(command: str, config: "Config", line: str) -> int:
    """Run the stages of a command on its run directory; stages already done are passed over.

    In ``run`` the gate decides again, with a fresh clock, until the training is done.

    Args:
        command: a stage, or ``run`` for all four in order.
        config: checked settings.
        line: the command with its overrides, for run.json.

    Raises:
        HarnessError: of the stage that stopped. A probe that is not PASS stops nothing: the
            report is written first.
    """
    from harness.config import STAGES
    from harness.launch.ranks import ranks
    from harness.rundir import RunDir

    if ranks().rank > 0:  # torchrun starts the whole command in every process
        return _follow(config, Path(config.run_dir)) if command in ("train", "run") else 0
    if command == "gate" and config.gate.shard >= 0:
        found = importlib.import_module(STAGE_MODULES["gate"]).run_shard(
            config, Path(config.run_dir)
        )
        print(json.dumps(found))
        return ExitCode.DONE
    run = RunDir(Path(config.run_dir), config, line)
    summaries: dict[str, Any] = {}
    verdict: ProbeFailed | None = None
    for stage in STAGES if command == "run" else (command,):
        if run.asked:
            raise Preempted("PREEMPTED", f"stopped by a signal before {stage}", "",
                            "give the same command to go on")  # fmt: skip
        try:
            again = command == "run" and stage == "gate" and not run.is_done("train")
            summaries[stage] = run_stage(stage, config, run, again)
        except ProbeFailed as error:
            verdict = error
    if "report" in summaries:
        print(f"report: {run.path / 'report.html'}")
    if config.json:
        print(json.dumps(summaries if command == "run" else summaries.get(command)))
    if verdict:
        raise verdict
    return ExitCode.DONE


def follow(run_dir: Path) -> int:
    """Take part in the training that rank 0 runs in a run directory."""
    from harness.rundir import load_config

    return _follow(load_config(run_dir), run_dir)


def _follow(config: "Config", run_dir: Path) -> int:
    from harness.rundir import Attempt, RunDir

    run = RunDir(run_dir, config)
    if not run.is_done("train"):  # else rank 0 keeps it as it is, and comes to no meeting
        training = importlib.import_module(STAGE_MODULES["train"])
        training.run(config, run, Attempt("train", sys.maxsize))
    return ExitCode.DONE


def run_stage(stage: str, config: "Config", run: "RunDir", again: bool = False) -> Any:
    """Claim an attempt at one stage and run its module; return the stage's summary.

    Args:
        again: whether a stage that is done is run once more.
    """
    from harness.rundir import read_json

    with run.stage(stage, again) as attempt:
        if attempt.done:
            print(f"{stage}: done before with these settings, kept as it is")
            return read_json(run.file(SUMMARIES[stage])) if stage in SUMMARIES else {}
        module = importlib.import_module(STAGE_MODULES[stage])
        return module.run(config, run, attempt)


def index_sweep(parent: Path, member: str, line: str, code: int) -> None:
    """Write ``sweep.json``: every member of a sweep with its command, exit code and status.

    Members may run in several processes at once; each writes what all run.json files say, so the
    last one to end writes the whole.
    """
    from harness.rundir import read_json, write_json

    path = parent / "sweep.json"
    old = read_json(path)["members"] if path.exists() else {}
    members = old | {member: {"command": line, "exit_code": code}}
    for entry in members:
        record = parent / entry / "run.json"
        members[entry]["status"] = read_json(record)["status"] if record.exists() else "refused"
    write_json(path, {"schema": "harness/sweep/v1", "members": dict(sorted(members.items()))})


@contextlib.contextmanager
def plain_refusals() -> Iterator[None]:
    """Turn the errors of Hydra and OmegaConf into one-line refusals.

    Raises:
        UsageError: ``CONFIG_KEY`` with the neighbours of a misspelt key, ``CONFIG`` for anything
            else.
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if _debugging():
            raise
        raise _refusal(error) from None


def _refusal(error: Exception) -> UsageError:
    text = f"{error}\n{error.__cause__ or ''}"
    found = re.search(r"full_key: (\S+)|Could not override '([^']+)'", text)
    key = (found[1] or found[2]) if found else ""
    if re.search(r"Key '.*' not in|Could not override|Could not append", text):
        return UsageError("CONFIG_KEY", f"no setting '{key}'", "", _near(key, _settings()))
    told = re.split(r"Config search path|See https|full_key:|\(LOCATION", text)[0]
    return UsageError("CONFIG", " ".join(told.split()), key, "see --help")


def _settings() -> list[str]:
    from harness.config import Config, flatten

    return [*flatten(Config()), "data", "model", "tracking", "experiment"]


def _near(word: str, known: Iterable[str]) -> str:
    names = list(known)
    stem = word.rpartition(".")[0]
    siblings = [name for name in names if name.rpartition(".")[0] == stem]
    close = difflib.get_close_matches(word, names, n=3) or siblings[:8] or names[:8]
    return f"near it: {', '.join(close)}"


def _flags(words: list[str]) -> argparse.Namespace:
    """Let Hydra's own parser see the flags first: it would print its usage, we print one line."""
    from hydra._internal.utils import get_args_parser

    def refuse(message: str) -> NoReturn:
        raise UsageError("FLAG", message, "", "see --hydra-help")

    parser: argparse.ArgumentParser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(words)


def _hydra_main(name: str, job: Callable[[Any], None]) -> Callable[[], None]:
    import hydra

    _register_schema()
    application: Callable[[], None] = hydra.main(
        config_path=str(_conf()), config_name=name, version_base="1.3"
    )(job)
    return application


def _register_schema() -> None:
    from hydra.core.config_store import ConfigStore

    from harness.config import Config

    ConfigStore.instance().store(name="harness_schema", node=Config)


def _conf() -> Path:
    """Where conf/ is: the installed package, or the folder of a checkout that is not installed."""
    spec = importlib.util.find_spec("harness.conf")
    if spec and spec.origin:
        return Path(spec.origin).parent
    return Path(__file__).resolve().parents[2] / "conf"


def _hush() -> None:
    """Keep libraries from talking over the command; set before they are imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for category in (FutureWarning, DeprecationWarning):
        warnings.simplefilter("ignore", category)
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)


def _say(message: str, code: int) -> int:
    print(f"harness: {message}", file=sys.stderr, flush=True)
    return int(code)


def _place(error: BaseException) -> str:
    """File and line that raised, the innermost of our own code where there is one."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(__file__).parent in Path(frame.filename).parents]
    frame = [frame for frame in ours if frame.filename != __file__] or ours or frames
    return f"{Path(frame[-1].filename).name}:{frame[-1].lineno}"


def _debugging() -> bool:
    return os.environ.get("HARNESS_DEBUG") == "1"


if __name__ == "__main__":
    sys.exit(main())
