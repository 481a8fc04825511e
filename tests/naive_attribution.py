"""The oracle of attribution: spans of a text, their places and their documents, by brute force.

A text is its ids and `pieces`, the bytes that each of its tokens adds to it (a separator none); a
document likewise. Written from what `Index.attribute` promises, with nothing shared with it.
"""

import itertools
import math
import unicodedata
from dataclasses import dataclass
from decimal import Decimal

from naive import NaiveIndex
from naive_text import is_word

# Names of letters of scripts that are written without spaces between words begin with these.
UNSPACED = (
    "CJK UNIFIED",
    "CJK COMPATIBILITY IDEOGRAPH",
    "HIRAGANA",
    "KATAKANA",
    "BOPOMOFO",
    "THAI",
    "LAO",
    "KHMER",
    "MYANMAR",
    "TIBETAN",
    "JAVANESE",
)
JOINERS = "\u200c\u200d"
# Skin tones, and the letters of flags of regions: each belongs to the emoji before it.
MODIFIERS = {*map(chr, range(0x1F3FB, 0x1F400)), *map(chr, range(0xE0020, 0xE0080))}


@dataclass(frozen=True)
class Span:
    token_start: int
    token_end: int
    count: int
    document_count: int
    unigram_log_prob: float


def pieces_of(tokenizer, ids, inside=False):
    """The bytes that each token adds to a text, or to what is `inside` one."""
    spelled = [tokenizer.spelled(ids[:place], inside) for place in range(len(ids) + 1)]
    return [after[len(before) :] for before, after in itertools.pairwise(spelled)]


def without_first(pieces, number):
    """Pieces without so many of their first bytes."""
    kept = []
    for piece in pieces:
        kept.append(piece[number:])
        number = max(0, number - len(piece))
    return kept


def characters(data):
    """(its first byte, the one behind its last, itself) of each character of the bytes' text."""
    found, place = [], 0
    while place < len(data):
        # What `decode` makes one character of: a character, or bytes that are none.
        size = 1
        for longer in range(2, min(4, len(data) - place) + 1):
            part = data[place : place + longer].decode(errors="replace")
            if len(part) == 1:
                size = longer
        text = data[place : place + size].decode(errors="replace")
        found.append((place, place + size, text))
        place += size
    assert "".join(text for *_, text in found) == data.decode(errors="replace")
    return found


def places_of(pieces):
    """The byte before which each token begins, and all bytes."""
    return [sum(map(len, pieces[:i])) for i in range(len(pieces) + 1)]


def word_boundaries(pieces, ids, separator, whole_words=True):
    """Whether a span may begin or end before each token, and behind the last."""
    if pieces is None or not whole_words:
        return [True] * (len(ids) + 1)
    found = []
    for i in range(len(ids) + 1):
        # (A separator is the end of a text.)
        begin = max((j + 1 for j in range(i) if ids[j] == separator), default=0)
        end = min((j for j in range(i, len(ids)) if ids[j] == separator), default=len(ids))
        before, after = b"".join(pieces[begin:i]), b"".join(pieces[i:end])
        found.append(is_word_boundary(before, after))
    return found


def is_word_boundary(before, after):
    if not before or not after:
        return True
    whole = characters(before + after)
    if len(before) not in (begin for begin, *_ in whole):
        return False
    left = next(text for _, end, text in whole if end == len(before))
    right = next(text for begin, _, text in whole if begin == len(before))
    text = [text for *_, text in whole]
    at = sum(end <= len(before) for _, end, _ in whole)
    if is_link(text[at - 1 : at + 2]) or (at > 1 and is_link(text[at - 2 : at + 1])):
        return False
    if unicodedata.category(right)[0] == "M" or right in JOINERS or right in MODIFIERS:
        return False
    if left == "\u200d":
        return False
    return not (is_word(left) and is_word(right)) or is_unspaced(left) or is_unspaced(right)


def is_link(three):
    """Whether the second of three characters is an apostrophe, or a point, inside a word."""
    if len(three) < 3:
        return False
    before, link, after = three
    if link in "'’":
        return all(is_word(each) and not is_unspaced(each) for each in (before, after))
    return link in ".," and all(unicodedata.category(each) == "Nd" for each in (before, after))


def is_unspaced(character):
    return unicodedata.name(character, "").startswith(UNSPACED)


def is_delimiter(spelled, delimiters):
    """Whether a token is one, by the bytes that it spells."""
    try:
        text = spelled.decode()
    except UnicodeDecodeError:
        return False
    if any(each in text for each in delimiters if each.isspace()):
        return True
    while text and (
        text[-1].isspace() or unicodedata.category(text[-1]) in ("Pe", "Pf") or text[-1] in "\"'"
    ):
        text = text[:-1]
    return any(text.endswith(each) for each in delimiters if not each.isspace())


