"""Refusals: what is wrong, where, and what to do, in one line and with an exit code."""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command (contract)."""

    DONE = 0
    USAGE = 2
    DENIED = 3
    REFUSED = 4
    INTERNAL = 5
    PROBE = 6
    PREEMPTED = 75


class HarnessError(Exception):
    """A stop that a person can act on.

    Args:
        code: stable upper-case name, for example ``MANIFEST_EXPIRED``.
        what: what is wrong, without any meeting text.
        where: file, row or configuration key; empty when there is none.
        remedy: what the reader can do about it.
    """

    exit_code = ExitCode.REFUSED

    def __init__(self, code: str, what: str, where: str = "", remedy: str = "") -> None:
        super().__init__(code, what, where, remedy)
        self.code, self.what, self.where, self.remedy = code, what, where, remedy

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        todo = f"; {self.remedy}" if self.remedy else ""
        return " ".join(f"{self.code}: {self.what}{place}{todo}".split())


class Refused(HarnessError):
    """The gate, the manifest, a signature or a digest forbids the run (exit 4)."""


class UsageError(HarnessError):
    """The command line or the configuration is wrong (exit 2)."""

    exit_code = ExitCode.USAGE


class Denied(HarnessError):
    """Something was denied and ``gate.require_all`` is true (exit 3)."""

    exit_code = ExitCode.DENIED


class ProbeFailed(HarnessError):
    """A primary probe is not PASS and ``probe.enforce`` is true (exit 6)."""

    exit_code = ExitCode.PROBE


class Unwritable(HarnessError):
    """The disk is full, read-only or gone (exit 5); what was saved before is untouched."""

    exit_code = ExitCode.INTERNAL


class Preempted(HarnessError):
    """A signal arrived and a checkpoint is saved (exit 75)."""

    exit_code = ExitCode.PREEMPTED
