"""How fast is a corpus read, in each format, and tokenized, with each tokenizer?

Four questions. Each side runs in its own process, and sides take turns. Wall time on all cores:

- tokenizing: text to ids, with everygram (read, encode, write the stream: a build's first stage)
  and with infini-gram's indexer (its tokenizing step), with the same corpus and tokenizer;
- tokenizers: the same step for other tokenizers, only everygram, on a part of the corpus;
- formats: reading the corpus's documents from files of each format, without tokenizing;
- builds: text to index, compared with tokenizing alone and sorting alone (target: at most 1.3 ×
  the slower one).

usage: python bench/ingest.py --corpus DATA/medium.jsonl --tokenizer DATA/gpt2.tokenizer.json \\
           --also DATA/llama2.tokenizer.json … --work WORK --peers bench/.peers --json OUT.json
"""

import argparse
import gzip
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import everygram
from build import SEPARATOR, infini_gram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.building.tokenize import encoded
from everygram.corpus.records import zstd
from everygram.corpus.text import TextCorpus
from everygram.corpus.tokens import TokenCorpus
from everygram.storage.segment_writer import SegmentWriter
from everygram.tokenizer.choose import load_tokenizer

# Bytes of text on which slower tokenizers are measured.
PART = 40 << 20
WANTED_TOKENIZING, WANTED_BUILD = 5.0, 1.3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl")
    parser.add_argument("--tokenizer", type=Path, required=True, help="GPT-2's tokenizer.json")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="other tokenizers")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    corpus, tokenizer, work, peers = (
        path.resolve() for path in (args.corpus, args.tokenizer, args.work, args.peers)
    )
    work.mkdir(parents=True, exist_ok=True)
    made = work / "formats"
    files = write_formats(corpus, tokenizer, made)
    part = write_part(corpus, work)
    text_bytes = sum(len(document.text.encode()) for document in TextCorpus([corpus]))

    ours = partial(child, "tokenize", corpus, tokenizer)
    runs: dict[str, Callable[[], float]] = {
        "tokenizing, everygram": ours,
        "tokenizing, infini-gram": partial(infini_gram_tokenizes, corpus, tokenizer, work, peers),
        "sorting": partial(child, "sort", files["raw u16"], tokenizer),
        "building": partial(child, "build", corpus, tokenizer),
    }
    runs |= {f"tokenizer {p.name}": partial(child, "tokenize", part, p) for p in args.also}
    runs |= {f"format {name}": partial(child, "read", path) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.rounds):
        for name, run in runs.items():
            times[name].append(run())
            print(f"{name}: {times[name][-1]:.1f} s", file=sys.stderr, flush=True)
    seconds = {name: statistics.median(taken) for name, taken in times.items()}

    stream = np.memmap(files["raw u16"], np.uint16, "r")
    documents = int(np.count_nonzero(stream == SEPARATOR))
    tokens = stream.shape[0] - documents
    facts = provenance() | {
        "corpus": corpus.name,
        "bytes": corpus.stat().st_size,
        "tokens": tokens,
        "documents": documents,
    }
    print_provenance(facts)
    print_tokenizing(seconds, text_bytes, tokens)
    print_tokenizers(seconds, args.also, part)
    print_formats(seconds, files, text_bytes, tokens)
    print_build(seconds)
    write_json(args.json, facts | {"text_bytes": text_bytes, "seconds": times})


def print_tokenizing(seconds: dict[str, float], text_bytes: int, tokens: int) -> None:
    ours, theirs = seconds["tokenizing, everygram"], seconds["tokenizing, infini-gram"]
    rows = [
        [name, f"{s:.1f}", f"{text_bytes / 1e6 / s:.1f}", f"{tokens / 1e6 / s:.2f}"]
        for name, s in (("everygram", ours), ("infini-gram", theirs))
    ]
    print(markdown_table(["tokenizing", "s", "MB/s", "M tokens/s"], rows))
    verdict = "met" if theirs / ours >= WANTED_TOKENIZING else "missed"
    print(f"\n{theirs / ours:.1f} ×, wanted {WANTED_TOKENIZING} ×: {verdict}\n")


