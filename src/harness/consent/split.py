"""The random split inside each meeting series, drawn so that anybody can draw it again."""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import pyarrow as pa

from harness.consent.columns import Columns, numbered
from harness.consent.records import Arm
from harness.errors import Refused

DEALT = (Arm.TRAIN, Arm.HELDOUT, Arm.SENTINEL)
_ARMS = (*DEALT, Arm.VALIDATION)


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


def is_the_draw(seed: str, tables: Iterable[pa.Table]) -> bool:
    """Whether the arms of split tables are what :func:`draw` gives for their meetings.

    Args:
        seed: key of the draw.
        tables: columns of :class:`SplitRow`, all that there are.
    """
    parts = [Columns(table) for table in tables]
    ids = (name for part in parts for name in part.array("meeting_id").to_pylist())
    tickets = np.frombuffer(b"".join(_ticket(seed, name) for name in ids), ">u8").reshape(-1, 4)
    series, _ = numbered(pa.concat_arrays(
        [part.array("series_id").cast(pa.string()) for part in parts] or [pa.array([], pa.string())]
    ))  # fmt: skip
    places = {str(arm): place for place, arm in enumerate(_ARMS)}
    arms = np.concatenate([np.zeros(0, int), *(p.mapped("arm", places, 0, int) for p in parts)])
    order = np.lexsort((*tickets.T[::-1], series))
    series, arms = series[order], arms[order]
    place = np.arange(len(series)) - np.searchsorted(series, series)
    kept = np.isin(series, series[arms == _ARMS.index(Arm.VALIDATION)])
    dealt = np.where(kept, _ARMS.index(Arm.VALIDATION), place % len(DEALT))
    return bool((arms == dealt).all())


def check_draw(seed: str, randomised: bool, tables: Iterable[pa.Table]) -> bool:
    """Whether results may be read as those of a random split.

    Args:
        seed: of the manifest.
        randomised: what the manifest says of its arms.
        tables: the arms, as columns.

    Raises:
        Refused: ``SPLIT_NOT_RANDOM`` when the manifest claims a draw that this is not.
    """
    if randomised and not is_the_draw(seed, tables):
        raise Refused("SPLIT_NOT_RANDOM", "the arms are not the draw of the manifest's seed",
                      "split", "draw again, or set randomised to false")  # fmt: skip
    return randomised


def _ticket(seed: str, meeting: str) -> bytes:
    return hmac.new(seed.encode(), meeting.encode(), hashlib.sha256).digest()
