"""An import that is killed, however often and wherever, ends with what an undisturbed one makes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.meetings import synthetic
from harness.rundir import write_bytes

KILLS = 6


def start(src: Path, dst: Path) -> "subprocess.Popen[bytes]":
    words = ["import", "zoom", str(src), str(dst)]
    command = [sys.executable, "-m", "harness.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def destination(folder: Path) -> Path:
    """A folder for an import whose key is always the same."""
    write_bytes(folder / "private" / "subjects.key", b"ab" * 32, 0o600)
    return folder


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_import_ends_as_an_undisturbed_one(how: signal.Signals, tmp_path: Path) -> None:
    src = tmp_path / "src"
    synthetic.write(synthetic.generate(3), src)
    whole, killed = destination(tmp_path / "whole"), destination(tmp_path / "killed")
    begin = time.monotonic()
    assert start(src, whole).wait() == 0
    took = time.monotonic() - begin
    for n in range(KILLS):
        process = start(src, killed)
        time.sleep(took * (n + 1) / (KILLS + 1))
        os.kill(process.pid, how)
        process.wait()
    assert start(src, killed).wait() == 0
    for part in ("draft", "store"):
        assert files(killed / part) == files(whole / part)
    assert not [*killed.rglob("*.tmp")]