def print_tokenizers(seconds: dict[str, float], also: list[Path], part: Path) -> None:
    rows = []
    texts = [document.text for document in TextCorpus([part])]
    text_bytes = sum(len(text.encode()) for text in texts)
    for path in also:
        s = seconds[f"tokenizer {path.name}"]
        tokens = sum(ids.shape[0] for ids in load_tokenizer(str(path)).encode_batch(texts))
        rows.append([path.name, f"{text_bytes / 1e6 / s:.1f}", f"{tokens / 1e6 / s:.2f}"])
    print(markdown_table(["tokenizer", "MB/s", "M tokens/s"], rows) + "\n")


def print_formats(
    seconds: dict[str, float], files: dict[str, Path], text_bytes: int, tokens: int
) -> None:
    rows = []
    for name, path in files.items():
        s = seconds[f"format {name}"]
        size = path.stat().st_size if path.is_file() else sum(map(size_of, path.rglob("*")))
        of_ids = TokenCorpus.is_token_file(path) or name.startswith("raw")
        rate = (
            f"{tokens / 1e6 / s:.0f} M tokens/s" if of_ids else f"{text_bytes / 1e6 / s:.0f} MB/s"
        )
        rows.append([name, f"{size / 1e6:.0f}", f"{s:.2f}", rate])
    print(markdown_table(["format", "MB", "s", "text or tokens"], rows) + "\n")


def print_build(seconds: dict[str, float]) -> None:
    built = seconds["building"]
    slower = max(seconds["tokenizing, everygram"], seconds["sorting"])
    verdict = "met" if built / slower <= WANTED_BUILD else "missed"
    print(
        f"text to index {built:.1f} s; tokenizing alone {seconds['tokenizing, everygram']:.1f} s, "
        f"sorting alone {seconds['sorting']:.1f} s: {built / slower:.2f} × the slower, wanted at "
        f"most {WANTED_BUILD} ×: {verdict}"
    )


