r"""Converts tiktoken's rank files (`*.tiktoken`, Llama 3's `tokenizer.model`) to `tokenizer.json`.

In: the bytes of a rank file. Each line has the base64 of a token's bytes, a space, and the token's
rank, which is its id and the priority of the merge that makes it. Out: the bytes of a
`tokenizer.json` that gives every text the same ids. A rank file contains neither the pattern that
cuts text into words nor the special tokens: both are known only for the published files. This
module knows nothing of loaded tokenizers.
"""

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from everygram.errors import TokenizerError

_NO_RANK = 1 << 64
_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?(?:\n|$)")

# tiktoken's patterns, rewritten for the tokenizers library; the matches are the same. None means
# the library's built-in GPT-2 pattern.
_GPT2 = None
_DIGITS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CL100K = _DIGITS % "{1,3}"
QWEN = _DIGITS % ""
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
O200K = "|".join(
    [
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)


@dataclass(frozen=True)
class Family:
    """What a rank file does not say: the pattern, special tokens by id, and NFC normalization.

    `sha256` is the hash of the file as tiktoken writes it: sorted by rank, lines ending in "\n".
    """

    name: str
    sha256: str
    pattern: str | None
    special: dict[int, str] = field(default_factory=dict)
    nfc: bool = False


def _llama3() -> Iterator[str]:
    yield from ("begin_of_text", "end_of_text", "reserved_special_token_0")
    yield from ("reserved_special_token_1", "finetune_right_pad_id", "step_id")
    yield from ("start_header_id", "end_header_id", "eom_id", "eot_id", "python_tag", "image")
    yield from (f"reserved_special_token_{number}" for number in range(2, 246))


def _qwen() -> Iterator[str]:
    yield from ("endoftext", "im_start", "im_end")
    yield from (f"extra_{number}" for number in range(205))


def _marked(first: int, names: Iterator[str]) -> dict[int, str]:
    return {token_id: f"<|{name}|>" for token_id, name in enumerate(names, first)}


FAMILIES = (
    Family(
        "gpt2 (r50k_base)",
        "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        _GPT2,
        {50256: "<|endoftext|>"},
    ),
    Family(
        "p50k_base",
        "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
        _GPT2,
        {50256: "<|endoftext|>"},
    ),
    Family(
        "cl100k_base",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        CL100K,
        {
            100257: "<|endoftext|>",
            100258: "<|fim_prefix|>",
            100259: "<|fim_middle|>",
            100260: "<|fim_suffix|>",
            100276: "<|endofprompt|>",
        },
    ),
    Family(
        "o200k_base",
        "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        O200K,
        {199999: "<|endoftext|>", 200018: "<|endofprompt|>"},
    ),
    Family(
        "llama3",
        "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55",
        CL100K,
        _marked(128000, _llama3()),
    ),
    Family(
        "qwen",
        "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186",
        QWEN,
        _marked(151643, _qwen()),
        nfc=True,
    ),
)


def is_rank_file(data: bytes) -> bool:
    """Whether the bytes of a file start like a rank file."""
    return _LINE.match(data) is not None


def tokenizer_json(data: bytes, source: str) -> bytes:
    """The `tokenizer.json` equivalent to a rank file; `source` names the file in messages.

    The family is recognised by all of its ranks, because files of the same size may need different
    patterns. Raises TokenizerError if the file is damaged or of no known family.
    """
    ranks = read_ranks(data, source)
    digest = hashlib.sha256()
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        digest.update(b"%b %d\n" % (base64.b64encode(token), rank))
    for family in FAMILIES:
        if family.sha256 == digest.hexdigest():
            return convert(ranks, family)
    raise TokenizerError(
        f"tokenizer '{source}': a tiktoken file of {len(ranks):,} ranks, which is not one of those "
        f"known ({', '.join(family.name for family in FAMILIES)}), so its pattern is unknown; "
        "give the tokenizer.json of that tokenizer"
    )


def read_ranks(data: bytes, source: str) -> dict[bytes, int]:
    """The rank of each token. Raises TokenizerError for an invalid line, rank or token."""
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line.strip():
            continue
        try:
            encoded, rank = line.split()
            token, known = base64.b64decode(encoded, validate=True), len(ranks)
            ranks[token] = int(rank)
        except (ValueError, binascii.Error):
            raise TokenizerError(
                f"tokenizer '{source}': line {number} of a tiktoken file: expected base64, a space "
                f"and a rank, found {line[:60]!r}"
            ) from None
        if not token or len(ranks) == known:
            raise TokenizerError(
                f"tokenizer '{source}': line {number} of a tiktoken file: {token!r} "
                + ("has a rank already" if token else "is no token")
            )
    if len(set(ranks.values())) < len(ranks):
        raise TokenizerError(f"tokenizer '{source}': a tiktoken file with one rank for two tokens")
    missing = [byte for byte in range(256) if bytes([byte]) not in ranks]
    if missing:
        raise TokenizerError(
            f"tokenizer '{source}': a tiktoken file without a rank for the byte "
            f"0x{missing[0]:02x}: expected all 256"
        )
    return ranks


def convert(ranks: dict[bytes, int], family: Family) -> bytes:
    """The bytes of the `tokenizer.json` with these ranks as ids and the family's pattern."""
    char_of = dict(byte_level_chars())
    spelled = {token: "".join(map(char_of.__getitem__, token)) for token in ranks}
    by_rank = sorted(ranks, key=ranks.__getitem__)
    merges = [
        [spelled[part] for part in parts]
        for parts in (last_parts(token, ranks) for token in by_rank)
        if len(parts) == 2
    ]
    byte_level: dict[str, Any] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": family.pattern is None,
    }
    pre_tokenizer = byte_level
    if family.pattern is not None:
        split = {
            "type": "Split",
            "pattern": {"Regex": family.pattern},
            "behavior": "Isolated",
            "invert": False,
        }
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, byte_level]}
    # Special tokens are in the model's vocabulary too, which gives them their ids. Text never
    # becomes a special token, because the patterns cut its spelling into pieces.
    vocabulary = {spelled[token]: ranks[token] for token in by_rank}
    vocabulary |= {content: token_id for token_id, content in family.special.items()}
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": token_id,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token_id, content in family.special.items()
        ],
        "normalizer": {"type": "NFC"} if family.nfc else None,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            # A word that is a token becomes that token, even if no merges lead to it.
            "ignore_merges": True,
            "vocab": vocabulary,
            "merges": merges,
        },
    }
    return json.dumps(description, ensure_ascii=False, separators=(",", ":")).encode()


def last_parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The parts of a token's bytes before tiktoken's last merge: two parts, which that merge joins,
    or more, if merges do not lead to the token.

    No other two parts ever become this token. Until that merge, no merge crossed the ends of the
    token's bytes, so the merges inside happened in the order used here. So one merge per token is
    enough.
    """
    parts = [token[i : i + 1] for i in range(len(token))]
    joined = [ranks.get(left + right, _NO_RANK) for left, right in pairwise(parts)]
    while len(parts) > 2:
        lowest = min(joined)
        if lowest == _NO_RANK:
            break
        first = joined.index(lowest)
        parts[first : first + 2] = [parts[first] + parts[first + 1]]
        del joined[first]
        for i in range(max(0, first - 1), min(first + 1, len(joined))):
            joined[i] = ranks.get(parts[i] + parts[i + 1], _NO_RANK)
    return parts


def byte_level_chars() -> Iterator[tuple[int, str]]:
    """Each byte, and the character that stands for it in byte-level BPE (Radford et al. 2019).

    Printable Latin-1 stands for itself; the other 68 bytes take U+0100 onwards, in order.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = 0
    for byte in range(256):
        if byte in printable:
            yield byte, chr(byte)
        else:
            yield byte, chr(0x100 + others)
            others += 1
