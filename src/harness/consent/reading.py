"""Read a file once, below a root, following no link; what was hashed is what is used."""

import os
import re
import stat
from pathlib import Path

from harness.digest import sha256_hex
from harness.errors import Refused


def read_once(root: Path, relative: str, limit: int, family: str) -> bytes:
    """Read the regular file at ``relative`` below ``root``.

    Args:
        root: folder that the path may not leave.
        relative: POSIX path without ``.``, ``..``, links or an absolute start.
        limit: largest size in bytes.
        family: first word of the refusal's code, ``MANIFEST`` or ``CONTENT``.

    Raises:
        Refused: ``*_PATH_ESCAPE``, ``*_FILE_MISSING``, ``*_NOT_REGULAR``, ``*_TOO_LARGE``.
    """
    descriptor = _open(root, _parts(relative, family), family, relative)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refused(f"{family}_NOT_REGULAR", "not a regular file", relative)
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            data = file.read(limit + 1)
    finally:
        os.close(descriptor)
    if len(data) > limit:
        raise Refused(f"{family}_TOO_LARGE", f"more than {limit} bytes", relative)
    return data


def read_present(root: Path, relative: str, limit: int, family: str, missing: Refused) -> bytes:
    """As :func:`read_once`, with a refusal of its own where the file is not there.

    Raises:
        Refused: ``missing``; ``*_PATH_ESCAPE``, ``*_NOT_REGULAR``, ``*_TOO_LARGE``.
    """
    try:
        return read_once(root, relative, limit, family)
    except Refused as error:
        if error.code != f"{family}_FILE_MISSING":
            raise
        raise missing from None


def read_bound(root: Path, relative: str, size: int, sha256: str) -> bytes:
    """Read a file of a manifest whose size and digest are signed; never more than that size.

    Args:
        root: the manifest directory.
        relative: name of the file.
        size: in bytes.
        sha256: of its bytes.

    Raises:
        Refused: ``MANIFEST_HASH_MISMATCH`` for other bytes, and as :func:`read_once`.
    """
    try:
        data = read_once(root, relative, size, "MANIFEST")
    except Refused as error:
        if error.code != "MANIFEST_TOO_LARGE":
            raise
        data = b""
    if len(data) != size or sha256_hex(data) != sha256:
        raise Refused("MANIFEST_HASH_MISMATCH", "a file is not the one that was signed", relative,
                      "restore it or have it signed again")  # fmt: skip
    return data


def _parts(relative: str, family: str) -> list[str]:
    parts = relative.split("/")
    if any(part in ("", ".", "..") or re.search(r"[\\:\x00]", part) for part in parts):
        raise Refused(f"{family}_PATH_ESCAPE", "a path that could leave its folder",
                      relative.encode("unicode_escape").decode(), "use a plain one")  # fmt: skip
    return parts


def _open(root: Path, parts: list[str], family: str, relative: str) -> int:
    folder = None
    try:
        folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        # O_NONBLOCK: opening a named pipe must not wait for a writer
        return os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except FileNotFoundError:
        raise Refused(f"{family}_FILE_MISSING", "a file is missing", relative,
                      "restore it, or sign a manifest without it") from None  # fmt: skip
    except OSError as error:
        raise Refused(f"{family}_NOT_REGULAR", f"cannot be read as a plain file "
                      f"({error.strerror})", relative, "no links or devices") from None  # fmt: skip
    finally:
        if folder is not None:
            os.close(folder)
