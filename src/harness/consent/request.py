"""What a job asks permission for, and one such use: an operation on one kind of content."""

from dataclasses import dataclass
from datetime import datetime

from harness.consent.head import Head
from harness.consent.modality import covers
from harness.consent.records import ALL, Arm, Operation, RuleSource
from harness.meetings.model import Modality


@dataclass(frozen=True)
class Request:
    """What a job asks permission for; every operation must be covered.

    Attributes:
        controller: who processes.
        purpose: what for.
        operations: what is done.
        modalities: kinds of content, in the order in which they are read.
        arms: arms of the split that the job may read.
        recipients: who receives what is made; none means that it stays with the controller.
        set_aside: sources of exclusion rules that do not count here.
    """

    controller: str
    purpose: str
    operations: tuple[Operation, ...]
    modalities: tuple[Modality, ...]
    arms: frozenset[Arm]
    recipients: tuple[str, ...] = ()
    set_aside: frozenset[RuleSource] = frozenset()


@dataclass(frozen=True)
class Use:
    """One operation of a request on one kind of content, judged at one time under one manifest."""

    request: Request
    operation: Operation
    modality: Modality
    now: datetime
    head: Head

    def is_disclosed(
        self,
        operations: tuple[Operation, ...],
        purposes: tuple[str, ...],
        modalities: tuple[Modality, ...],
    ) -> bool:
        """Whether a list of operations, of purposes and of modalities names this use."""
        return (
            covers(operations, self.operation)
            and self.request.purpose in purposes
            and self.modality in modalities
        )


def concerns(listed: tuple[str, ...], word: str) -> bool:
    """Whether a list has a word, or the word for all."""
    return ALL in listed or word in listed
