"""Fuzz a reader: nothing but a refusal may come of any file, soon, and nothing may be lost.

Coverage-guided (atheris, libFuzzer). A file that is not refused must be accounted for in full, and
be read the same however it is cut (tests/meetings/examine.py). The corpus in tests/meetings/corpus,
a file in base64 a line, grows by what reaches new code and is read again by the tests. Anything
else than a refusal, or more than ten seconds, ends it.

usage: python scripts/fuzz.py FORMAT SECONDS | --list          (needs the extra `fuzz`)
"""

import base64
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "tests")]
CORPUS = ROOT / "tests" / "meetings" / "corpus"
LONGEST, KEEP = 4096, 300

with atheris.instrument_imports(include=["harness.meetings"]):
    from meetings.examine import ALL, examine

from meetings.seeds import TOKENS, read_corpus, seeds  # noqa: E402


def fuzz(name: str, seconds: int) -> int:
    """Fuzz one reader from its corpus on; keep what was found, and the shortest of the others."""
    kept = CORPUS / f"{name}.b64"
    with tempfile.TemporaryDirectory() as beside:
        files, words = Path(beside, "files"), Path(beside, "words")
        files.mkdir()
        words.write_text("".join(f'"{_escaped(token)}"\n' for token in TOKENS))
        for number, data in enumerate([*seeds(name), *read_corpus(kept)]):
            (files / f"{number}").write_bytes(data)
        options = [f"-max_len={LONGEST}", "-timeout=10", f"-artifact_prefix={beside}/found-"]
        run = [sys.executable, __file__, "--run", name]
        limit = [f"-max_total_time={seconds}", f"-dict={words}", "-print_final_stats=1"]
        code = subprocess.run([*run, *options, *limit, str(files)], check=False).returncode
        found = [path.read_bytes() for path in Path(beside).glob("found-*")]
        others = sorted((path.read_bytes() for path in files.iterdir()), key=len)
    kept.parent.mkdir(exist_ok=True)
    rows = dict.fromkeys(base64.b64encode(data).decode() for data in [*found, *others[:KEEP]])
    kept.write_text("".join(f"{row}\n" for row in rows))
    print(f"{name}: {len(rows)} files kept, exit code {code}")
    return code


def main() -> None:
    """Fuzz one reader, or, as a child, run libFuzzer on it."""
    if sys.argv[1] == "--run":
        name = sys.argv[2]
        atheris.Setup([sys.argv[0], *sys.argv[3:]], lambda data: examine(name, data))
        atheris.Fuzz()
    if sys.argv[1] == "--list":
        print(" ".join(ALL))
        return
    name, seconds = sys.argv[1], int(sys.argv[2])
    if name not in ALL:
        sys.exit(f"no reader {name}: {', '.join(ALL)}")
    sys.exit(fuzz(name, seconds))


def _escaped(token: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in token.encode())


if __name__ == "__main__":
    main()
