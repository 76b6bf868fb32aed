"""Every reason code: its stable number, what it is about, and the one sentence for an auditor.

Codes are listed, counted and shown in the order of their numbers. A number is never used again.
"""

from dataclasses import dataclass
from enum import StrEnum


class About(StrEnum):
    """What a code says something of; ``run`` codes refuse the whole run (exit 4)."""

    MEETING = "meeting"
    PERSON = "person"
    TURN = "turn"
    RUN = "run"


@dataclass(frozen=True)
class Reason:
    """A code, its number, what it is about, and its sentence."""

    number: int
    code: str
    about: About
    sentence: str


_MEETING = {
    101: ("EXCLUDED_MEETING", "The meeting is on the exclusion list."),
    102: ("EXCLUDED_SERIES", "The meeting's series is on the exclusion list."),
    103: ("EXCLUDED_ACCOUNT", "The meeting's account is on the exclusion list."),
    104: ("EXCLUDED_TAG", "The meeting carries a tag that is on the exclusion list."),
    105: ("EXCLUDED_DATE_RANGE", "The meeting touches dates that are on the exclusion list."),
    106: ("EXCLUDED_MODALITY", "This kind of content is on the exclusion list."),
    107: ("EXCLUDED_JURISDICTION", "Somebody is of a place that is on the exclusion list."),
    108: ("EXCLUDED_FILE", "The file is on the exclusion list."),
    109: ("EXCLUDED_DERIVED_FROM",
          "The content derives from content that is on the exclusion list."),
    121: ("MEETING_TZ_INVALID",
          "The meeting's time zone does not exist, so its times cannot be trusted."),
    122: ("MEETING_ROSTER_EMPTY", "Nobody is listed as taking part, so nobody can have agreed."),
    123: ("MEETING_NO_CONTENT", "The meeting has no content of the kinds that the job asks for."),
    124: ("MODALITY_NOT_REQUESTED", "The job does not ask for this kind of content."),
    125: ("MODALITY_UNMAPPED", "The platform's kind of recording is not this kind of content."),
    131: ("JURISDICTION_NO_RULE", "No rule is on record for a place that is concerned."),
    132: ("SPECIAL_CATEGORY", "Special categories of data are not ruled out, and a place forbids "
          "their use."),
    133: ("MEETING_RETENTION_PASSED", "The meeting is older than a place allows it to be kept."),
    134: ("TRANSFER_BLOCKED", "A place does not allow its data where they would be used."),
    141: ("LICENCE_MISSING", "The content has no licence on record."),
    142: ("LICENCE_FORBIDS", "The content's licence does not allow this use."),
    151: ("TOO_FEW_CONSENTING", "Too few people remain whose turns may be used."),
    152: ("ONE_TO_ONE", "One of two people in a private talk did not agree."),
    153: ("TOO_MUCH_DROPPED", "Too large a part of the turns may not be used."),
}  # fmt: skip

