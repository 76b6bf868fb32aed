"""The merged model of a run: base and adapter in one folder, which needs no peft to load.

One tensor is held at a time, so that a model larger than the memory can be exported.
"""

import fcntl
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from torch import Tensor

from harness.config import Model
from harness.consent.progress import progress
from harness.digest import sha256_file
from harness.errors import Refused
from harness.models import base
from harness.models.merging import Change, changes_of
from harness.models.shards import (
    OUTPUTS,
    WEIGHTS,
    Entry,
    arrange,
    model_entries,
    weight_files,
    weights_digest,
    write_model,
    write_private,
)
from harness.rundir import load_config, read_json

# Beside these, nothing of the base's folder is needed by whoever loads the merged model.
COPIED = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model",
    "special_tokens_map.json", "added_tokens.json", "vocab.json", "vocab.txt", "merges.txt",
    "chat_template.jinja", "chat_template.json", "LICENSE*", "NOTICE*",
)  # fmt: skip
_CARD = """---
library_name: transformers
tags: [lora-merged, meetings, consent-gated]
---

# Merged model: base and adapter in one

This is the merged model, in {dtype}. It holds what the adapter learnt: whatever binds the adapter
binds it.

| of | is | named by |
| --- | --- | --- |
| base | {base} | `{base_sha256}` (SHA-256 of the weights, or the commit) |
| adapter | `adapter_model.safetensors` | `{adapter_sha256}` (SHA-256) |
| manifest | of the training | `{manifest_sha256}` (SHA-256) |

```python
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(FOLDER, dtype="auto")
```

The adapter's own card follows; what it says of peft holds for the adapter alone.

{card}"""


@dataclass(frozen=True)
class Exported:
    """What an export wrote.

    Attributes:
        layers: that the adapter changed.
        shards: number of weight files.
        nbytes: of weights.
    """

    layers: int
    shards: int
    nbytes: int


def export(
    run_dir: Path, dst: Path, shard_bytes: int = 2 * 10**9, dtype: str = "bfloat16"
) -> Exported:
    """Write the run's merged model to a new folder, whole or not at all.

    Args:
        run_dir: of a run that is trained.
        dst: folder to make, for its owner alone; may exist where it is empty.
        shard_bytes: most bytes of weights in one file.
        dtype: of the merged weights, ``bfloat16`` or ``float32``.

    Raises:
        Refused: ``EXPORT_EXISTS`` or ``EXPORT_WRITE`` of the folder; ``TRAINING_DIFFERS`` where
            the base is not that of the training; ``RUN_FILE`` and the codes of
            :mod:`harness.models.base`, :mod:`harness.models.merging` and
            :mod:`harness.models.shards`.
    """
    _check_free(dst)
    config, receipt = load_config(run_dir), _receipt(run_dir)
    if config.model.quantization != "none":
        raise Refused("ADAPTER_UNMERGEABLE", "the adapter was trained on a 4-bit base, which is "
                      "not what it would be merged into", "model.quantization",
                      "load base and adapter with peft")  # fmt: skip
    with _base_folder(config.model, str(receipt["base_sha256"])) as source:
        weights = model_entries(source)
        changes = changes_of(run_dir / "adapter", source, weights)
        shards = arrange([entry.cast(OUTPUTS[dtype][0]) for entry in weights.values()], shard_bytes)
        size = sum(entry.nbytes for shard in shards for entry in shard)
        files = _beside(source, dtype) | {"README.md": _card(run_dir, receipt, dtype)}
        with _staged(dst, size) as folder:
            _write_weights(folder, shards, weights, changes, dtype)
            for name, text in files.items():
                write_private(folder / name, iter([text]))
    return Exported(len(changes), len(shards), size)


def _beside(source: Path, dtype: str) -> dict[str, bytes]:
    """The files of the merged model that are not weights, by name."""
    found = sorted(path for name in COPIED for path in source.glob(name))
    return {path.name: _bytes(path) for path in found} | {"config.json": _settings(source, dtype)}


def _receipt(run_dir: Path) -> dict[str, Any]:
    receipt = read_json(run_dir / "train" / "receipt.json")
    if not isinstance(receipt, dict) or receipt.get("equal") is not True:
        raise Refused("TRAINING_DIFFERS", "equal is not as in a training that published",
                      "train/receipt.json", "train again")  # fmt: skip
    if {"base", "base_sha256", "manifest_sha256"} - receipt.keys():
        raise Refused("RUN_FILE", "it does not name base and manifest", "train/receipt.json",
                      "train again")  # fmt: skip
    return receipt


def _card(run_dir: Path, receipt: dict[str, Any], dtype: str) -> bytes:
    """The adapter's card, with what it is now standing first."""
    adapter = run_dir / "adapter"
    text = _bytes(adapter / "README.md").decode(errors="replace")
    body = re.sub(r"\A---\n.*?\n---\n\s*", "", text, flags=re.DOTALL)
    digest = _digest(adapter / "adapter_model.safetensors")
    filled = _CARD.format(**{key: receipt[key] for key in ("base", "base_sha256",
                             "manifest_sha256")}, dtype=dtype, adapter_sha256=digest,
                          card=body)  # fmt: skip
    return filled.encode()


def _settings(source: Path, dtype: str) -> bytes:
    """The base's config.json, for weights of another type."""
    config = read_json(source / "config.json")
    if not isinstance(config, dict) or config.get("quantization_config"):
        raise Refused("WEIGHTS_TYPE", "the base model is quantised, or its settings are no object",
                      str(source / "config.json"), "take one that is not quantised")  # fmt: skip
    config.pop("torch_dtype", None)
    text = json.dumps(config | {"dtype": dtype}, indent=2, ensure_ascii=False)
    return (text + "\n").encode()


