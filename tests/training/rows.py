"""Runs the train stage of one row of settings in processes of its own, without a real gate."""

import multiprocessing
import os
import socket
import sys
import traceback
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["harness.training.fit", "opacus.accountants"])
Row = dict[str, Any]

DONE = "done"


def outcome(row: Row, folder: Path, stop_after: int = 0) -> str:
    """Train; ``done``, or the line of what each process ended with.

    Args:
        row: of settings, see :func:`config_of`.
        folder: run directory.
        stop_after: a signal arrives in the last process after so many steps; 0 for none.
    """
    folder.mkdir(parents=True, exist_ok=True)
    processes = 1 if row["strategy"] == "single" else 2
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started: list[BaseProcess] = [
        SERVER.Process(target=_train, args=(row, folder, rank, processes, port, stop_after))
        for rank in range(processes)
    ]
    for process in started:
        process.start()
    for process in started:
        process.join(600)
        process.kill()
    ends = [(folder / f"end-{rank}").read_text() for rank in range(processes)]
    return DONE if set(ends) == {DONE} else "\n".join(sorted({e for e in ends if e != DONE}))


def config_of(row: Row) -> Any:
    """The tiny model, three steps that each see every document."""
    from factories import tiny_config

    config = tiny_config(
        epochs=3, batch_rows=64, checkpoint_steps=2, micro_rows=row["micro_rows"],
        activation_checkpointing=row["checkpointing"], compile=row["compile"],
        devices=1 if row["strategy"] == "single" else 2,
        strategy="ddp" if row["strategy"] == "single" else row["strategy"],
    )  # fmt: skip
    config.lora.kind, config.lora.dtype = row["kind"], row["dtype"]
    config.corpus.task, config.corpus.row_tokens = row["task"], 120
    config.corpus.goldfish, config.corpus.repeated = row["goldfish"], row["repeated"]
    config.privacy.epsilon = row["epsilon"]
    return config


def _train(
    row: Row, folder: Path, rank: int, processes: int, port: int, stop_after: int
) -> None:  # fmt: skip
    from harness.errors import HarnessError

    os.environ |= {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    if processes > 1:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    sys.stderr = (folder / f"log-{rank}").open("w")
    end = DONE
    try:
        _fit(row, folder, stop_after if rank == processes - 1 else 0, rank)
    except HarnessError as error:
        end = str(error)
    except BaseException:
        end = traceback.format_exc()
    (folder / f"end-{rank}").write_text(end)
    sys.stderr.flush()
    os._exit(0)  # a process group that was left behind would say so


def _fit(row: Row, folder: Path, stop_after: int, rank: int) -> None:
    from harness.rundir import RunDir
    from harness.training import fit
    from harness.training.recorder import Recorder

    permission, config = _admitted(row["task"]), config_of(row)
    fit.prepare = lambda data: None
    fit.gate = SimpleNamespace(admit=lambda *_: permission, check_withdrawals=lambda *_: None,
                               Withdrawn=fit.gate.Withdrawn)  # fmt: skip
    honest = Recorder.on_train_batch_end

    def stopping(self: Any, *arguments: Any) -> None:
        if stop_after and self.state.step + 1 == stop_after:
            self.guard.stop.received = 10
        honest(self, *arguments)

    Recorder.on_train_batch_end = stopping
    run = RunDir(folder, config)
    if rank:
        fit.run(config, run, SimpleNamespace(number=1))
        return
    with run.stage("train") as attempt:
        fit.run(config, run, attempt)


def _admitted(task: str) -> Any:
    from factories import admitted, meeting
    from harness.consent.capability import GatedTurn

    meetings = tuple(meeting(f"m{i}") for i in range(5))
    if task == "sft":
        answers = ("apple river", "stone cloud tiger piano", "lemon")
        pairs = [GatedTurn("summary_ai", i, -1, said, "bread?") for i, said in enumerate(answers)]
        meetings = tuple(replace(m, turns=(*m.turns, *pairs)) for m in meetings)
    return admitted(meetings)
