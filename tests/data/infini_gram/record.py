"""Records what infini-gram 2.6.0 answers over a tiny corpus, for test_infini_gram_web.py.

usage: python record.py      (in an environment with infini-gram==2.6.0, such as bench/.peers)

The index is written here, in its format 4 and sorted as it is defined (by the bytes of tokens):
infini-gram's own indexer leaves so small an array unsorted.
"""

import json
import random
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent
VOCABULARY, END = 12, 12


def corpus() -> list[list[int]]:
    """Documents of few different tokens, some of them empty or the same."""
    draw = random.Random(7)
    documents = [[draw.randrange(VOCABULARY) for _ in range(draw.randrange(60))] for _ in range(40)]
    return [*documents, [], documents[3], documents[3][:5]]


def write_index(folder: Path, documents: list[list[int]]) -> None:
    stream = [token for document in documents for token in [65_535, *document]]
    data = b"".join(token.to_bytes(2, "little") for token in stream)
    order = sorted(range(0, len(data), 2), key=lambda at: data[at:])
    width = ((len(data) - 1).bit_length() + 7) // 8
    offsets, at = [], 0
    for document in documents:
        offsets.append(at)
        at += 2 * (1 + len(document))
    lines = [
        json.dumps({"path": "c", "linenum": i, "metadata": {}}) + "\n"
        for i in range(len(documents))
    ]
    places, at = [], 0
    for line in lines:
        places.append(at)
        at += len(line)
    (folder / "tokenized.0").write_bytes(data)
    (folder / "table.0").write_bytes(b"".join(at.to_bytes(width, "little") for at in order))
    (folder / "offset.0").write_bytes(b"".join(at.to_bytes(8, "little") for at in offsets))
    (folder / "metadata.0").write_text("".join(lines))
    (folder / "metaoff.0").write_bytes(b"".join(at.to_bytes(8, "little") for at in places))


def requests() -> list[dict]:
    draw = random.Random(8)

    def ids(most: int) -> list[int]:
        return [draw.randrange(VOCABULARY) for _ in range(draw.randrange(1, most + 1))]

    found: list[dict] = []
    for _ in range(30):
        for kind in ("count", "prob", "ntd", "infgram_prob", "infgram_ntd", "find"):
            found.append({"query_type": kind, "query_ids": ids(6)})
    for _ in range(20):
        found.append({"query_type": "count", "query_ids": [[ids(2), ids(2)]]})
        found.append(
            {"query_type": "count", "query_ids": [[ids(1)], [ids(1)]], "max_diff_tokens": 5}
        )
    return [*found, {"query_type": "count", "query_ids": []}]


def main() -> None:
    from infini_gram.engine import InfiniGramEngine

    documents = corpus()
    with tempfile.TemporaryDirectory() as name:
        write_index(Path(name), documents)
        engine = InfiniGramEngine(
            name,
            eos_token_id=END,
            vocab_size=VOCABULARY + 1,
            token_dtype="u16",
            ds_prefetch_depth=0,
            sa_prefetch_depth=0,
            od_prefetch_depth=0,
        )
        recorded = []
        for request in requests():
            kind, ids = request["query_type"], request["query_ids"]
            if kind == "count" and ids and isinstance(ids[0], list):
                said = engine.count_cnf(ids, max_diff_tokens=request.get("max_diff_tokens"))
            elif kind.endswith("prob"):
                said = getattr(engine, kind)(ids[:-1], ids[-1])
            else:
                said = getattr(engine, kind)(ids)
            recorded.append({"request": request, "answer": said})
        shown = [engine.get_doc_by_rank(0, rank, max_disp_len=10) for rank in range(0, 200, 7)]
    lines = ",\n".join(map(json.dumps, recorded))
    documents_shown = ",\n".join(map(json.dumps, shown))
    text = (
        f'{{"documents": {json.dumps(documents)},\n"answers": [\n{lines}\n],\n'
        f'"by_rank": [\n{documents_shown}\n]}}\n'
    )
    (FOLDER / "recorded.json").write_text(text)


if __name__ == "__main__":
    main()
