"""The shipped command with one fault planted at one exact moment of one process.

``python driver.py PLAN WORD...`` runs ``harness WORD...``. PLAN is JSON: ``moment`` is a key of
:func:`places`, or ``replace:NAME`` for when a file of that name is written and about to take its
place; ``call`` counts from 1; ``rank`` is the process; ``fault`` is one of :data:`FAULTS`, with
what it needs beside it. Instead, ``defect`` is one of :data:`DEFECTS`. The followers that a
training starts are started through this script, too.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from harness import cli
from harness.consent.gate import Withdrawn

Plan = dict[str, Any]
Function = Callable[..., Any]


def send(plan: Plan) -> None:
    """A signal to this process, and time to take it."""
    os.kill(os.getpid(), plan["signal"])
    if plan["signal"] == signal.SIGKILL:
        signal.pause()


def fill(plan: Plan) -> None:
    """A file that takes whatever room is left on the disk of a folder."""
    with Path(plan["path"], "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            return


def limit(plan: Plan) -> None:
    """No file may grow over so many bytes: a full disk for whoever is not root, too."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (plan["bytes"], hard))


def lock(plan: Plan) -> None:
    """A disk that becomes read-only."""
    subprocess.run(["mount", "-o", "remount,ro", plan["path"]], check=True)


def vanish(plan: Plan) -> None:
    """A folder that is moved out of the way."""
    Path(plan["path"]).rename(plan["path"] + ".gone")


def starve(plan: Plan) -> None:
    """What torch raises where a device has no memory left."""
    raise torch.OutOfMemoryError("out of memory")


def cramp(plan: Plan) -> None:
    """An address space without room, and a tensor that needs some."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + 2**20
    resource.setrlimit(resource.RLIMIT_AS, (size, resource.RLIM_INFINITY))
    torch.empty(2**30)


def withdraw(plan: Plan) -> None:
    """What the gate raises where something that is trained on was withdrawn meanwhile."""
    error = Withdrawn("WITHDRAWN_MEANWHILE", "withdrawn")
    error.restart = True
    raise error


def spoil(plan: Plan) -> None:
    """Nothing before the call; what it returns is no number."""


FAULTS = {
    "send": send, "fill": fill, "limit": limit, "lock": lock, "vanish": vanish,
    "starve": starve, "cramp": cramp, "spoil": spoil, "withdraw": withdraw,
}  # fmt: skip


def planted(plan: Plan, honest: Function, matches: Function = lambda *_: True) -> Function:
    """A function with the plan's fault just before its n-th call that matches."""
    calls = 0

    def faulty(*given: Any, **named: Any) -> Any:
        nonlocal calls
        calls += bool(matches(*given))
        if not matches(*given) or calls != plan.get("call", 1):
            return honest(*given, **named)
        FAULTS[plan["fault"]](plan)
        made = honest(*given, **named)
        return made * float("nan") if plan["fault"] == "spoil" else made

    return faulty


def without_random_state(plan: Plan) -> None:
    """A resume that forgets to restore the states of the random generators."""
    from harness.training import checkpoint

    checkpoint.restore_random = lambda states: None


def one_step_further(plan: Plan) -> None:
    """A resume whose loader is one step off."""
    from harness.corpus.datamodule import MeetingData, ahead

    def loader(self: MeetingData) -> Any:
        total = len(self.steps)
        return ahead(self.step, [min(n + 1, total - 1) for n in range(self.start, total)])

    MeetingData.train_dataloader = loader  # type: ignore[method-assign]


DEFECTS = {"random": without_random_state, "loader": one_step_further}


def places() -> dict[str, tuple[Any, str]]:
    """The function that each moment is a call of."""
    from harness.training import fit, module, publishing, recorder

    return {
        "start": (module.LoraModule, "configure_optimizers"),
        "load": (fit.base, "load"),
        "loss": (module.LoraModule, "_loss"),
        "evaluate": (module.LoraModule, "evaluate"),
        "metrics": (recorder.Recorder, "_write"),
        "save": (recorder.Recorder, "save"),
        "permission": (recorder.Guard, "before_saving"),
        "publish": (fit, "publish"),
        "adapter": (publishing, "_save_adapter"),
    }


def plant(plan: Plan) -> None:
    """Put the fault where the plan says."""
    moment, _, name = plan["moment"].partition(":")
    if moment == "replace":
        os.replace = planted(plan, os.replace, lambda _, to: Path(to).name == name)
    else:
        owner, attribute = places()[moment]
        setattr(owner, attribute, planted(plan, getattr(owner, attribute)))


def main() -> int:
    """Plant what the plan says in the process that it names, and run the command."""
    plan = json.loads(sys.argv[1])
    cli._hush()
    from harness.launch import ranks

    ranks.FOLLOWER = (__file__, sys.argv[1], "follow")  # type: ignore[assignment]
    if "defect" in plan:
        DEFECTS[plan["defect"]](plan)
    elif int(os.environ.get("RANK", "0")) == plan.get("rank", 0):
        plant(plan)
    sys.argv = ["harness", *sys.argv[2:]]
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
