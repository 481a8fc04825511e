"""How long does it take to count a text, however tokens divide it, and are the counts right?

Uses the indexes that `build.py` left in WORK, and the corpus that they were built from. Texts are
drawn with a seed, from held-out documents: words of 4–12 letters and phrases of two words of 3–12
letters, each where it stands in the text (a common word is drawn more often), and strings from any
position, of any length from 1 to LONGEST characters, each as likely as another; a string may begin
and end inside a word.

Every count is compared with the text's occurrences in the corpus, overlapping ones each, which
`bytes.count` gives (or, for a text that can overlap itself, `bytes.find` from each occurrence on).
With `ignore_case`, both the corpus and the text are folded first, character by character. A text's
time is the median of ROUNDS calls of `count_text`, with a warm index.

The peers, for the same texts: `bytes.count` over the corpus in memory, and infini-gram's `count` of
the ids that the text is encoded to (after a space where the text begins a word), which counts that
one sequence of tokens and only that. Last, the counts of the commonest words of the corpus as whole
words, next to those of their ids, against the words that a regular expression finds.

usage: python bench/text.py --work WORK --corpus DATA/medium.jsonl \
           --held-out DATA/validation.jsonl --peers bench/.peers --json WORK/text.json
"""

import argparse
import json
import multiprocessing
import random
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter

import numpy as np

import everygram
from common import markdown_table, print_provenance, provenance, write_json
from everygram.corpus.text import TextCorpus
from everygram.search.pattern import JOINERS, WORD_CATEGORIES, folded
from everygram.storage.disk import read_in
from query import INFINI, Process

NUM_WORDS, NUM_STRINGS, LONGEST = 500, 2000, 40
COMMONEST = 948
# So many texts of a set are counted by the peer that reads all of the corpus.
NUM_PEER = 20
# No text has this byte, so no text occurs over two documents.
BETWEEN = b"\xff"
WORDS, PHRASES, STRINGS = "words of 4–12 letters", "phrases of two words", "strings, held out"
# Targets in milliseconds: of the median, or of the 99th percentile.
TARGETS = {WORDS: ("median", 1.0), PHRASES: ("median", 3.0), STRINGS: ("p99", 30.0)}


