"""Does a script of infini-gram's own give the same answers over ours?

It runs with infini-gram 2.6.0, and with `everygram.compat.infini_gram` in the place of
`infini_gram.engine`: nothing else of it is changed. No copy of it is kept here:

    git clone https://github.com/liujch1998/infini-gram

has `pkg/test/engine_test.py`, which counts three tokens of Llama 2, gives a probability, a
distribution, both of the ∞-gram model, a document that is drawn, the ranks of the tokens and the
document at one of them. Its index is made here, of CORPUS.

usage: python bench/compat_example.py --script infini-gram/pkg/test/engine_test.py \\
           --corpus DATA/small.jsonl --tokenizer DATA/llama2.tokenizer.json --peers bench/.peers
"""

import argparse
import ast
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import everygram
from infini_gram_index import command, run, write_shard

THEIRS, OURS = "from infini_gram.engine import", "from everygram.compat.infini_gram import"
# The index that the script opens, from its folder.
INDEX = "../index/v4_pileval_llama"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--script", type=Path, required=True, help="their pkg/test/engine_test.py")
    parser.add_argument("--corpus", type=Path, required=True, help=".jsonl")
    parser.add_argument("--tokenizer", type=Path, required=True, help="Llama 2's tokenizer.json")
    parser.add_argument("--peers", type=Path, required=True, help="what bench/peers.sh made")
    args = parser.parse_args()
    peers = args.peers.absolute()
    program = args.script.read_text()
    if THEIRS not in program or INDEX not in program:
        sys.exit(f"{args.script}: expected a script that has {THEIRS!r} and opens {INDEX!r}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "test"
        folder.mkdir()
        make_index(folder / INDEX, args.corpus, args.tokenizer, peers)
        theirs = printed(program, peers / "bin" / "python", folder)
        ours = printed(program.replace(THEIRS, OURS), Path(sys.executable), folder)
    for a, b in zip(theirs, ours, strict=True):
        is_same = ast.literal_eval(a) == ast.literal_eval(b)
        print("the same" if is_same else "another", a, *([] if is_same else [b]), sep="\n  ")


def make_index(files: Path, corpus: Path, tokenizer: Path, peers: Path) -> None:
    """infini-gram's index of a corpus."""
    own = files.parent.parent / "own"
    everygram.build(corpus, own, tokenizer=str(tokenizer), document_counts=False)
    with everygram.open(own) as index:
        write_shard(files, 0, np.concatenate([s.tokens for s in index.engine.segments]))
    run(command(files.resolve(), peers, "u16"), files.parent)


def printed(program: str, python: Path, folder: Path) -> list[str]:
    """The lines that a script prints: an answer each."""
    script = folder / "script.py"
    script.write_text(program)
    done = subprocess.run([python, script], cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the script failed with {python}:\n{done.stderr[-2000:]}")
    return [line for line in done.stdout.splitlines() if line]


if __name__ == "__main__":
    main()
