"""The oracle: every query answered by brute force over lists of documents.

A document is the events separator, its tokens, separator; a query occurs where it is a stretch of
a document's events. Written for being obviously right, with nothing shared with the product.
"""

import math


class NaiveIndex:
    def __init__(self, documents, separator):
        self.documents = [list(document) for document in documents]
        self.separator = separator

    def occurrences(self, query):
        """(document, offset of the match in its tokens; -1 is the separator before), sorted."""
        query = list(query)
        found = []
        for number, document in enumerate(self.documents):
            events = [self.separator, *document, self.separator]
            # The empty query and the separator alone would match the end as well as the start:
            # each document has one event for the two.
            last = len(events) - max(2, len(query))
            for start in range(last + 1):
                if events[start : start + len(query)] == query:
                    found.append((number, start - 1))
        return found

    def count(self, query):
        return len(self.occurrences(query))

    def document_count(self, query):
        return len({document for document, _ in self.occurrences(query)})

    def following(self, prompt):
        """{token: how often it follows the prompt}; the separator is the end of a document."""
        prompt = list(prompt)
        counts = {}
        for document in self.documents:
            events = [self.separator, *document, self.separator]
            # What follows nothing is every event but the document's start.
            for start in range(0 if prompt else 1, len(events) - len(prompt)):
                if events[start : start + len(prompt)] == prompt:
                    token = events[start + len(prompt)]
                    counts[token] = counts.get(token, 0) + 1
        return counts

    def prob(self, prompt, token):
        """(prompt count, continuation count, probability)."""
        counts = self.following(prompt)
        total = sum(counts.values())
        seen = counts.get(token, 0)
        return total, seen, seen / total if total else math.nan

    def suffix_len(self, prompt):
        """Length of the longest suffix of the prompt that something follows."""
        prompt = list(prompt)
        return next(
            (
                length
                for length in range(len(prompt), 0, -1)
                if self.following(prompt[len(prompt) - length :])
            ),
            0,
        )

    def longest_suffix(self, prompt):
        length = self.suffix_len(prompt)
        return list(prompt)[len(prompt) - length :]

    def score(self, text, order=None):
        """(length of the prompt, its count, continuation's count, one follows) of each token."""
        rows = []
        for place, token in enumerate(text):
            prompt = list(text[:place])
            if self.separator in prompt:
                while self.separator in prompt[1:]:
                    prompt = prompt[1:]
            if order is None:
                prompt = self.longest_suffix(prompt)
            else:
                prompt = prompt[max(0, len(prompt) - (order - 1)) :]
            following = self.following(prompt)
            total, seen = sum(following.values()), following.get(token, 0)
            rows.append((len(prompt), total, seen, len(following) == 1))
        return rows

    def beginning_len(self, query):
        """Length of the longest beginning of the query that occurs; 0 if none does."""
        query = list(query)
        return next((k for k in range(len(query), 0, -1) if self.count(query[:k])), 0)

    def longest_matches(self, text):
        """(length of the longest match, its count) at each place; (0, 0) where there is none."""
        rows = []
        for place in range(len(text)):
            length = self.beginning_len(text[place:])
            rows.append((length, self.count(text[place : place + length]) if length else 0))
        return rows

    def suffix_array(self):
        """The suffixes of the stream in the format's order, ties by position."""
        stream = [t for document in self.documents for t in (self.separator, *document)]

        return suffix_order(stream, self.separator)


def suffix_order(stream, separator):
    """Positions by their tokens up to and including the next separator, ties by position."""

    def key(position):
        suffix = [*stream[position:], separator]
        return suffix[: suffix.index(separator, 1) + 1]

    return sorted(range(len(stream)), key=key)
