"""``harness export RUN_DIR DST``: the run's adapter merged into its base, as a plain model."""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from harness.errors import ExitCode
from harness.flags import Parser

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


def main(words: Sequence[str]) -> int:
    """Run the command; return the exit code.

    Args:
        words: the command line after ``harness export``.

    Raises:
        UsageError: ``FLAG``.
        Refused: see :func:`harness.models.export.export`.
    """
    asked = _parser().parse_args(words)
    from harness.models.export import export  # torch and peft; help must answer at once

    made = export(asked.run_dir, asked.dst, asked.shard_size, asked.dtype)
    print(f"export: {made.layers} layers merged, {made.nbytes / 1e6:.1f} MB of {asked.dtype} "
          f"in {made.shards} file{'s' * (made.shards > 1)}, in {asked.dst}")  # fmt: skip
    return ExitCode.DONE


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="harness export", description="Merge the run's adapter into its base "
                     "model and write safetensors that transformers and vLLM load without "
                     "peft.")  # fmt: skip
    parser.add_argument("run_dir", type=Path, help="run directory with a trained adapter")
    parser.add_argument("dst", type=Path, help="new folder of the merged model, 0700")
    parser.add_argument("--shard-size", type=_size, default="2GB", metavar="SIZE",
                        help="most that one file holds, as 500MB or 2GB (%(default)s)")  # fmt: skip
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), default="bfloat16",
                        help="of the merged weights (%(default)s)")  # fmt: skip
    return parser


def _size(text: str) -> int:
    """Bytes of a size; units are decimal, as in Hugging Face's files."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?) ?([KMGT]B)", text.strip().upper())
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if size < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is no size such as 500MB or 2GB")
    return size
