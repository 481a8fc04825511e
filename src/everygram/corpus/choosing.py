"""Which of the files that were found are documents, and which only lie beside them.

In: the files below a folder or of a pattern (`files`), in order. Out: those to read, and of each
other one, by name, why it is passed over. What a user names itself is read, whatever lies beside.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, cast

from everygram.corpus.decoding import suffixes
from everygram.corpus.files import File
from everygram.corpus.json_files import kind_of_json
from everygram.errors import CorpusError
from everygram.storage import format as fmt

# Names of what is passed over, and why.
PassedOver = dict[str, str]
Chosen = tuple[list[File], PassedOver]

# Names of files, and of folders on the way to them, that hold no documents anywhere.
NEVER = [
    (re.compile(pattern, re.IGNORECASE), why)
    for pattern, why in (
        (r"_SUCCESS|_started_\d+|_committed_\d+|_temporary", "what a job leaves beside its output"),
        (r"_metadata|_common_metadata|_spark_metadata", "a table's description"),
        (r"_delta_log", "a Delta table's log (files that it has removed are read all the same)"),
        (r".+\.(crc|md5|sha1|sha256|sha512)|(md5|sha\d+)sums?(\.txt)?", "checksums"),
        (r"__MACOSX|Thumbs\.db|desktop\.ini", "what a system keeps of a folder"),
    )
]
BESIDE = "beside tables or JSON lines, other files are no data; to read one, name it"
NO_RECORD = "JSON, but no record of a text"
NOT_IDS = "no file of token ids"
SAVED = "the description of a saved data set"
OWN_INDEX = "an everygram index; 'everygram export' writes its documents"
INFINI_GRAM = "an infini-gram index; its token files alone are read with --pretokenized"

OWN_FILES = {
    name + end
    for name in (fmt.MANIFEST, fmt.TOKENIZER, fmt.BUILD, fmt.DONE)
    for end in ("", ".tmp")
}
SEGMENT = re.compile(fmt.SEGMENT_PREFIX + r"\d{6}")
# infini-gram's files, each with the number of its shard; an index has the first three of one.
INFINI_GRAM_FILE = re.compile(r"(tokenized|table|offset|metadata|metaoff|metaclass|unigram)\.(\d+)")
INFINI_GRAM_NEEDS = {"tokenized", "table", "offset"}
# A manifest of more bytes is none.
LARGEST_MANIFEST = 64 << 20


def text_files(
    files: list[File],
    format_of: Callable[[File], str],
    has_text: Callable[[dict[str, Any]], bool],
) -> Chosen:
    """Those of text: all of what is data, or, beside tables or JSON lines, only these.

    format_of: by its name, "text" for what is no other. has_text: of a record. A `.json` file,
    whose name does not say what it is, is looked into where other files lie beside it.
    """
    if any(file.named for file in files):
        return files, {}
    passed: PassedOver = {}
    kept = _saved_data_sets(_data(files, passed), passed)
    kept = _without(_infini_gram_folders(kept), kept, passed, INFINI_GRAM, _is_infini_gram)
    formats = {file: format_of(file) if file.readable else "" for file in kept}
    unsure = [file for file in kept if formats[file] == "JSON" and not suffixes(file.name)[1]]
    if len(kept) > 1:
        kinds = {file: kind_of_json(file, has_text) for file in unsure}
        alone = len(unsure) == len(kept) and "records" not in kinds.values()
        for file, kind in kinds.items():
            if kind == "other" and not alone:
                passed[file.name] = NO_RECORD
                formats.pop(file)
    if any(of not in ("text", "") for of in formats.values()):
        passed |= {file.name: BESIDE for file, of in formats.items() if of == "text"}
    return [file for file in kept if file.name not in passed], passed


def id_files(files: list[File], wanted: Callable[[File], bool]) -> Chosen:
    """Those of token ids; infini-gram's among them, unless others lie beside its index."""
    if any(file.named for file in files):
        return files, {}
    passed: PassedOver = {}
    kept = _data(files, passed)
    folders = _infini_gram_folders(kept)
    if any(wanted(file) and _folder(file) not in folders for file in kept):
        kept = _without(folders, kept, passed, INFINI_GRAM, _is_infini_gram)
    passed |= {file.name: NOT_IDS for file in kept if not wanted(file)}
    return [file for file in kept if wanted(file)], passed


def explained(passed: PassedOver, most: int = 3) -> list[str]:
    """What is passed over, a line for each reason: the names, `most` of them, and why."""
    names: dict[str, list[str]] = {}
    for name, why in passed.items():
        names.setdefault(why, []).append(name)
    return [
        ", ".join(each[:most])
        + (f" and {len(each) - most:,} more" if len(each) > most else "")
        + f": {why}"
        for why, each in names.items()
    ]


def nothing_left(given: object, passed: PassedOver, kind: str = "") -> CorpusError:
    """The error for a folder or a pattern of which no file is to be read."""
    others = f"; not read: {'; '.join(explained(passed))}" if passed else ""
    return CorpusError(f"{given}: no files{kind} to read there{others}")