_PERSON = {
    201: ("EXCLUDED_SUBJECT", "Somebody who took part is on the exclusion list."),
    202: ("EXCLUDED_DOMAIN", "Somebody's organisation is on the exclusion list."),
    203: ("EXCLUDED_LABEL", "Somebody's label is on the exclusion list."),
    211: ("GUEST_UNIDENTIFIED",
          "A guest is not identified, so this person's consent cannot be known."),
    212: ("SUBJECT_UNRESOLVED", "A label belongs to no identified person, or to more than one."),
    213: ("SUBJECT_AMBIGUOUS", "Two people of the meeting bear the same label."),
    214: ("SUBJECT_CONFUSABLE", "A label mixes scripts whose letters look alike."),
    215: ("SHARED_DEVICE", "Several people may have spoken through one device."),
    221: ("MINOR", "A minor took part, and no guardian's consent can stand or none was given."),
    222: ("AGE_UNKNOWN", "It is not known whether a person is old enough."),
    223: ("JURISDICTION_UNKNOWN", "It is not known of what place a person is."),
    224: ("PLACE_NO_RULE", "No rule is on record for the place that a person is of."),
    231: ("NO_CONSENT_RECORD", "A person who took part has no consent record at all."),
    232: ("CONSENT_REQUESTED_ONLY", "A person was asked and has not answered."),
    233: ("CONSENT_REFUSED", "A person refused."),
    234: ("CONSENT_WITHDRAWN", "A person withdrew consent."),
    235: ("CONSENT_REVOKED", "A person's consent was revoked by somebody else."),
    236: ("CONSENT_EXPIRED", "A person's consent is no longer valid."),
    237: ("CONSENT_INVALIDATED", "A person's consent was found invalid."),
    238: ("CONSENT_UNKNOWN", "The state of a person's consent is unknown."),
    239: ("TIE_RESTRICTIVE", "Two events carry the same time; the more restrictive one counts."),
    241: ("NOT_EXPLICIT", "Consent was shown more weakly than is asked for, as by staying."),
    242: ("CONSENT_BUNDLED", "Consent was part of terms accepted as a whole, no act of its own."),
    243: ("CONSENT_NOT_YET_VALID", "A person's consent begins to hold later than now."),
    244: ("CONSENT_TOO_OLD", "A person's consent is older than the manifest allows."),
    245: ("RETENTION_PASSED", "The time for which a person's content may be kept is over."),
    246: ("EMPLOYEE_CONSENT", "A person may be the controller's employee and not free to refuse."),
    247: ("RECORDING_NOT_AGREED", "A place asks for everybody's consent to recording, and a "
          "person's is missing."),
    251: ("HOST_CONSENT_NOT_PARTICIPANT",
          "A host or employer agreed for somebody; that is no consent."),
    252: ("DELEGATION_NOT_ALLOWED", "Somebody without the right to do so agreed for a person."),
    261: ("CONTROLLER_NOT_COVERED", "A person agreed to another controller, not to this one."),
    262: ("RECIPIENT_NOT_COVERED", "A person did not agree to somebody who would receive it."),
    263: ("OPERATION_NOT_COVERED", "A person did not agree to this operation."),
    264: ("PURPOSE_NOT_COVERED", "A person did not agree to this purpose."),
    265: ("PURPOSE_RECORDING_ONLY", "A person agreed to being recorded or transcribed only."),
    266: ("MODALITY_NOT_COVERED", "A person did not agree to the use of this kind of content."),
    267: ("DERIVATIVE_NOT_COVERED", "A person agreed to the source, not to what is made from it."),
    268: ("METADATA_NOT_COVERED", "A person agreed to content, which says nothing of metadata."),
    269: ("SCOPE_MEETING", "A person's consent does not name this meeting or its series."),
    270: ("SCOPE_TIME", "A person's consent does not reach to the day of this meeting."),
    271: ("RETROACTIVE_NOT_GIVEN", "A person agreed after the meeting, and not for earlier ones."),
    281: ("POLICY_UNKNOWN", "A person agreed to a policy version that the manifest does not hold."),
    282: ("POLICY_HASH_MISMATCH", "The policy text that a person saw is not the text on record."),
    283: ("POLICY_NOT_IN_FORCE", "A person agreed to a policy version that is not in force yet."),
    284: ("POLICY_NOT_COVERING", "The policy that a person saw, or the one in force, does not "
          "disclose this use."),
    285: ("POLICY_VERSION_SUPERSEDED", "A newer policy version asks for a new consent."),
    286: ("CONSENT_BEFORE_DISCLOSURE", "A person agreed before being told of the policy."),
}  # fmt: skip

_TURN = {
    301: ("EXCLUDED_TURN", "The turn is on the exclusion list."),
    302: ("EXCLUDED_UTTERANCE", "The turn's words are on the exclusion list."),
    303: ("EXCLUDED_COPY", "The turn repeats words of excluded content."),
    304: ("SPEAKER_DROPPED", "The turn is of a person who did not agree."),
    305: (
        "QUOTES_DROPPED",
        "The turn quotes, answers or addresses somebody whose turns may not be "
        "used, or retells a turn that may not be.",
    ),
    306: ("KEY_IN_TURN", "The turn holds a key or token that opens something."),
    307: (
        "PAIRS_WITHOUT_TRANSCRIPT",
        "Queries and answers tell of a transcript that may not be used.",
    ),
    308: (
        "PAIRS_NOT_SUMMARY",
        "Queries and answers are declared as another kind of content than an AI summary.",
    ),
}

