"""Analyses of texts and of other models with an index: one function each, one result each.

Names load when first used. Stands above indexes and building; knows nothing of the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everygram.analysis.agreements import agreement as agreement
    from everygram.analysis.agreements import generated as generated
    from everygram.analysis.confidence import neural_agreement as neural_agreement
    from everygram.analysis.drafts import Replay as Replay
    from everygram.analysis.drafts import Stream as Stream
    from everygram.analysis.drafts import read_streams as read_streams
    from everygram.analysis.drafts import replay_drafts as replay_drafts
    from everygram.analysis.figures import figure as figure
    from everygram.analysis.interpolation import interpolate as interpolate
    from everygram.analysis.log_probs import ScoredDocument as ScoredDocument
    from everygram.analysis.log_probs import read_log_probs as read_log_probs
    from everygram.analysis.log_probs import write_log_probs as write_log_probs
    from everygram.analysis.subsampling import scaling as scaling

# Where each name is defined: name -> module of this package.
_HOMES = {
    "Replay": "drafts",
    "ScoredDocument": "log_probs",
    "Stream": "drafts",
    "agreement": "agreements",
    "figure": "figures",
    "generated": "agreements",
    "interpolate": "interpolation",
    "neural_agreement": "confidence",
    "read_log_probs": "log_probs",
    "read_streams": "drafts",
    "replay_drafts": "drafts",
    "scaling": "subsampling",
    "write_log_probs": "log_probs",
}
__all__ = sorted(_HOMES)


def __dir__() -> list[str]:
    return sorted({*_HOMES, *(name for name in globals() if name[:2] == "__")})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'everygram.analysis' has no attribute {name!r}")
    return vars(import_module(f"everygram.analysis.{_HOMES[name]}"))[name]
