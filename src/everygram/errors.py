"""Typed errors. Each message names the object, what was expected, what was found, what to do."""


class EverygramError(Exception):
    """Every error that everygram raises on purpose."""


class QueryError(EverygramError, ValueError):
    """A query has no defined answer: an id outside the vocabulary, a float, an invalid option."""


class ExpressionError(QueryError):
    """A search expression is not one. `position`: the character, from 0, where it went wrong."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position

    def __reduce__(self) -> tuple[type["ExpressionError"], tuple[str, int]]:
        return ExpressionError, (str(self), self.position)


class CursorError(QueryError):
    """A cursor is of an index as it was before it changed, or of another index."""


class OptionError(EverygramError, ValueError):
    """An option is invalid, or contradicts another option."""


class CorpusError(EverygramError):
    """A corpus file cannot be read as the format it claims; the message names file and place."""


class TokenizerError(EverygramError):
    """A tokenizer cannot be found, loaded or trained, or the index has none."""


class BuildError(EverygramError):
    """An index cannot be written: the folder is in use or locked, or the disk is full."""


class LockedError(BuildError):
    """An index has another writer just now."""


class FormatError(EverygramError):
    """A folder is not an index that this version can read."""


class DamagedIndexError(FormatError):
    """Files of an index are missing, or have the wrong size or the wrong content."""


class UnreachableSegmentError(EverygramError):
    """Segments of an index cannot be asked: no machine that answers has their files.

    segments: their names.
    """

    def __init__(self, message: str, segments: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.segments = segments

    def __reduce__(self) -> tuple[type["UnreachableSegmentError"], tuple[str, tuple[str, ...]]]:
        return UnreachableSegmentError, (str(self), self.segments)


class MissingExtraError(EverygramError, ImportError):
    """An optional dependency is not installed; the message names the extra to install."""


class ServiceError(EverygramError):
    """A service refused a request, failed to answer it, or cannot be reached.

    status: of HTTP; 0 where there was no answer. kind: the service's name for the problem, such as
    "overloaded" ("unreachable" where there was no answer). detail: what it says. request_id: what
    the service's log knows the request by, if it said so.
    """

    def __init__(self, status: int, kind: str, detail: str, request_id: str = "") -> None:
        known = f" (request {request_id})" if request_id else ""
        super().__init__(f"{kind}: {detail}{known}")
        self.status, self.kind, self.detail, self.request_id = status, kind, detail, request_id

    def __reduce__(self) -> tuple[type["ServiceError"], tuple[int, str, str, str]]:
        return ServiceError, (self.status, self.kind, self.detail, self.request_id)