_ARM = {
    191: ("SPLIT_UNASSIGNED", "The meeting has no arm in the random split."),
    192: ("TRAIN_ARM", "The meeting is trained on, and this operation may not read it."),
    193: ("HELDOUT_ARM", "The random split held the meeting out."),
    194: ("SENTINEL_ARM",
          "The random split made the meeting a sentinel: kept out to test for leaks."),
    195: ("VALIDATION_ARM", "The meeting's series is kept for validation."),
}  # fmt: skip

_RUN = {
    901: ("MANIFEST_MISSING", "There is no signed manifest."),
    902: ("MANIFEST_SIG_INVALID", "A signature does not fit the manifest."),
    903: ("MANIFEST_SIG_THRESHOLD", "Too few different keys signed."),
    904: ("MANIFEST_KEY_UNKNOWN", "A signing key is not pinned for manifests."),
    905: ("MANIFEST_EXPIRED", "The manifest's time is over."),
    906: ("MANIFEST_NOT_YET_VALID", "The manifest was issued after this machine's time."),
    907: ("MANIFEST_HASH_MISMATCH", "A file is not the one that was signed."),
    908: ("MANIFEST_COUNT_MISMATCH", "A table has another number of rows than was signed."),
    909: ("MANIFEST_FILE_MISSING", "A table is missing."),
    910: ("MANIFEST_FILE_EXTRA", "The directory holds a file that the manifest does not bind."),
    911: ("MANIFEST_NOT_REGULAR", "A file of the manifest is a link, a folder or a device."),
    912: ("MANIFEST_TOO_LARGE", "A file of the manifest is larger than allowed."),
    913: ("MANIFEST_NONCANONICAL", "A signed file is not in canonical JSON."),
    914: ("MANIFEST_KEY_EXPIRED", "The time of a key that signed the manifest is over."),
    915: ("MANIFEST_KEY_NOT_YET_VALID", "The time of a key that signed the manifest has not come."),
    916: ("MANIFEST_KEY_REVOKED", "A key that signed the manifest is revoked."),
    917: ("MANIFEST_EPOCH_ROLLBACK", "A newer manifest of this issuer was seen before."),
    918: ("MANIFEST_FORK", "Another manifest of this issuer with the same epoch was seen before."),
    919: ("MANIFEST_CHAIN_BROKEN", "The manifest does not follow the one that was seen before."),
    920: ("MANIFEST_EVENTS_MISSING",
          "It has fewer consent events or exclusion rules than were seen before."),
    931: ("JSON_INVALID", "A file is not strict JSON: a key stands twice, or it does not parse."),
    932: ("SCHEMA_INVALID", "A row does not follow the schema."),
    933: ("UNKNOWN_FIELD", "A row has a field that the schema does not have."),
    934: ("UNKNOWN_REFERENCE", "A row names a meeting, series or purpose that is not defined."),
    935: ("DUPLICATE_ID", "Two rows carry the same id."),
    936: ("SPLIT_NOT_RANDOM", "The arms are not the random draw that the manifest says they are."),
    937: ("EVENT_SEQUENCE_GAP", "The consent log leaves out a number, so an event is missing."),
    941: ("JOB_CONTROLLER_MISMATCH", "The job's controller is not the manifest's."),
    942: ("JOB_OPERATION_OUT_OF_SCOPE", "The manifest cannot permit the job's operation."),
    943: ("JOB_PURPOSE_OUT_OF_SCOPE", "The manifest cannot permit the job's purpose."),
    944: ("JOB_MODALITY_OUT_OF_SCOPE",
          "The manifest cannot permit a kind of content that the job names."),
    945: ("JOB_RECIPIENT_OUT_OF_SCOPE", "The manifest cannot permit one of the job's recipients."),
    946: ("JOB_EMPTY", "The job names no kind of content."),
    961: ("CONTENT_PATH_ESCAPE", "A content path could leave the store."),
    962: ("CONTENT_FILE_MISSING", "An admitted content file is missing."),
    963: ("CONTENT_NOT_REGULAR", "An admitted content file is a link, a folder or a device."),
    964: ("CONTENT_TOO_LARGE", "An admitted content file is larger than its row says."),
    965: ("CONTENT_HASH_MISMATCH", "An admitted content file is not the one that was signed."),
    966: ("CONTENT_FORMAT_UNKNOWN", "No reader knows the format of an admitted content file."),
    967: ("CONTENT_TURNS_MISMATCH",
          "An admitted content file has another number of turns than signed."),
    968: ("WITHDRAWN_MEANWHILE", "Something was withdrawn while it was trained on."),
    970: ("INDEX_MISSING", "Words are excluded by their digest, and no index binds the key."),
    971: ("INDEX_INVALID", "The index of excluded content is not as it was made."),
    972: ("INDEX_KEY_MISSING", "Words are excluded, and the key to find them is not here."),
    973: ("INDEX_KEY_MISMATCH", "The index of excluded content was made with another key."),
    974: ("INDEX_KEY_SHORT", "The key of the index of excluded content is too short."),
    975: ("INDEX_TOO_LARGE", "There is more excluded content than one index holds."),
    976: ("UTTERANCE_TOO_SHORT", "A turn is too short to be excluded by its words."),
    981: ("PARSE_REFUSED", "A file cannot be read to its last byte in the layout that it claims."),
    982: ("KEY_MISSING", "There is no private key to sign with."),
    983: ("KEY_INVALID", "The private key cannot be used."),
    984: ("DRAFT_EXISTS", "There is a draft already."),
    985: ("DRAFT_FORGETS", "A draft leaves out what the last epoch held and no epoch may forget."),
    986: ("TRUST_EXISTS", "There is a trust root already."),
    987: ("FILE_MISSING", "A file that was named cannot be read."),
    988: ("RUN_FILE", "A file of a run is missing or unreadable."),
    989: ("MANIFEST_CHANGED", "The manifest is not the one that a run was decided under."),
    990: ("MEETING_UNKNOWN", "The manifest has no such meeting."),
    991: ("TURN_UNKNOWN", "No such turn was decided."),
    992: ("PREVIOUS_MISMATCH", "A manifest is not the epoch before the one that holds."),
    993: ("DRAFT_FILE_MISSING", "A file of a draft is missing."),
    994: ("DRAFT_NOT_REGULAR", "A file of a draft is a link, a folder or a device."),
    995: ("DRAFT_TOO_LARGE", "A file of a draft is larger than allowed."),
    999: ("NOTHING_ADMITTED", "Nothing at all is admitted."),
    1001: ("TRUST_MISSING", "There is no trust root."),
    1002: ("TRUST_INVALID", "The trust root has another schema, or sets no threshold for a role."),
    1011: ("STATE_MISSING", "Nobody vouched for this issuer's manifest here."),
    1012: ("STATE_EXISTS", "Somebody vouched for this issuer's manifest already."),
    1013: ("STATE_INVALID", "The last-seen state is not as it was written."),
    1014: ("STATE_LOCKED", "Another process holds the last-seen state."),
    1015: ("STATE_UNWRITABLE",
           "The last-seen state cannot be written, so nothing could be remembered."),
    1021: ("CLOCK_ROLLBACK", "This machine's time lies before a time that was seen already."),
    1031: ("WITHDRAWALS_MISSING", "There is no signed withdrawals log."),
    1032: ("WITHDRAWALS_SIG_INVALID", "A signature does not fit the withdrawals log."),
    1033: ("WITHDRAWALS_SIG_THRESHOLD", "Too few different keys signed the withdrawals log."),
    1034: ("WITHDRAWALS_KEY_UNKNOWN", "A signing key is not pinned for the withdrawals log."),
    1035: ("WITHDRAWALS_KEY_EXPIRED", "The time of a key that signed the withdrawals log is over."),
    1036: ("WITHDRAWALS_KEY_NOT_YET_VALID", "The time of a key that signed the log has not come."),
    1037: ("WITHDRAWALS_KEY_REVOKED", "A key that signed the withdrawals log is revoked."),
    1038: ("WITHDRAWALS_NONCANONICAL",
           "A line or the envelope of the log is not in canonical JSON."),
    1039: ("WITHDRAWALS_NOT_REGULAR",
           "A file of the withdrawals log is a link, a folder or a device."),
    1040: ("WITHDRAWALS_TOO_LARGE", "A file of the withdrawals log is larger than allowed."),
    1041: ("WITHDRAWALS_TRUNCATED", "The withdrawals log has fewer entries than were signed."),
    1042: ("WITHDRAWALS_HASH_MISMATCH", "The withdrawals log is not the one that was signed."),
    1043: ("WITHDRAWALS_CHAIN_BROKEN",
           "An entry of the withdrawals log does not follow the one before it."),
    1044: ("WITHDRAWALS_STALE", "The withdrawals log is too old to say who has withdrawn."),
    1045: ("WITHDRAWALS_NOT_YET_VALID",
           "The withdrawals log, or an entry of it, is dated after now."),
    1046: ("WITHDRAWALS_ROLLED_BACK",
           "The log does not go on from the entries that were seen before."),
    1047: ("WITHDRAWALS_LOCKED", "Another process is writing the withdrawals log."),
    1048: ("WITHDRAWALS_UNWRITABLE", "The withdrawals log cannot be written."),
    1051: ("SHARD_MISSING", "A share of the decisions is not there."),
    1052: ("SHARD_MISMATCH", "A share was decided on something else than the others."),
    1053: ("SHARD_CLOCK", "The clock that the shares have in common is not of the last day."),
    1054: ("SHARD_SIG_INVALID", "A signature does not fit a share."),
    1055: ("SHARD_SIG_THRESHOLD", "Too few different keys signed a share."),
    1056: ("SHARD_KEY_UNKNOWN", "A key that signed a share is not pinned for the gate."),
    1057: ("SHARD_KEY_EXPIRED", "The time of a key that signed a share is over."),
    1058: ("SHARD_KEY_NOT_YET_VALID", "The time of a key that signed a share has not come."),
    1059: ("SHARD_KEY_REVOKED", "A key that signed a share is revoked."),
    1060: ("SHARD_NONCANONICAL", "The envelope of a share is not in canonical JSON."),
    1061: ("SHARD_FILE_MISSING", "A file of a share is missing."),
    1062: ("SHARD_NOT_REGULAR", "A file of a share is a link, a folder or a device."),
    1063: ("SHARD_TOO_LARGE", "The statement of a share is larger than allowed."),
    1071: ("ALIASES_FILE_MISSING", "A file of aliases, or the signature beside it, is missing."),
    1072: ("ALIASES_NOT_REGULAR", "A file of aliases is a link, a folder or a device."),
    1073: ("ALIASES_TOO_LARGE", "A file of aliases is larger than allowed."),
    1074: ("ALIASES_NONCANONICAL", "The envelope of the aliases is not in canonical JSON."),
    1075: ("ALIASES_SIG_INVALID", "A signature does not fit the aliases."),
    1076: ("ALIASES_SIG_THRESHOLD", "Too few different keys signed the aliases."),
    1077: ("ALIASES_KEY_UNKNOWN", "A key that signed the aliases is not pinned for manifests."),
    1078: ("ALIASES_KEY_EXPIRED", "The time of a key that signed the aliases is over."),
    1079: ("ALIASES_KEY_NOT_YET_VALID", "The time of a key that signed the aliases has not come."),
    1080: ("ALIASES_KEY_REVOKED", "A key that signed the aliases is revoked."),
}  # fmt: skip


