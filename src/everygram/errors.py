"""Typed errors: each message names the thing, what was expected, what was found, the way out."""


class EverygramError(Exception):
    """Every error that everygram raises on purpose."""


class QueryError(EverygramError, ValueError):
    """A query that has no defined answer: an id outside the vocabulary, a float, a bad option."""


class OptionError(EverygramError, ValueError):
    """An option that makes no sense, alone or beside the others."""


class CorpusError(EverygramError):
    """A corpus file that cannot be read as what it claims to be; names file and place."""


class TokenizerError(EverygramError):
    """A tokenizer that cannot be found, loaded or trained, or that an index does not have."""


class BuildError(EverygramError):
    """An index cannot be written here: the folder is taken, locked, or the disk is full."""


class FormatError(EverygramError):
    """A folder that is not an index this version can read."""


class DamagedIndexError(FormatError):
    """An index whose files are missing, of the wrong size, or of the wrong content."""


class MissingExtraError(EverygramError, ImportError):
    """An optional dependency is not installed; the message names the extra that brings it."""
