"""What fuzzing starts from: a small file of each format, and the pieces of their layouts."""

import base64
from functools import partial
from pathlib import Path

from harness.meetings.model import Turn
from harness.meetings.readers import (
    fireflies,
    jsonl,
    meet_chat,
    meet_entries,
    meet_transcript,
    otter,
    parquet,
    teams_transcript,
    webex_transcript,
    zoom_chat,
    zoom_transcript,
)

TURNS = [Turn(0, "Ada", "hello there", 0.0), Turn(1, "Bo", "yes: no\nmore", 7.0)]
SINGLE = [Turn(0, "Ada", "hello there", 0.0), Turn(1, "Bo", "yes: no", 7.0)]
WRITERS = {
    "zoom-vtt": partial(zoom_transcript.write, end=9e5), "zoom-chat": zoom_chat.write,
    "teams-vtt": teams_transcript.write, "webex-vtt": webex_transcript.write,
    "named-vtt": partial(zoom_transcript.write, end=9e5), "meet-sbv": meet_chat.write,
    "meet-entries": meet_entries.write, "meet-text": meet_transcript.write,
    "otter-text": otter.write, "fireflies-json": fireflies.write, "turns-jsonl": jsonl.write,
    "turns-parquet": parquet.write,
}  # fmt: skip
OTHERS: dict[str, list[bytes]] = {
    "teams-vtt-unattributed": [
        b"WEBVTT\n\n00:00:05.000 --> 00:00:08.000\n\nHello.\n\n00:00:08.000 --> 00:00:09.000\n\nA\n"
    ],
    "qmsum-json": [b'{"meeting_transcripts":[{"speaker":"PM","content":"{gap} Okay so"}]}'],
    "qmsum-pairs": [
        b'{"general_query_list":[{"query":"What {gap} now?","answer":"All is well."}],'
        b'"specific_query_list":[{"query":"Who?","answer":"Ada","relevant_text_span":[["0","1"]]}]}'
    ],
    "pairs-jsonl": [b'{"query":"Who spoke?","answer":"Ada, then Bo."}\n', b""],
    "zoom-saved-chat": [
        b"12:58:22\t From  Ada : old\n13:36:16\t From  Ada  to  Bo(Privately) : private\n",
        b"18:00:15 From Ada to Everyone:\n\tnew\n\tmore\n18:00:20 From Ada to Bo"
        b"(Direct Message):\n\tsecret\n",
    ],
    "zoom-participants": [
        b"Name (Original Name),User Email,Join Time,Leave Time,Duration (Minutes),Guest\r\n"
        b"Ada,a@b.c,10/06/2026 06:01:12 PM,10/06/2026 06:30:00 PM,29,No\r\n"
    ],
    "zoom-recordings": [
        b'{"uuid":"u","host_id":"h","topic":"t","start_time":"2026-10-06T16:00:00Z",'
        b'"timezone":"UTC","recording_files":[{"id":"f","file_type":"CHAT",'
        b'"recording_type":"chat_file","status":"completed"}]}'
    ],
    "zoom-timeline": [b'{"timeline":[{"ts":"00:00:05.000","users":[{"username":"A"}]}]}'],
    "teams-attendance": [
        b"\xff\xfe" + "Ada\tJoined\t13/09/2022, 5:30:21 PM\r\n".encode("utf-16-le")
    ],
    "nxt": [
        b'<r xmlns:nite="http://nite.sourceforge.net/"><w nite:id="a">hi</w></r>\0'
        b'<r xmlns:nite="http://nite.sourceforge.net/"><segment starttime="1">'
        b'<nite:child href="x#id(a)"/></segment></r>'
    ],
}
TOKENS = [
    "WEBVTT", "\n\n", "\r\n", " --> ", "00:00:01.000", "00:01.000", "1\n", "<v Ada>", "</v>",
    "&amp;", "&lt;", "NOTE ", "STYLE\n", ": ", ":\t", "\t From  ", " From ", " to ", "  to  ",
    "Everyone", "(Privately)", "(Direct Message)", ",0:00:02.000", "  0:49", "Transcript\n",
    "Meeting ended after 00:00:01", '"text":', '"speaker":', '{"', "\ufeff", "\ud7ff", "é", "😅",
    '<w nite:id="b">so</w>', '<vocalsound nite:id="c"/>', '..id(b)', ' participant="p"',
    '<nite:child href="x#id(b)"/>', '</segment><segment starttime="2">', '"recording_type":',
    '"timeline_refine":', '{"username":"B"}', '"payload":{"object":', '"poll"', ",Guest", ",No",
    "Bo,,10/06/2026 06:01:12 PM,10/06/2026 06:30:00 PM,29,Yes\r\n", ",Recording Consent", "\t\t",
    "14.3.2024, 09:00:01", "\tada@x.example", '"sentences":', '"transcriptEntries":', "null",
]  # fmt: skip


def seeds(name: str) -> list[bytes]:
    """Small files of a format."""
    if name in OTHERS:
        return OTHERS[name]
    single = name in ("zoom-vtt", "named-vtt", "meet-text")
    return [WRITERS[name](SINGLE if single else TURNS), WRITERS[name](TURNS[:1]), b""]


def read_corpus(path: Path) -> list[bytes]:
    """Files that fuzzing kept, one in base64 a line."""
    return [base64.b64decode(row) for row in path.read_text().split()] if path.exists() else []
