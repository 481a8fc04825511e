"""The oracle of language models: n-grams counted into dictionaries, formulas applied as they stand.

A document is the sentence `START, tokens, END`; an n-gram is a tuple that stands in a sentence.
Written for being obviously right, with nothing shared with the product.
"""

import math
from collections import Counter, defaultdict
from fractions import Fraction

START, END = "<s>", "</s>"
FALLBACK = (0.5, 1.0, 1.5)


class NaiveModel:
    """What all models share: how a prompt and a text are read."""

    def __init__(self, documents, separator, vocab_size):
        self.separator, self.vocab_size = separator, vocab_size
        self.sentences = [(START, *document, END) for document in documents]
        self.seen = {token for document in documents for token in document}

    def context(self, prompt):
        """A separator is the start of a document, and nothing before it matters."""
        prompt = tuple(prompt)
        starts = [place for place, token in enumerate(prompt) if token == self.separator]
        return (START, *prompt[starts[-1] + 1 :]) if starts else prompt

    def prob(self, prompt, token):
        token = END if token == self.separator else token
        return self.of(token, self.context(prompt))

    def distribution(self, prompt):
        """The probability of each id of the vocabulary, and of the end behind them."""
        return [self.prob(prompt, token) for token in (*range(self.vocab_size), self.separator)]

    def log_probs(self, text, document_start=False):
        text = list(text)
        before = [self.separator] if document_start else []
        return [log(self.prob([*before, *text[:place]], token)) for place, token in enumerate(text)]


def log(prob):
    return math.log(prob) if prob else -math.inf


def ngrams(sentence, size):
    return [sentence[i : i + size] for i in range(len(sentence) - size + 1)]


class NaiveKneserNey(NaiveModel):
    """Interpolated modified Kneser-Ney (Chen and Goodman 1998), as KenLM's lmplz estimates it.

    order None: an order of which no n-gram is left, so that no level has raw counts but those of
    n-grams that start a sentence.
    """

    def __init__(
        self, documents, separator, vocab_size, order=None, discount_fallback=None, kenlm=False
    ):
        super().__init__(documents, separator, vocab_size)
        self.unbounded = order is None
        self.order = max(map(len, self.sentences), default=2) + 1 if order is None else order
        self.kenlm = kenlm
        self.types = len(self.seen) + 1 + (len(self.seen) < vocab_size)
        self.levels = [self.adjusted(size) for size in range(1, self.order + 1)]
        self.valid, self.discounts = [], []
        for size in range(1, self.order + 1):
            found = self.closed_form(size)
            self.valid.append(found is not None)
            if found is None:
                deepest = self.discounts[-1] if self.unbounded and self.discounts else FALLBACK
                found = discount_fallback or deepest
            self.discounts.append(found)
        self.followers = defaultdict(dict)
        for level in self.levels:
            for ngram, count in level.items():
                self.followers[ngram[:-1]][ngram[-1]] = count
        self.shares = {context: self.share(context) for context in self.followers}

    def raw(self, size):
        return Counter(ngram for sentence in self.sentences for ngram in ngrams(sentence, size))

    def adjusted(self, size):
        """{n-gram: raw count at the highest order and at starts; else its distinct left tokens}."""
        raw, left = self.raw(size), defaultdict(set)
        for sentence in self.sentences:
            for longer in ngrams(sentence, size + 1):
                left[longer[1:]].add(longer[0])
        return {
            ngram: count if size == self.order or ngram[0] == START else len(left[ngram])
            for ngram, count in raw.items()
            if ngram != (START,)
        }

    def closed_form(self, size):
        """The discounts D1, D2, D3 of a level; None where they are not valid."""
        counts = dict(self.levels[size - 1])
        if self.kenlm and size < self.order:
            misfiled = self.misfiled(size)
            if misfiled in counts:
                counts[misfiled] = self.raw(size)[misfiled]
        n = Counter(counts.values())
        if not (n[1] and n[2] and n[3]):
            return None
        y = Fraction(n[1], n[1] + 2 * n[2])
        found = [j - (j + 1) * y * n[j + 1] / n[j] for j in (1, 2, 3)]
        valid = all(0 <= discount <= j for j, discount in zip((1, 2, 3), found, strict=True))
        return tuple(map(float, found)) if valid else None

    def misfiled(self, size):
        """The last n-gram by the number of its last word, then of the word before, and so on."""
        numbers = {START: 1, END: 2}
        for sentence in self.sentences:
            for token in sentence:
                numbers.setdefault(token, len(numbers) + 1)
        padded = [(START,) * (size - 1) + sentence[1:] for sentence in self.sentences]
        every = [ngram for sentence in padded for ngram in ngrams(sentence, size)]
        # `<s> <s> w` is the last if it is; it is counted nowhere.
        return max(every, key=lambda ngram: [numbers[token] for token in ngram[::-1]], default=None)

    def share(self, context):
        """(the sum of the context's counts, the share that it leaves to the shorter context)."""
        counts = self.followers[context].values()
        discounts = self.discounts[len(context)]
        total = sum(counts)
        return total, sum(discounts[min(count, 3) - 1] for count in counts) / total

    def of(self, token, context):
        if not self.sentences:
            return 1 / (self.vocab_size + 1)
        context = context[max(0, len(context) - (self.order - 1)) :]
        if token == END or token in self.seen:
            prob = 1 / self.types
        else:
            prob = 1 / self.types / (self.vocab_size - len(self.seen))
        for length in range(len(context) + 1):
            suffix = context[len(context) - length :]
            if suffix not in self.followers:
                break
            total, left = self.shares[suffix]
            count = self.followers[suffix].get(token, 0)
            taken = self.discounts[length][min(count, 3) - 1] if count else 0
            prob = (count - taken) / total + left * prob
        return prob

    def backoff(self, context):
        """What KenLM writes beside a context: 1 for one that nothing follows."""
        return self.shares[context][1] if context in self.shares else 1.0


