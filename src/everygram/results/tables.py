"""Results with rows as tables of other libraries, which are extras."""

from abc import ABC, abstractmethod
from importlib import import_module
from io import BytesIO
from typing import Any

from everygram.errors import MissingExtraError


class Table(ABC):
    """A result whose rows other libraries take as a table."""

    @abstractmethod
    def columns(self) -> dict[str, Any]:
        """Each column by name: a list or an array, all of one length."""

    def to_arrow(self) -> Any:
        """The rows as a `pyarrow.Table`. Raises MissingExtraError without the extra parquet."""
        return _library("pyarrow", "parquet").table(self.columns())

    def to_pandas(self) -> Any:
        """The rows as a `pandas.DataFrame`. Raises MissingExtraError without the extra pandas."""
        return _library("pandas", "pandas").DataFrame(self.columns())


def parquet(table: Table) -> bytes:
    """The rows as a Parquet file. Raises MissingExtraError without the extra parquet."""
    made, out = table.to_arrow(), BytesIO()
    _library("pyarrow.parquet", "parquet").write_table(made, out)
    return out.getvalue()


def _library(name: str, extra: str) -> Any:
    try:
        return import_module(name)
    except ImportError:
        raise MissingExtraError(
            f"a table of {name} needs the extra: pip install 'everygram[{extra}]'"
        ) from None
