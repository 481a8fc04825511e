"""For vLLM: drafts of an index for speculative decoding, through its method `custom_class`.

    vllm serve MODEL
        --speculative-config '{"method": "custom_class", "num_speculative_tokens": 8,
                               "custom_proposer_backend": "everygram.integrations.vllm.Proposer"}'
        --additional-config '{"everygram": {"index": "my-index"}}'

In: the tokens of the requests of a batch. Out: a draft for each. Imports nothing of vLLM, whose
arguments are read as arrays. Written after vLLM 0.22, which calls the method experimental.
"""

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

import everygram
from everygram.arguments import natural, short
from everygram.errors import OptionError
from everygram.index import Index

# Where settings are in vLLM's additional configuration; the environment's variable for the index.
SECTION, VARIABLE = "everygram", "EVERYGRAM_INDEX"
# Tokens of a request in which the proposer looks for what repeats, unless the settings say another
# number: most of what a model repeats is near, and more takes longer.
LOOKBACK = 1_024
# The settings that are options of `Index.draft`, and what they are if not given; vLLM itself says
# how many tokens a draft may have.
OPTIONS = {
    name: each.default
    for name, each in inspect.signature(Index.draft).parameters.items()
    if each.kind is each.KEYWORD_ONLY and name not in ("max_tokens", "raw")
} | {"lookback": LOOKBACK}


class Proposer:
    """Drafts for the requests of a batch; vLLM makes one of its configuration.

    The settings are the object "everygram" of vLLM's additional configuration: `index`, a path or a
    list of paths (or the environment's EVERYGRAM_INDEX); `preload`, as in `everygram.open`; and the
    options of `Index.draft`, of which `lookback` is 1,024 unless it is given. The index must have
    been built with the tokenizer of the model. A draft has up to vLLM's `num_speculative_tokens`.

    Raises OptionError for settings that are none, and what `everygram.open` raises.
    """

    def __init__(self, vllm_config: Any) -> None:
        self.num_speculative_tokens = natural(
            "num_speculative_tokens", vllm_config.speculative_config.num_speculative_tokens, 1
        )
        self.max_model_len = int(vllm_config.model_config.max_model_len)
        self.model_vocab_size = int(vllm_config.model_config.get_vocab_size())
        settings = _settings(vllm_config)
        index = settings.pop("index", None) or os.environ.get(VARIABLE)
        if not index:
            raise OptionError(
                f"{SECTION}: no index: name its folder as "
                f'--additional-config \'{{"{SECTION}": {{"index": "my-index"}}}}\', or in the '
                f"environment as {VARIABLE}"
            )
        self.index = everygram.open(index, preload=settings.pop("preload", ()))
        self._options = OPTIONS | settings
        # (So that wrong values are refused now.)
        self.index.draft([], max_tokens=self.num_speculative_tokens, **self._options)
        self._read = max(self._options["lookback"], self._options["max_suffix"])

    def load_model(self, *_: Any, **__: Any) -> None:
        """Compile what drafts run, so that no request waits. vLLM passes its model."""
        self.index.draft([self.index.separator], **self._options)

    def propose(
        self,
        sampled_token_ids: Sequence[Sequence[int]],
        num_tokens_no_spec: Any,
        token_ids_cpu: Any,
        slot_mappings: Any = None,
    ) -> list[list[int]]:
        """A draft for each request; an empty one where nothing was sampled or nothing is known.

        sampled_token_ids: what the last step sampled, a list (or an array) for each of k requests.
        num_tokens_no_spec: how many tokens each request has, shape (k or more,). token_ids_cpu:
        these tokens, shape (k or more, max_model_len); on the CPU. slot_mappings: not used.
        """
        rows, lengths = np.asarray(token_ids_cpu), np.asarray(num_tokens_no_spec)
        return [
            self._draft(rows[request], int(lengths[request])) if len(sampled) else []
            for request, sampled in enumerate(sampled_token_ids)
        ]

    def _draft(self, row: np.ndarray, length: int) -> list[int]:
        """A draft after the first `length` tokens of a request."""
        most = min(self.num_speculative_tokens, self.max_model_len - length)
        if most < 1:
            return []
        context = row[max(0, length - self._read) : length]
        # Ids that the index does not have (of images, of padding) divide a text.
        unknown = np.flatnonzero((context < 0) | (context >= self.index.vocab_size))
        if unknown.size:
            context = context[unknown[-1] + 1 :]
        ids = self.index.draft(context, max_tokens=most, **self._options).token_ids
        # (An index may have ids that the model has no embeddings for.)
        return ids[: next((i for i, t in enumerate(ids) if t >= self.model_vocab_size), len(ids))]


def _settings(vllm_config: Any) -> dict[str, Any]:
    """The settings in vLLM's additional configuration."""
    more = getattr(vllm_config, "additional_config", None)
    given = more.get(SECTION, {}) if isinstance(more, Mapping) else {}
    if not isinstance(given, Mapping):
        raise OptionError(f"{SECTION}: expected an object of settings, found {short(given)}")
    known = ["index", "preload", *OPTIONS]
    for name in given:
        if name not in known:
            raise OptionError(
                f"{SECTION}: expected settings of {', '.join(known)}, found {short(name)}"
            )
    return dict(given)