@dataclass(frozen=True)
class Result:
    """One way to count a set of texts: milliseconds per text, and how many counts are right."""

    texts: str
    how: str
    number: int
    median: float
    p90: float
    p99: float
    slowest: list[tuple[str, float]]
    right: int


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="where build.py left the indexes")
    parser.add_argument("--corpus", type=Path, required=True, help="what they were built from")
    parser.add_argument("--held-out", type=Path, required=True, help="text not in the corpus")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the results here")
    args = parser.parse_args()
    work = args.work.resolve()
    facts = provenance() | json.loads((work / "corpus.json").read_text())
    for path in sorted(path for path in (work / "everygram").rglob("*.*") if path.is_file()):
        read_in(path)

    start = perf_counter()
    index = everygram.open(work / "everygram")
    index.count_text("the first text")
    facts["first_seconds"] = perf_counter() - start
    documents = [document.text for document in TextCorpus([args.corpus])]
    drawn = draw([document.text for document in TextCorpus([args.held_out])], args.seed)
    queries = {name: [[ids_of(index, text)] for text in texts] for name, texts in drawn.items()}
    (work / "text_queries.json").write_text(json.dumps(queries))
    peer_python = str(args.peers.absolute() / "bin" / "python")
    peer = Process(INFINI, peer_python, work, work / "text_queries.json")

    truth = Truth(documents, work / "text_counts.json", args.corpus)
    expected = {name: truth.counts(texts, False) for name, texts in drawn.items()}
    expected_folded = {name: truth.counts(texts, True) for name, texts in drawn.items()}
    results = []
    for name, texts in drawn.items():
        for how, call, counts in (
            ("count_text", index.count_text, expected[name]),
            ("count_text, ignore_case", ignoring_case(index), expected_folded[name]),
        ):
            results.append(timed(name, how, texts, call, counts, args.rounds))
        step = max(1, len(texts) // NUM_PEER)
        how, some = "bytes.count", texts[::step]
        results.append(timed(name, how, some, truth.count, expected[name][::step], 1))
        answers = peer.ask(name, "count", "answers")
        nanoseconds = [peer.ask(name, "count", "times") for _ in range(args.rounds)]
        times = np.median(np.array(nanoseconds), axis=0) / 1e6
        how = "infini-gram, count of ids"
        results.append(made(name, how, texts, times, answers, expected[name]))
        print(f"{name}: done", flush=True)
    peer.close()

    words = commonest_words(documents)
    (whole, times), as_ids = whole_word_counts(index, words)
    facts["whole_words"] = {
        "words": len(words),
        "right": sum(a == b for a, b in zip(whole, words.values(), strict=True)),
        "median_ms": float(np.median(times)),
        "p99_ms": float(np.percentile(times, 99)),
        "ids_off": np.percentile(
            [abs(a - b) / b for a, b in zip(as_ids, words.values(), strict=True)], (50, 90)
        ).tolist(),
        "ids_right": sum(a == b for a, b in zip(as_ids, words.values(), strict=True)),
    }

    print_provenance(facts)
    print(table(results))
    print(f"\n{targets_table(results)}")
    found = facts["whole_words"]
    print(
        f"\nThe {found['words']} commonest words, as whole words: {found['right']} counts equal "
        f"the regular expression's (median {found['median_ms']:.2f} ms, p99 {found['p99_ms']:.1f})."
        f" Counts of their ids: {found['ids_right']} are equal; off by {found['ids_off'][0]:.1%} "
        f"in the median, by {found['ids_off'][1]:.1%} at the 90th percentile."
    )
    print(f"The first count after opening: {facts['first_seconds']:.2f} s.")
    write_json(args.json, facts | {"results": [asdict(result) for result in results]})


def draw(documents: Sequence[str], seed: int) -> dict[str, list[str]]:
    """The texts of each set."""
    rng = random.Random(seed)

    def found(pattern: str) -> list[str]:
        every = [text for document in documents for text in re.findall(pattern, document)]
        return rng.sample(every, NUM_WORDS)

    everything = [document for document in documents if document]
    strings = []
    while len(strings) < NUM_STRINGS:
        (document,) = rng.choices(everything, [len(document) for document in everything])
        length = rng.randint(1, LONGEST)
        if len(document) >= length:
            place = rng.randrange(len(document) - length + 1)
            strings.append(document[place : place + length])
    return {
        WORDS: found(r"(?<![^\W\d_])[^\W\d_]{4,12}(?![^\W\d_])"),
        PHRASES: found(r"(?<![^\W\d_])[^\W\d_]{3,12} [^\W\d_]{3,12}(?![^\W\d_])"),
        STRINGS: strings,
    }


def ids_of(index: everygram.Index, text: str) -> list[int]:
    """The ids of a text: after a space, as words stand in a text, unless it begins otherwise."""
    ids: list[int] = index.encode(f" {text}" if text[0].isalnum() else text, raw=True).tolist()
    return ids


def ignoring_case(index: everygram.Index) -> Callable[[str], int]:
    """`count_text` of an index, the case ignored."""
    return lambda text: index.count_text(text, ignore_case=True)


class Truth:
    """How often texts occur in documents, by looking. Counts are kept in a file."""

    def __init__(self, documents: Sequence[str], kept: Path, corpus: Path) -> None:
        """corpus: where the documents are from; counts of another are not used."""
        characters = set().union(*map(set, documents))
        folding = {ord(character): folded(character) for character in characters}
        self._data = {
            False: BETWEEN.join(text.encode() for text in documents),
            True: BETWEEN.join(text.translate(folding).encode() for text in documents),
        }
        self._kept, self._corpus = kept, [corpus.name, corpus.stat().st_size]

    def count(self, text: str) -> int:
        """What `bytes.count` gives."""
        return self._data[False].count(text.encode())

    def counts(self, texts: Sequence[str], ignore_case: bool) -> list[int]:
        """Of each text, overlapping occurrences each."""
        known = json.loads(self._kept.read_text()) if self._kept.exists() else {}
        if known.get("corpus") != self._corpus:
            known = {"corpus": self._corpus, "False": {}, "True": {}}
        of_case = known[str(ignore_case)]
        missing = [text for text in dict.fromkeys(texts) if text not in of_case]
        global searched
        searched = self._data[ignore_case]
        asked = ["".join(map(folded, text)) if ignore_case else text for text in missing]
        with multiprocessing.get_context("fork").Pool() as pool:
            of_case |= zip(missing, pool.map(overlapping, asked, 20), strict=True)
        self._kept.write_text(json.dumps(known))
        return [of_case[text] for text in texts]


# What `overlapping` looks through, in processes that were forked with it.
searched = b""


def overlapping(text: str) -> int:
    """How often the text occurs, overlapping occurrences each."""
    data, wanted = searched, text.encode()
    if not any(wanted.startswith(wanted[i:]) for i in range(1, len(wanted))):
        return data.count(wanted)
    number, place = 0, data.find(wanted)
    while place >= 0:
        number, place = number + 1, data.find(wanted, place + 1)
    return number


def timed(
    name: str,
    how: str,
    texts: Sequence[str],
    call: Callable[[str], int],
    expected: Sequence[int],
    rounds: int,
) -> Result:
    """The time of a call for each text: the median of its rounds."""
    counts = [int(call(text)) for text in texts]
    times = np.empty((rounds, len(texts)))
    for number in range(rounds):
        for i, text in enumerate(texts):
            start = perf_counter()
            call(text)
            times[number, i] = (perf_counter() - start) * 1e3
    return made(name, how, texts, np.median(times, axis=0), counts, expected)


def made(
    name: str,
    how: str,
    texts: Sequence[str],
    times: np.ndarray,
    counts: Sequence[int],
    expected: Sequence[int],
) -> Result:
    """A result from the times and the counts of all texts."""
    median, p90, p99 = np.percentile(times, (50, 90, 99)).tolist()
    slowest = [(texts[i], float(times[i])) for i in np.argsort(-times)[:20]]
    right = sum(a == b for a, b in zip(counts, expected, strict=True))
    return Result(name, how, len(texts), median, p90, p99, slowest, right)


def commonest_words(documents: Sequence[str]) -> dict[str, int]:
    """The commonest words of letters alone, and how often each occurs."""
    others = "".join(
        character
        for character in map(chr, range(sys.maxunicode + 1))
        if unicodedata.category(character).startswith(WORD_CATEGORIES)
        and not re.match(r"\w", character)
    )
    word = re.compile(rf"[\w{re.escape(others + JOINERS)}]+")
    counts: Counter[str] = Counter()
    for document in documents:
        counts.update(word.findall(document))
    common = ((text, number) for text, number in counts.most_common() if text.isalpha())
    return {text: number for (text, number), _ in zip(common, range(COMMONEST), strict=False)}


def whole_word_counts(
    index: everygram.Index, words: dict[str, int]
) -> tuple[tuple[list[int], list[float]], list[int]]:
    """Counts of whole words and their milliseconds; counts of the words' ids."""
    counts, times = [], []
    for text in words:
        start = perf_counter()
        counts.append(int(index.count_text(text, whole_words=True)))
        times.append((perf_counter() - start) * 1e3)
    return (counts, times), [int(index.count(ids_of(index, text))) for text in words]


def table(results: Sequence[Result]) -> str:
    """The rows as markdown."""
    header = ["texts", "how", "texts", "median ms", "p90", "p99", "slowest", "right"]
    rows = [
        [
            r.texts,
            f"`{r.how}`" if " of " not in r.how else r.how,
            f"{r.number:,}",
            *(f"{value:.3g}" for value in (r.median, r.p90, r.p99, r.slowest[0][1])),
            f"{r.right:,}",
        ]
        for r in results
    ]
    return markdown_table(header, rows, words=2)


def targets_table(results: Sequence[Result]) -> str:
    """One row per target."""
    rows = []
    for factor, how in ((1, "count_text"), (4, "count_text, ignore_case")):
        for name, (percentile, limit) in TARGETS.items():
            result = next(r for r in results if (r.texts, r.how) == (name, how))
            value: float = getattr(result, percentile)
            whole = result.right == result.number
            met = "yes" if value <= factor * limit and whole else "**no**"
            rows.append([name, how, percentile, f"{factor * limit:g}", f"{value:.3g}", met])
    header = ["target", "call", "of", "wanted ms", "found ms", "met"]
    return markdown_table(header, rows, words=3)


if __name__ == "__main__":
    main()
