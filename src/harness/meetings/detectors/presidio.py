"""Microsoft Presidio as one more detector; the extra ``presidio`` brings it.

Without a model it finds by patterns alone, which is more kinds of numbers than ours, of more
countries; with a spaCy model that is installed, names and places, too. It asks nobody: its list of
domain endings is the one that came with it.
"""

import logging
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from harness.meetings.detectors.span import Span

_KINDS = {
    "EMAIL_ADDRESS": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card", "IBAN_CODE": "iban",
    "US_SSN": "ssn", "IP_ADDRESS": "ip", "PERSON": "name",
}  # fmt: skip
_LANGUAGE = "en"
_LEAST = 0.4
"""Score of a pattern that a check or a word beside it supports, by Presidio's own numbers."""


class Presidio:
    """The detector.

    Args:
        model: name of an installed spaCy model; empty for none.

    Raises:
        ModuleNotFoundError: without the extra.
        OSError: where there is no such model.
    """

    def __init__(self, model: str = "") -> None:
        self._engine = _engine(model)
        self.name = f"presidio/{version('presidio-analyzer')} {model or 'without a model'}"

    def find(self, text: str) -> Iterator[Span]:
        """Spans of a text; see :class:`harness.meetings.detectors.span.Detector`."""
        for found in self._engine.analyze(text, _LANGUAGE, score_threshold=_LEAST):
            kind = _KINDS.get(found.entity_type, found.entity_type.lower())
            yield Span(found.start, found.end, kind)


def _engine(model: str) -> Any:
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    logging.getLogger("presidio-analyzer").setLevel(logging.ERROR)  # it tells of other languages
    tldextract.tldextract.TLD_EXTRACTOR = tldextract.TLDExtract(suffix_list_urls=())
    language = spacy.load(model) if model else spacy.blank(_LANGUAGE)
    nlp = SpacyNlpEngine([{"lang_code": _LANGUAGE, "model_name": model or "blank"}])
    nlp.nlp = {_LANGUAGE: language}  # its own loading would fetch a model that is not here
    return AnalyzerEngine(nlp_engine=nlp, supported_languages=[_LANGUAGE])
