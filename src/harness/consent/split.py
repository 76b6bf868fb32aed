"""The random split inside each meeting series, drawn so that anybody can draw it again."""

import hashlib
import hmac
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from harness.consent.records import Arm, SplitRow
from harness.errors import Refused

DEALT = (Arm.TRAIN, Arm.HELDOUT, Arm.SENTINEL)


def draw(
    seed: str, meetings_by_series: Mapping[str, Collection[str]], validation: Collection[str]
) -> dict[str, Arm]:
    """Draw an arm for each meeting.

    The meetings of a series are put in the order of HMAC-SHA256(seed, meeting id) and dealt to
    train, held-out and sentinel in turn: 6 meetings give 2, 2 and 2; 4 give 2, 1 and 1.

    Args:
        seed: key of the draw, fixed before anybody looks at content.
        meetings_by_series: series id to the ids of its meetings.
        validation: series that go to validation as a whole.
    """
    arms: dict[str, Arm] = {}
    for series, meetings in meetings_by_series.items():
        for place, meeting in enumerate(sorted(meetings, key=lambda name: _ticket(seed, name))):
            arms[meeting] = Arm.VALIDATION if series in validation else DEALT[place % 3]
    return arms


def is_the_draw(seed: str, rows: Iterable[SplitRow]) -> bool:
    """Whether the rows' arms are what :func:`draw` gives for their meetings."""
    pool: dict[str, list[str]] = defaultdict(list)
    stated, validation = {}, set()
    for row in rows:
        pool[row.series_id].append(row.meeting_id)
        stated[row.meeting_id] = row.arm
        if row.arm is Arm.VALIDATION:
            validation.add(row.series_id)
    return draw(seed, pool, validation) == stated


def check_draw(seed: str, randomised: bool, rows: Iterable[SplitRow]) -> bool:
    """Whether results may be read as those of a random split.

    Args:
        seed: of the manifest.
        randomised: what the manifest says of its arms.
        rows: the arms.

    Raises:
        Refused: ``SPLIT_NOT_RANDOM`` when the manifest claims a draw that this is not.
    """
    if randomised and not is_the_draw(seed, rows):
        raise Refused("SPLIT_NOT_RANDOM", "the arms are not the draw of the manifest's seed",
                      "split.jsonl", "draw again, or set randomised to false")  # fmt: skip
    return randomised


def _ticket(seed: str, meeting: str) -> bytes:
    return hmac.new(seed.encode(), meeting.encode(), hashlib.sha256).digest()