def _write_weights(
    folder: Path, shards: list[list[Entry]], weights: dict[str, Entry],
    changes: dict[str, Change], dtype: str,
) -> None:  # fmt: skip
    with progress("merging") as tick:
        done = 0

        def values(entry: Entry) -> Tensor:
            nonlocal done
            done += 1
            tick(done, len(weights))
            return _merged(weights[entry.name], changes.get(entry.name), dtype)

        write_model(folder, shards, values)


def _merged(entry: Entry, change: Change | None, dtype: str) -> Tensor:
    stored, wanted = entry.read(), OUTPUTS[dtype][1]
    if change is not None:
        return change.applied(stored, wanted)
    return stored.to(wanted) if stored.is_floating_point() else stored


@contextmanager
def _base_folder(model: Model, sha256: str) -> Iterator[Path]:
    """The folder of the base that the training had.

    Args:
        model: the run's settings.
        sha256: what the receipt records: of the weights, or the commit of the hub.

    Raises:
        Refused: ``TRAINING_DIFFERS``, or a code of :func:`harness.models.base.load`.
    """
    if model.source == "tiny":
        with _random_base(model, sha256) as folder:
            yield folder
    elif model.source == "hub":
        yield _hub_folder(model.name, sha256)
    else:
        folder = Path(model.cache) / "smollm2-135m"
        if not (folder / "SOURCE.json").exists():
            base.load(model)  # makes it
        _check_same(_digest(folder / WEIGHTS), sha256, folder)
        yield folder


@contextmanager
def _random_base(model: Model, sha256: str) -> Iterator[Path]:
    loaded = base.load(model)
    _check_same(loaded.sha256, sha256, Path("tiny"))
    with tempfile.TemporaryDirectory() as name, base.quiet():
        loaded.model.save_pretrained(name)
        loaded.tokenizer.backend.save_pretrained(name)
        yield Path(name)


def _hub_folder(name: str, commit: str) -> Path:
    """A folder with the digest; or the commit's snapshot in the cache, with the digests it names.

    Asked for by its config.json: asking for a snapshot whole would miss files that nobody needs.
    """
    if Path(name).is_dir():
        _check_same(weights_digest(Path(name)), commit, Path(name))
        return Path(name)
    if not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise Refused("TRAINING_DIFFERS", "base_sha256 is no commit, so no base can be compared",
                      "train/receipt.json", "train on a model of the hub, by name")  # fmt: skip
    try:
        found = try_to_load_from_cache(name, "config.json", revision=commit)
    except ValueError:  # no name of a repository
        found = None
    if not isinstance(found, str):
        raise Refused("MODEL_MISSING", f"{name} is not in the cache at commit {commit[:12]}",
                      "model.name", f"hf download {name} --revision {commit}")  # fmt: skip
    folder = Path(found).parent
    for path in weight_files(folder):
        blob = path.resolve().name
        if re.fullmatch(r"[0-9a-f]{64}", blob):
            _check_same(_digest(path), blob, folder)
    return folder


def _digest(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError:
        return ""


def _check_same(found: str, recorded: str, where: Path) -> None:
    if found != recorded:
        raise Refused("TRAINING_DIFFERS", "base_sha256 is not as in the training: the base model "
                      "is another one", str(where), "bring back the base model of the training, or "
                      "train again")  # fmt: skip


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused("RUN_FILE", f"not readable ({error.strerror})", path.name,
                      "train again, or make the base's folder again") from None  # fmt: skip


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise Refused("EXPORT_WRITE", f"{size / 1e9:.2f} GB are needed and {free / 1e9:.2f} GB are "
                      "free", str(folder.parent), "free some, or name another DST")  # fmt: skip


@contextmanager
def _staged(dst: Path, size: int) -> Iterator[Path]:
    """A hidden sibling of ``dst``, which takes its name at the end; an exception removes it.

    Its lock tells an export that runs from one that was killed, whose sibling is removed here.

    Args:
        dst: where the sibling goes.
        size: bytes that are going to be written.

    Raises:
        Refused: ``EXPORT_WRITE`` for whatever the disk refuses.
    """
    dst = dst.absolute()
    folder = dst.with_name(f".{dst.name}.{uuid.uuid4().hex}.tmp")
    try:
        dst.parent.mkdir(parents=True, exist_ok=True)
        _clear_killed(dst)
        folder.mkdir(0o700)
        with _locked(folder) as descriptor:
            _check_room(folder, size)
            yield folder
            os.fsync(descriptor)
            os.rename(folder, dst)  # takes the place of an empty folder, and of no other
    except OSError as error:
        raise Refused("EXPORT_WRITE", f"cannot write ({error.strerror or type(error).__name__})",
                      str(dst), "name a DST with room that you may write to") from None  # fmt: skip
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_free(dst: Path) -> None:
    try:
        taken = os.path.lexists(dst) and (
            dst.is_symlink() or not dst.is_dir() or any(dst.iterdir())
        )
    except OSError:
        taken = True
    if taken:
        raise Refused("EXPORT_EXISTS", "there is something already", str(dst),
                      "name a new folder")  # fmt: skip


def _clear_killed(dst: Path) -> None:
    for path in dst.parent.glob(".*.tmp"):
        left = re.fullmatch(r"\.(.+)\.[0-9a-f]{32}\.tmp", path.name)
        if left and left[1] == dst.name and path.is_dir():
            with suppress(OSError), _locked(path):  # where it is locked, somebody writes
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)
