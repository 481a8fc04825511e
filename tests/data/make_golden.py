"""Makes the golden index of a format version: run once when it is new, never again.

python tests/data/make_golden.py tests/data/golden-v6
"""

import json
import sys
import tempfile
from pathlib import Path

import everygram

RECORDS = [
    {"text": " the cat sat on the mat", "id": "a", "big": 2**70},
    {"text": "", "id": "b"},
    {"text": " the cat ran", "id": "c"},
]
# Added, and deleted again.
MORE = {"text": " the cat sat on the cat", "id": "d"}
WORDS = [" the", " cat", " sat", " on", " mat", " ran"]


def tokenizer():
    """A byte-level BPE of 256 bytes and the merges that make a few words, written out by hand."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    chars, extra = {}, 0
    for byte in range(256):
        chars[byte] = chr(byte) if byte in printable else chr(0x100 + extra)
        extra += byte not in printable
    vocabulary = {char: i for i, char in enumerate(chars.values())}
    merges = []
    for word in WORDS:
        left = chars[ord(" ")]
        for letter in word[1:]:
            if left + letter not in vocabulary:
                merges.append([left, letter])
                vocabulary[left + letter] = len(vocabulary)
            left += letter
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level | {"trim_offsets": True},
        "decoder": byte_level | {"trim_offsets": True},
        "post_processor": None,
        "truncation": None,
        "padding": None,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocabulary,
            "merges": merges,
        },
    }


def make(out):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "tokenizer.json")
        path.write_text(json.dumps(tokenizer()))
        corpus = Path(folder, "corpus.jsonl")
        corpus.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))
        everygram.build(corpus, out, tokenizer=str(path), kind="self-index", sample_every=4)
        corpus.write_text(json.dumps(MORE) + "\n")
        everygram.add(out, corpus)
        everygram.delete(out, documents=[len(RECORDS)])


if __name__ == "__main__":
    make(Path(sys.argv[1]))
