"""Index the text that every Python installation carries, and ask it things.

    python demo/demo.py FOLDER

Writes FOLDER/corpus.jsonl (the language reference of `pydoc_data` and the standard library's
sources), builds FOLDER/index with a tokenizer trained on it, and runs the commands it shows.
"""

import json
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

# Enough text to be worth asking, little enough to index in a minute or so on two cores.
MAX_BYTES = 40_000_000

QUESTIONS = [
    ["count", "the standard library"],
    ["infgram-ntd", "If no exception is raised, the", "--top", "6"],
    ["infgram-prob", "a mapping of keyword arguments"],
    ["document", "context manager", "--context", "30"],
]


def records() -> Iterator[dict[str, str]]:
    from pydoc_data.topics import topics

    for name, text in topics.items():
        yield {"text": text, "kind": "reference", "path": name}
    library = Path(sysconfig.get_paths()["stdlib"])
    skipped = {"site-packages", "dist-packages", "idlelib", "lib2to3", "ensurepip"}
    left = MAX_BYTES
    # The library itself before its tests, should they not fit together.
    paths = sorted(
        library.rglob("*.py"), key=lambda path: ("test" in str(path.relative_to(library)), path)
    )
    for path in paths:
        relative = path.relative_to(library)
        if skipped.intersection(relative.parts):
            continue
        try:
            text = (library / relative).read_text(encoding="utf-8")
        except (UnicodeDecodeError, OSError):  # tests of other encodings
            continue
        left -= len(text)
        if left < 0:
            return
        yield {"text": text, "kind": "source", "path": relative.as_posix()}


def run(*arguments: str) -> None:
    print(f"\n$ {shlex.join(['everygram', *arguments])}", flush=True)
    subprocess.run([Path(sys.executable).with_name("everygram"), *arguments], check=True)


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    index, corpus = str(folder / "index"), folder / "corpus.jsonl"
    shutil.rmtree(index, ignore_errors=True)
    with corpus.open("w", encoding="utf-8") as file:
        for record in records():
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    size = corpus.stat().st_size / 1e6
    print(f"{corpus}: {size:.0f} MB of the Python language reference and standard library")
    run("build", str(corpus), "--out", index, "--tokenizer", "train:16000")
    for command, *arguments in QUESTIONS:
        run(command, index, *arguments)
    print(
        f"""
The index is {index}. Ask it more:

  source .venv/bin/activate
  everygram ntd {index} "raise" --top 5
  everygram ntd {index} "for i in" --top 5
  everygram find {index} "def __init__(self" --sample 5
  everygram info {index}

look at it in a browser:

  everygram serve {index} --open

or ask it from Python:

  >>> import everygram
  >>> index = everygram.open("{index}")
  >>> index.infgram_ntd("the quick brown parser raises a").top(3)
"""
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
