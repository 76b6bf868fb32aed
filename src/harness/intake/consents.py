"""Consent records of other systems: events with addresses, in the place of keys.

Each line is a consent event of the manifest (``docs/manifest.schema.json``) without ``seq``, and
with ``subject`` and ``actor``, addresses, in place of ``subject_key`` and ``actor_key``. Nothing is
added to what a line says.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.consent.reading import read_once
from harness.consent.records import ConsentEvent, parse
from harness.digest import strict_json
from harness.errors import Refused
from harness.intake.people import People

_LIMIT = 512 * 1024 * 1024
_NAMED = ("subject", "actor")


def read_consents(path: Path, people: People) -> Iterator[dict[str, Any]]:
    """The events of a file, with keys, without ``seq``.

    Args:
        path: of the file, a JSON object a line.
        people: for the keys of addresses.

    Raises:
        Refused: ``CONSENTS_*``, ``JSON_INVALID``, ``SCHEMA_INVALID`` with the row.
    """
    data = read_once(path.parent, path.name, _LIMIT, "CONSENTS")
    for number, line in enumerate(data.splitlines(), 1):
        where = f"{path.name} row {number}"
        fields = strict_json(line, where)
        if not isinstance(fields, dict) or {"seq", "subject_key", "actor_key"} & {*fields}:
            raise _bad("not an event with addresses, and without seq", where)
        for name in _NAMED:
            email = fields.pop(name, None)
            try:
                fields[f"{name}_key"] = people.key(email if isinstance(email, str) else "")
            except ValueError:
                raise _bad(f"no address under {name!r}", where) from None
        parse(ConsentEvent, {"seq": 0, **fields}, where)
        yield fields


def _bad(what: str, where: str) -> Refused:
    return Refused("CONSENTS_INVALID", what, where, "correct it")
