"""Kinds of content: what each derives from, which are metadata, what platforms call them."""

from collections.abc import Collection, Iterable, Mapping

from harness.consent.records import Operation
from harness.meetings.model import Modality
from harness.meetings.readers.zoom_recordings import MODALITY_OF_RECORDING_TYPE

ORDER: tuple[Modality, ...] = tuple(Modality)
BIT: dict[Modality, int] = {modality: 1 << place for place, modality in enumerate(ORDER)}
OPERATION_BIT: dict[Operation, int] = {o: 1 << place for place, o in enumerate(Operation)}

DERIVED: dict[Modality, Modality] = {
    Modality.TRANSCRIPT: Modality.AUDIO,
    Modality.CAPTION: Modality.AUDIO,
    Modality.TIMELINE: Modality.AUDIO,
    Modality.SUMMARY_AI: Modality.TRANSCRIPT,
}
"""What a kind of content is made from by nature, also where a content row does not say so."""

METADATA = frozenset(
    {Modality.META_PARTICIPANT, Modality.META_MEETING, Modality.TIMELINE, Modality.TELEMETRY}
)
"""Kinds that content never implies, nor they content."""

RECORDING_TYPES: dict[tuple[str, str], Modality] = {
    ("zoom", kind): modality for kind, modality in MODALITY_OF_RECORDING_TYPE.items()
}
"""(platform, its name for a kind of recording) to modality; what is not here is unmapped."""


def origins(
    modality: Modality, stated: Mapping[Modality, Collection[Modality]]
) -> frozenset[Modality]:
    """Every modality that ``modality`` derives from, without itself.

    Args:
        modality: the derived kind.
        stated: ``derived_from`` of the content rows of the same meeting.
    """
    found: set[Modality] = set()
    due = [modality]
    while due:
        current = due.pop()
        natural = [DERIVED[current]] if current in DERIVED else []
        new = {*stated.get(current, ()), *natural} - found
        found |= new
        due += new
    return frozenset(found - {modality})


def covers(operations: Iterable[Operation], operation: Operation) -> bool:
    """Training includes fine-tuning; nothing includes anything else (DPV)."""
    listed = {*operations}
    return operation in listed or (
        operation is Operation.FINE_TUNING and Operation.TRAINING in listed
    )


def mask(modalities: Iterable[Modality]) -> int:
    """Modalities as bits."""
    return sum(BIT[modality] for modality in {*modalities})


def covering_mask(operation: Operation) -> int:
    """Operations as bits, any of which covers ``operation``."""
    return sum(bit for other, bit in OPERATION_BIT.items() if covers([other], operation))
