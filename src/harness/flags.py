"""Command lines of the subcommands that take flags instead of settings."""

import argparse
from typing import NoReturn

from harness.errors import UsageError


class Parser(argparse.ArgumentParser):
    """argparse, whose errors are the harness's.

    Raises:
        UsageError: ``FLAG`` for what it does not take.
    """

    def error(self, message: str) -> NoReturn:
        """Refuse in one line."""
        raise UsageError("FLAG", message, "", f"see {self.prog} --help")