def _data(files: Iterable[File], passed: PassedOver) -> list[File]:
    """Those that are no marks, no checksums and none of an index of ours."""
    kept = []
    for file in files:
        parts = file.relative.split("/")
        why = next((why for name, why in NEVER if any(map(name.fullmatch, parts))), None)
        if why is None:
            kept.append(file)
        else:
            passed[file.name] = why
    return _without(_own_folders(kept), kept, passed, OWN_INDEX, _is_own)


def _without(
    folders: set[str],
    files: list[File],
    passed: PassedOver,
    why: str,
    belongs: Callable[[str], bool],
) -> list[File]:
    """The files but those that belong, by their names below one of the folders, to an index."""
    if not folders:
        return files
    kept = []
    for file in files:
        inner = _folder(file)
        folder = next((each for each in (inner, _folder_of(inner)) if each in folders), None)
        if folder is not None and belongs(file.name.removeprefix(folder).lstrip("/")):
            passed[f"{folder or '.'}/"] = why
        else:
            kept.append(file)
    return kept


def _folder(file: File) -> str:
    return _folder_of(file.name)


def _folder_of(name: str) -> str:
    return name.rpartition("/")[0]


def _own_folders(files: list[File]) -> set[str]:
    """The folders of everygram's own indexes, finished or not."""
    folders = set()
    for file in files:
        folder, _, name = file.name.rpartition("/")
        outer, _, inner = folder.rpartition("/")
        if name in fmt.ANY_FILES and SEGMENT.fullmatch(inner):
            folders.add(outer)
        elif name == fmt.MANIFEST and _is_manifest(file):
            folders.add(folder)
    return folders


def _is_own(name: str) -> bool:
    """Whether a file of that name, below an index's folder, is the index's."""
    folder, _, name = name.rpartition("/")
    return name in fmt.ANY_FILES if SEGMENT.fullmatch(folder) else not folder and name in OWN_FILES


def _is_manifest(file: File) -> bool:
    if not file.readable or not 0 < file.size <= LARGEST_MANIFEST:
        return False
    try:
        with file.open() as raw:
            fields = json.loads(raw.read())
    except (OSError, CorpusError, ValueError, RecursionError):
        return False
    return isinstance(fields, dict) and {"everygram_version", "segments"} <= fields.keys()


def _infini_gram_folders(files: list[File]) -> set[str]:
    shards: dict[tuple[str, str], set[str]] = {}
    for file in files:
        folder, _, name = file.name.rpartition("/")
        if match := INFINI_GRAM_FILE.fullmatch(name):
            shards.setdefault((folder, match[2]), set()).add(match[1])
    return {folder for (folder, _), names in shards.items() if names >= INFINI_GRAM_NEEDS}


def _is_infini_gram(name: str) -> bool:
    return INFINI_GRAM_FILE.fullmatch(name) is not None


def _saved_data_sets(files: list[File], passed: PassedOver) -> list[File]:
    """Of a data set that `datasets` saved, its data files, in the order that it says.

    Its folder has a `state.json` with their names, and `dataset_info.json`; that of several splits
    has a folder for each, and `dataset_dict.json`.
    """
    folders: dict[str, dict[str, File]] = {}
    for file in files:
        folder, _, name = file.name.rpartition("/")
        folders.setdefault(folder, {})[name] = file
    replaced: dict[str, list[File]] = {}
    for folder, named in folders.items():
        if "state.json" in named and "dataset_info.json" in named:
            state = _state(named["state.json"])
            wanted = [str(entry.get("filename")) for entry in state["_data_files"]]
            for name in wanted:
                if name not in named:
                    raise CorpusError(
                        f"{named['state.json'].name}: the data set's file '{name}' is missing"
                    )
            replaced[folder] = [named[name] for name in wanted]
        elif "dataset_dict.json" in named and len(named) == 1:
            replaced[folder] = []
    kept: list[File] = []
    done: set[str] = set()
    for file in files:
        folder = _folder(file)
        if folder not in replaced:
            kept.append(file)
        elif file not in replaced[folder]:
            passed[file.name] = SAVED
        elif folder not in done:
            done.add(folder)
            kept += replaced[folder]
    return kept


def _state(file: File) -> dict[str, Any]:
    with file.open() as raw:
        try:
            state = json.loads(raw.read())
            files = state["_data_files"]
            if not isinstance(files, list) or not all(isinstance(entry, dict) for entry in files):
                raise TypeError("_data_files is no list of files")
        except (ValueError, KeyError, TypeError) as error:
            raise CorpusError(
                f"{file.name}: not the description of a saved data set: {error}"
            ) from None
    if state.get("_indices_data_files"):
        raise CorpusError(
            f"{file.name}: the data set has an indices mapping; save it again with a datasets "
            "release of today, which flattens it"
        )
    return cast(dict[str, Any], state)