class _Counts(NaiveModel):
    """What the models of plain counts need: what follows a context, how often."""

    def __init__(self, documents, separator, vocab_size, order=None):
        super().__init__(documents, separator, vocab_size)
        self.order = order
        self.followers = defaultdict(Counter)
        for sentence in self.sentences:
            for place in range(1, len(sentence)):
                for start in range(place + 1):
                    self.followers[sentence[start:place]][sentence[place]] += 1

    def within_order(self, context):
        return context if self.order is None else context[max(0, len(context) - self.order + 1) :]

    def longest_suffix(self, context):
        while context and context not in self.followers:
            context = context[1:]
        return context


class NaiveStupidBackoff(_Counts):
    """Brants et al. 2007: scores. Each token that the context is shortened by costs 0.4."""

    def of(self, token, context):
        context = self.within_order(context)
        if self.order is None:
            context = self.longest_suffix(context)
        score = 1.0
        while context and not self.followers.get(context, {}).get(token):
            context = context[1:]
            score *= 0.4
        counts = self.followers.get(context, {})
        return score * counts[token] / sum(counts.values()) if token in counts else 0


class NaiveInfgram(_Counts):
    """The ∞-gram: the counts behind the longest suffix that occurs."""

    def of(self, token, context):
        if not self.sentences:
            return 1 / (self.vocab_size + 1)
        counts = self.followers[self.longest_suffix(self.within_order(context))]
        return counts[token] / sum(counts.values())


class NaiveInfgramFloor(NaiveInfgram):
    """The ∞-gram mixed with a model that gives every token something: Kneser-Ney of an order, or
    without an order each token's count and one more.
    """

    def __init__(self, documents, separator, vocab_size, order=None, weights=(0.5, 0.5)):
        super().__init__(documents, separator, vocab_size)
        self.weights = weights
        self.low = order and NaiveKneserNey(documents, separator, vocab_size, order)

    def of(self, token, context):
        sparse = len(self.followers[self.longest_suffix(context)]) == 1
        weight = self.weights[0] if sparse else self.weights[1]
        if self.low:
            low = self.low.of(token, context)
        else:
            counts = self.followers[()]
            low = (counts[token] + 1) / (sum(counts.values()) + self.vocab_size + 1)
        return weight * super().of(token, context) + (1 - weight) * low


def naive_model(documents, separator, vocab_size, smoothing, *, order=None, **options):
    """The oracle of `index.language_model(smoothing, order=order, **options)`."""
    corpus = documents, separator, vocab_size
    if smoothing == "modified-kneser-ney":
        kenlm = options.pop("kenlm_compat", False)
        return NaiveKneserNey(*corpus, order, kenlm=kenlm, **options)
    models = {
        "stupid-backoff": NaiveStupidBackoff,
        "infgram": NaiveInfgram,
        "infgram-floor": NaiveInfgramFloor,
    }
    return models[smoothing](*corpus, order, **options)
