"""Documents that were sent to be added: the body as it came, the files that are read of it.

In: a folder with a body. Out: JSON lines as `everygram.add` reads them, or, for an index without
a tokenizer, a file of ids and one of document ends (datatrove's). Its errors say in which line.
"""

import json
import re
from array import array
from pathlib import Path
from typing import Any

import jiter

from everygram.corpus.records import json_record
from everygram.corpus.source import CorpusOptions, NamedCorpus
from everygram.durable import flush, sync_directory
from everygram.errors import CorpusError
from everygram.server.jobs import Trouble

# What a body is: {"documents": […]}, or JSON lines.
JSON_BODY, LINES_BODY = "json", "lines"
# The body; what it becomes: JSON lines, or ids (beside `documents.ds.index`).
BODY, LINES, IDS = "body", "documents.jsonl", "documents.ds"
EXPECTED = 'expected {"documents": [{"text": "…", …}, …]}'
# Where errors of readers say that a fault is.
PLACE = re.compile(r"\S*documents\.(?:jsonl|ds):(\d+)(?:: )?")
OPTION = re.compile(r"--(text|id|metadata)-(fields?)")
FILE = re.compile(r"\S*documents\.(?:jsonl|ds)(?:\.index)?(?:: )?")


def converted(folder: Path, arguments: dict[str, Any]) -> Path:
    """The file of the documents, to be given to `everygram.add`.

    arguments: of the job: `body`, and `vocab_size`, which is None if documents are texts. Raises
    Trouble, CorpusError, OSError. (Again, it finds what it made before.)
    """
    body, lines, ids = (folder / name for name in (BODY, LINES, IDS))
    vocab_size = arguments["vocab_size"]
    if any(each.is_symlink() for each in folder.iterdir()):
        # (Which an index may have come with.)
        raise OSError(f"{folder}: expected documents, found links to files elsewhere")
    if body.exists():
        if arguments["body"] == JSON_BODY:
            _write_lines(body, lines)
            body.unlink()
        else:
            body.replace(lines)
    if vocab_size is None:
        return lines
    if lines.exists():
        _write_ids(lines, ids, vocab_size)
        lines.unlink()
    return ids


def check(folder: Path, arguments: dict[str, Any]) -> None:
    """Read the documents as `everygram.add` will. Raises Trouble, CorpusError, OptionError."""
    spool = converted(folder, arguments)
    if arguments["vocab_size"] is None:
        given = {name: each for name, each in arguments["options"].items() if each is not None}
        for _ in NamedCorpus(str(spool), CorpusOptions(**given)).text():
            pass


def told(message: str, index: Path, name: str, is_json: bool = False) -> str:
    """An error's message as a client may read it: with places in the body, and no paths."""
    if is_json:
        message = PLACE.sub(lambda found: f"#/documents/{int(found[1]) - 1}: ", message)
    message = PLACE.sub(lambda found: f"line {found[1]}: ", message)
    message = FILE.sub("", message)
    message = OPTION.sub(r"\1_\2", message)
    for path in (str(index), str(index.resolve())):
        message = message.replace(f"'{path}'", f"'{name}'").replace(path, f"'{name}'")
    return message


def _write_lines(body: Path, lines: Path) -> None:
    """The documents of a JSON body as JSON lines. Raises Trouble."""
    try:
        given = jiter.from_json(body.read_bytes(), allow_inf_nan=False, catch_duplicate_keys=True)
    except ValueError as error:
        from everygram.server.problems import not_json

        refusal = not_json(str(error))
        raise Trouble(refusal.kind, refusal.detail) from None
    documents = given.get("documents") if isinstance(given, dict) else None
    if not isinstance(documents, list) or len(given) > 1:
        raise Trouble("bad-query", f"#: {EXPECTED}")
    for number, document in enumerate(documents):
        if not isinstance(document, dict):
            detail = f"#/documents/{number}: expected an object, found {json.dumps(document)[:60]}"
            raise Trouble("bad-query", detail)
    # (A file of its name is all there, also after a power cut.)
    temporary = lines.with_suffix(".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
        flush(file)
    temporary.replace(lines)
    sync_directory(lines.parent)


def _write_ids(lines: Path, ids: Path, vocab_size: int) -> None:
    """The ids of JSON lines, and where documents end. Raises CorpusError."""
    kind = "H" if vocab_size <= 1 << 16 else "I"
    temporary, index = ids.with_suffix(".tmp"), ids.with_name(f"{ids.name}.index")
    total = 0
    with lines.open("rb") as file, temporary.open("wb") as tokens, index.open("wb") as ends:
        for number, line in enumerate(file, 1):
            if line.isspace():
                continue
            place = f"{lines.name}:{number}"
            found = _ids_of(json_record(line, place), place, vocab_size)
            array(kind, found).tofile(tokens)
            total += len(found)
            array("Q", [total]).tofile(ends)
        flush(tokens)
        flush(ends)
    temporary.replace(ids)
    sync_directory(ids.parent)


def _ids_of(record: dict[str, Any], place: str, vocab_size: int) -> list[int]:
    ids = record.get("ids")
    if not isinstance(ids, list):
        raise CorpusError(f'{place}: expected {{"ids": [token ids]}}: the index has no tokenizer')
    if more := [name for name in record if name != "ids"]:
        raise CorpusError(
            f"{place}: unknown field {more[0]!r}; documents of ids have 'ids' and nothing else"
        )
    for each in ids:
        if type(each) is not int or not 0 <= each < vocab_size:
            raise CorpusError(
                f"{place}: expected ids in [0, {vocab_size:,}), found {json.dumps(each)[:60]}"
            )
    return ids
