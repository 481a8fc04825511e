"""The oracle of texts: where one occurs in a document's bytes; and random vocabularies."""

import unicodedata

from everygram.search.pattern import forms_of


def is_word(character):
    category = unicodedata.category(character)
    return category[0] in "LMN" or category == "Pc" or character in "\u200c\u200d"


def character_at(data, place):
    """The character whose bytes begin there, None if none does."""
    for size in range(1, 5):
        try:
            return data[place : place + size].decode() or None
        except UnicodeDecodeError:
            continue
    return None


def character_before(data, place):
    for size in range(1, min(4, place) + 1):
        try:
            if len(data[place - size : place].decode()) == 1:
                return data[place - size : place].decode()
        except UnicodeDecodeError:
            continue
    return None


def text_spans(data, text, ignore_case, whole_words):
    """(begin, end) in bytes of every occurrence in a document's bytes."""
    found = []
    for begin in range(len(data)):
        end = begin
        for character in text:
            forms = forms_of(character) if ignore_case else character
            here = [form for form in forms if data.startswith(form.encode(), end)]
            if not here:
                break
            end += len(here[0].encode())
        else:
            beside = character_before(data, begin), character_at(data, end)
            if not whole_words or not any(each and is_word(each) for each in beside):
                found.append((begin, end))
    return found


class Spelling:
    """A tokenizer that only spells: token bytes, of which some lose their first at a start.

    until: all do, up to the first token of which something is left.
    """

    def __init__(self, spelled, lost, until):
        self.bytes_of, self.lost, self.until = spelled, lost, until

    def spellings(self):
        at_start = [data[lost:] for data, lost in zip(self.bytes_of, self.lost, strict=True)]
        return self.bytes_of, at_start

    def tokens_of(self, ids, inside=False):
        """What each token of a document spells."""
        parts = [self.bytes_of[i] for i in ids]
        for place in range(0 if inside else len(parts)):
            parts[place] = parts[place][self.lost[ids[place]] :]
            if parts[place] or not self.until:
                break
        return parts

    def spelled(self, ids, inside=False):
        return b"".join(self.tokens_of(ids, inside))


def random_spelling(rng, letters):
    spelled = []
    for _ in range(rng.randint(2, 25)):
        data = "".join(rng.choices(letters, k=rng.randint(0, 3))).encode()
        if data and rng.random() < 0.3:  # a part of a character, or of several
            begin = rng.randrange(len(data))
            data = data[begin : rng.randint(begin, len(data))]
        if not data and rng.random() < 0.9:
            data = bytes([rng.choice("".join(letters).encode())])
        spelled.append(data)
    some = rng.random() < 0.4
    lost = [int(some and data.startswith(b" ") and rng.random() < 0.5) for data in spelled]
    return Spelling(spelled, lost, rng.random() < 0.5)