def size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def child(what: str, *paths: Path) -> float:
    """Seconds that a new process reports for a measurement, without its start and imports."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", what, *map(str, paths)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return float(done.stdout)


def in_child(what: str, given: str, tokenizer: str | None = None) -> None:
    """One measurement, in a process of its own; prints the seconds."""
    with tempfile.TemporaryDirectory(dir=Path(given).parent) as scratch:
        folder = Path(scratch) / "made"
        start = time.monotonic()
        if what == "read":
            source: Any = documents_of(Path(given))
            for _ in source:
                pass
        elif what == "tokenize":
            assert tokenizer is not None
            encoder = load_tokenizer(tokenizer)
            dtype = {1: "u8", 2: "u16"}.get((encoder.vocab_size.bit_length() + 7) // 8, "u32")
            writer = SegmentWriter(folder, dtype)
            for document in encoded(TextCorpus([given]), encoder):
                writer.add(document.ids, document.metadata)
            writer.close()
        elif what == "sort":
            everygram.build(given, folder, tokenizer, pretokenized="u16", separator_id=SEPARATOR)
        else:
            everygram.build(given, folder, tokenizer)
        print(time.monotonic() - start)


def documents_of(path: Path) -> Iterator[Any]:
    if path.name.endswith(".u16"):
        return iter(TokenCorpus([path], "u16", SEPARATOR))
    if path.name.endswith("dolma.npy"):
        return iter(TokenCorpus([path], "u16"))
    if TokenCorpus.is_token_file(path):
        return iter(TokenCorpus([path], separator_id=SEPARATOR))
    return iter(TextCorpus([path]))


def infini_gram_tokenizes(corpus: Path, tokenizer: Path, work: Path, peers: Path) -> float:
    """Seconds of the tokenizing step of infini-gram's indexer, without its start and imports."""
    index = work / "infini-gram-tokenizes"
    shutil.rmtree(index, ignore_errors=True)
    (index / "corpus").mkdir(parents=True)
    (index / "corpus" / corpus.name).symlink_to(corpus)
    named = work / "gpt2"
    named.mkdir(exist_ok=True)
    shutil.copyfile(tokenizer, named / "tokenizer.json")
    (named / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2TokenizerFast"}')
    python, _, _, *options = infini_gram(index, peers)
    code = (
        "import time\n"
        "from infini_gram import indexing\n"
        "step = indexing.tokenize\n"
        "def timed(args):\n"
        "    import transformers\n"
        "    start = time.monotonic()\n"
        "    step(args)\n"
        "    print('seconds', time.monotonic() - start, flush=True)\n"
        "    raise SystemExit\n"
        "indexing.tokenize = timed\n"
        "indexing.main()\n"
    )
    environment = os.environ | {"TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [python, "-c", code, *options],
        cwd=work,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    shutil.rmtree(index)
    said = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("seconds ")]
    return float(said[-1])


def write_part(corpus: Path, work: Path) -> Path:
    """The first PART bytes of the corpus, whole lines."""
    path = work / "part.jsonl"
    with corpus.open("rb") as source:
        path.write_bytes(b"".join(source.readlines(PART)))
    return path


def write_formats(corpus: Path, tokenizer: Path, folder: Path) -> dict[str, Path]:
    """Write the corpus in every format, once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = {
        "JSON lines": "c.jsonl",
        "JSON lines, gzip": "c.jsonl.gz",
        "JSON lines, zstd": "c.jsonl.zst",
        "CSV": "c.csv",
        "Parquet": "c.parquet",
        "Arrow": "c.arrow",
        "text files": "texts",
        "raw u16": "tokens.u16",
        "Megatron": "megatron.idx",
        "datatrove": "c.ds",
        "Dolma": "dolma.npy",
        "NumPy": "numpy.npy",
    }
    files = {name: folder / file for name, file in names.items()}
    if all(path.exists() for path in files.values()):
        return files
    folder.mkdir(exist_ok=True)
    data = corpus.read_bytes()
    files["JSON lines"].write_bytes(data)
    files["JSON lines, gzip"].write_bytes(gzip.compress(data, 6))
    files["JSON lines, zstd"].write_bytes(zstd.compress(data))
    documents = list(TextCorpus([corpus]))
    metadata = [document.metadata.decode() for document in documents]
    table = pa.table({"text": [document.text for document in documents], "metadata": metadata})
    pq.write_table(table, files["Parquet"], compression="zstd")
    with pa.ipc.new_stream(str(files["Arrow"]), table.schema) as stream:
        stream.write_table(table, max_chunksize=1000)
    import csv

    with files["CSV"].open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "metadata"])
        writer.writerows((d.text, m) for d, m in zip(documents, metadata, strict=True))
    files["text files"].mkdir(exist_ok=True)
    for number, document in enumerate(documents):
        (files["text files"] / f"{number:06}.txt").write_text(document.text, newline="")
    write_tokens(corpus, tokenizer, files)
    return files


def write_tokens(corpus: Path, tokenizer: Path, files: dict[str, Path]) -> None:
    """Write the corpus's ids in every format of token ids, as the formats' documentation says."""
    encoder = load_tokenizer(str(tokenizer))
    ids = [document.ids.astype("<u2") for document in encoded(TextCorpus([corpus]), encoder)]
    lengths = np.array([each.shape[0] for each in ids], np.int64)
    ends = np.cumsum(lengths)
    flat = np.concatenate(ids)
    marked = np.insert(flat, ends - lengths, SEPARATOR).astype("<u2")
    marked.tofile(files["raw u16"])
    np.save(files["NumPy"], marked)
    flat.tofile(files["Dolma"])
    with gzip.open(files["Dolma"].with_suffix(".csv.gz"), "wt", newline="") as file:
        for number, (end, length) in enumerate(zip(ends, lengths, strict=True)):
            file.write(f"{end - length},{end},{number},c.jsonl,{number + 1}\r\n")
    flat.tofile(files["datatrove"])
    ends.astype("<u8").tofile(files["datatrove"].with_suffix(".ds.index"))
    files["datatrove"].with_suffix(".ds.metadata").write_text(f"gpt2|2\n{flat.size}\n")
    flat.tofile(files["Megatron"].with_suffix(".bin"))
    k = lengths.shape[0]
    files["Megatron"].write_bytes(
        b"MMIDIDX\0\0"
        + np.array([1], "<u8").tobytes()
        + bytes([8])
        + np.array([k, k + 1], "<u8").tobytes()
        + lengths.astype("<i4").tobytes()
        + (2 * (ends - lengths)).astype("<i8").tobytes()
        + np.arange(k + 1, dtype="<i8").tobytes()
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        in_child(*sys.argv[2:])
    else:
        main()
