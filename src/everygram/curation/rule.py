"""When an item of a benchmark is contaminated: the rules of papers, and others."""

from dataclasses import dataclass, replace
from typing import Any

from everygram import arguments
from everygram.arguments import short
from everygram.errors import OptionError


@dataclass(frozen=True)
class Rule:
    """When an item is contaminated: where the corpus has an n-gram of it, and enough of it.

    n: tokens, or words with `normalize`. min_share: of its n-grams; min_coverage: of its tokens,
    those inside n-grams that were found. min_length: a shorter item is not looked for; one with
    fewer than n tokens is looked for as a whole. max_documents: n-grams in more documents than so
    many mean nothing (None: all mean something). skips: so many tokens of a match may differ (see
    `skipping`).
    """

    n: int = 13
    normalize: bool = False
    min_share: float = 0.0
    min_coverage: float = 0.0
    min_length: int = 5
    max_documents: int | None = None
    skips: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", arguments.natural("n", self.n, 1))
        object.__setattr__(self, "normalize", arguments.flag("normalize", self.normalize))
        for name in ("min_share", "min_coverage"):
            value = arguments.number(name, getattr(self, name))
            if not 0 <= value <= 1:
                raise OptionError(f"{name}: expected a share from 0 to 1, found {short(value)}")
            object.__setattr__(self, name, value)
        least = arguments.natural("min_length", self.min_length, 1)
        object.__setattr__(self, "min_length", min(least, self.n))
        if self.max_documents is not None:
            most = arguments.natural("max_documents", self.max_documents, 1)
            object.__setattr__(self, "max_documents", most)
        object.__setattr__(self, "skips", arguments.natural("skips", self.skips))

    def hit(self, found: bool, share: float, coverage: float) -> bool:
        """Whether an item is contaminated."""
        return found and share >= self.min_share and coverage >= self.min_coverage


# Rules of papers: GPT-3 (Brown et al. 2020), PaLM (Chowdhery et al. 2022), Llama 2 (Touvron et al.
# 2023, who look for nothing shorter), infini-gram (Liu et al. 2024).
PRESETS = {
    "gpt3": Rule(13, normalize=True),
    "palm": Rule(8, min_share=0.7),
    "llama2": Rule(11, min_coverage=0.8, min_length=11, skips=4),
    "infini-gram": Rule(13, min_share=0.8),
    "8-gram": Rule(8),
    "50-token": Rule(50),
}


def rule_of(preset: str | None, **given: Any) -> Rule:
    """A preset's rule with what is given besides; None is not given. Raises OptionError."""
    rule = Rule()
    if preset is not None:
        if not isinstance(preset, str) or preset not in PRESETS:
            raise OptionError(f"preset: expected {', '.join(PRESETS)}, found {short(preset)}")
        rule = PRESETS[preset]
    return replace(rule, **{name: value for name, value in given.items() if value is not None})