def all_spans(naive, is_shown, ids, boundaries, delimiter, min_length=1, max_count=None):
    """(start, end) of each, before any are left out by their rank."""
    found, last = [], 0
    for start in range(len(ids)):
        if not boundaries[start]:
            continue
        stop = next((i for i in range(start, len(ids)) if ids[i] == naive.separator), len(ids))
        end = start + naive.beginning_len(ids[start:stop])
        for place in range(start, end):
            if delimiter[place] and boundaries[place + 1]:  # (inside a word or number it is none)
                end = place + 1
                break
        while end > start and not boundaries[end]:
            end -= 1
        if end - start < min_length or end == start or not is_shown(start, end):
            continue
        if max_count is not None and naive.count(ids[start:end]) > max_count:
            continue
        if end > last:
            found.append((start, end))
            last = end
    return found


def kept_spans(naive, ids, spans, density=None, rank_by="unigram_log_prob"):
    """Those that are kept, as `Span`, by place."""
    total = naive.count([])
    made = []
    for start, end in spans:
        part = ids[start:end]
        log_prob = sum(math.log(naive.count([token]) / total) for token in part)
        made.append(Span(start, end, naive.count(part), naive.document_count(part), log_prob))
    if density is None:
        return made
    number = math.ceil(Decimal(repr(density)) * len(ids))
    if rank_by == "length":
        made.sort(key=lambda each: (each.token_start - each.token_end, each.token_start))
    else:
        # (Sums of the same numbers in another order may differ in their last digits.)
        made.sort(key=lambda each: (round(each.unigram_log_prob, 9), each.token_start))
    return sorted(made[:number], key=lambda each: each.token_start)


def attributed(corpus, separator, ids, pieces, own, **options):
    """(spans that are kept, how many there were) of a text.

    corpus: ids of each document. own: what each token of the text spells by itself; with pieces,
    None if there is no tokenizer.
    """
    naive = NaiveIndex(corpus, separator)
    boundaries = word_boundaries(pieces, ids, separator, options.get("whole_words", True))
    delimiters = options.get("delimiters", ())
    delimiter = [own is not None and is_delimiter(each, delimiters) for each in own or ids]

    def is_shown(start, end):
        return pieces is None or bool(b"".join(pieces[start:end]).decode(errors="replace").strip())

    spans = all_spans(
        naive,
        is_shown,
        ids,
        boundaries,
        delimiter,
        options.get("min_length", 1),
        options.get("max_count"),
    )
    ranked = {name: options[name] for name in ("density", "rank_by") if name in options}
    return kept_spans(naive, ids, spans, **ranked), len(spans)


def merged(spans):
    """(start, end, places of the spans) of those that share a token, as one."""
    found = []
    for place, (start, end) in enumerate(spans):
        if found and start < found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]), [*found[-1][2], place])
        else:
            found.append((start, end, [place]))
    return found


def offsets(pieces, start, end):
    """From and to in characters, and in bytes, of tokens [start, end)."""
    places = places_of(pieces)
    begin, stop = places[start], places[end]
    whole = characters(b"".join(pieces))
    # A character that a bound is within belongs to the tokens as a whole.
    first = sum(each[1] <= begin for each in whole)
    last = sum(each[0] < stop for each in whole)
    return max(0, first), max(first, last), begin, stop


def surroundings(pieces, start, end, context):
    """The text around tokens [start, end) of a document, and the match in it."""
    first, last = max(0, start - context), min(len(pieces), end + context)
    window = pieces[first:last]
    begin, stop, *_ = offsets(window, start - first, end - first)
    text = b"".join(window).decode(errors="replace")
    before, match, after = text[:begin], text[begin:stop], text[stop:]
    if first > 0:
        before = before.lstrip("\ufffd")
    if last < len(pieces):
        after = after.rstrip("\ufffd")
    return before + match + after, len(before), len(before) + len(match)


def words_of(text, by_character):
    """What white space divides; in scripts without spaces, single characters if so wanted."""
    if by_character:
        text = "".join(f" {each} " if is_unspaced(each) else each for each in text)
    return text.split()


def relevance(passages, query, characters, k1=1.5, b=0.75):
    """Okapi BM25 of each passage, by words, over 0.18 times the text's characters.

    Inverse document frequencies are Lucene's, which are never negative.
    """
    by_character = any(map(is_unspaced, query))
    documents = [words_of(passage, by_character) for passage in passages]
    average = sum(map(len, documents)) / len(documents)
    scores = []
    for words in documents:
        score = 0
        for word in words_of(query, by_character):
            number, having = words.count(word), sum(word in each for each in documents)
            rarity = math.log(1 + (len(documents) - having + 0.5) / (having + 0.5))
            length = 1 - b + b * len(words) / average
            score += rarity * number * (k1 + 1) / (number + k1 * length)
        scores.append(score / (0.18 * characters))
    return scores