def _table(about: About, *entries: dict[int, tuple[str, str]]) -> list[Reason]:
    return [
        Reason(number, code, about, sentence)
        for group in entries
        for number, (code, sentence) in group.items()
    ]


REASONS: dict[str, Reason] = {
    reason.code: reason
    for reason in sorted(
        [*_table(About.MEETING, _MEETING, _ARM), *_table(About.PERSON, _PERSON),
         *_table(About.TURN, _TURN), *_table(About.RUN, _RUN)],
        key=lambda reason: reason.number,
    )
}  # fmt: skip
"""Code to reason, in the order of the numbers."""

DENIALS = {code: reason for code, reason in REASONS.items() if reason.about is not About.RUN}
"""Codes that deny a meeting, one kind of its content, or a turn."""

REFUSALS = {code: reason for code, reason in REASONS.items() if reason.about is About.RUN}
"""Codes that refuse the whole run."""


def sentence(code: str) -> str:
    """The sentence of a code.

    Raises:
        KeyError: for a code that the table does not have.
    """
    return REASONS[code].sentence


def in_order(codes: "set[str] | frozenset[str] | tuple[str, ...] | list[str]") -> tuple[str, ...]:
    """Codes without repetition in the order of their numbers."""
    return tuple(sorted({*codes}, key=lambda code: REASONS[code].number))
