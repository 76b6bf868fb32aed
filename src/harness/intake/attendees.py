"""A list of who came to a meeting, for platforms that export none: ``label,email,role``."""

from harness.consent.records import Role
from harness.intake.people import Seen
from harness.intake.tables import one_of
from harness.meetings.address import address
from harness.meetings.strict import decode, refusal, table_rows

_COLUMNS = ["label", "email", "role"]


def looks(head: str) -> bool:
    """Whether a file that begins so is one of these."""
    return head.split("\n", 1)[0].strip() == ",".join(_COLUMNS)


def read(data: bytes) -> list[Seen]:
    """Read a list; an empty address is nobody known.

    Raises:
        Refused: ``PARSE_REFUSED`` with the line.
    """
    found = []
    for line, row in [*table_rows(decode(data))][1:]:
        try:
            label, email, role = row
            seen = Seen(label, address(email) if email else "", Role(role))
        except ValueError:
            raise refusal(f"not a label, an address or nothing, and {one_of(Role)}", line,
                          "correct it") from None  # fmt: skip
        if not label.strip():
            raise refusal("no label", line, "correct it")
        found.append(seen)
    if not found:
        raise refusal("nobody", 1, "list who came")
    return found
