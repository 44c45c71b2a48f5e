"""A sandbox's books: tables of frozen rows in memory, each change of which goes to the journal.

A row is replaced as a whole, never changed. Rows of one group (all transfers under one reference, say) are found
together. This module must never forget a row: what was paid stays paid.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.alias_generators import to_camel

from adapters.sandbox.journal import Journal
from shared.errors import Misconfigured


class Record(BaseModel):
    """A row: frozen, its JSON in camel case."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )


RowT = TypeVar("RowT", bound=Record)


class Table(Generic[RowT]):
    """Rows of one kind by key, and by group where there is one."""

    def __init__(
        self,
        *,
        name: str,
        model: type[RowT],
        journal: Journal,
        key: Callable[[RowT], str],
        group: Callable[[RowT], str],
    ) -> None:
        self._name = name
        self._model = model
        self._journal = journal
        self._key = key
        self._group = group
        self._rows: dict[str, RowT] = {}
        self._groups: dict[str, dict[str, None]] = {}

    def put(self, row: RowT) -> RowT:
        """Add a row, or replace the one of its key; return it."""
        self._journal.append(self._name, row.model_dump_json(by_alias=True))
        return self._keep(row)

    def get(self, key: str) -> RowT | None:
        """Return the row of a key."""
        return self._rows.get(key)

    def of(self, group: str) -> list[RowT]:
        """Return the rows of a group, oldest first."""
        return [self._rows[key] for key in self._groups.get(group, ())]

    def rows(self, group: str | None = None) -> list[RowT]:
        """Return all rows, or those of a group, oldest first."""
        return list(self._rows.values()) if group is None else self.of(group)

    def restore(self, row: dict[str, Any]) -> None:
        """Take a row from the journal."""
        self._keep(self._model.model_validate(row))

    def _keep(self, row: RowT) -> RowT:
        key = self._key(row)
        self._rows[key] = row
        self._groups.setdefault(self._group(row), {})[key] = None
        return row


class Books:
    """All tables of a sandbox, and the journal they write to."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._tables: dict[str, Table[Any]] = {}

    def table(
        self, name: str, model: type[RowT], *, key: Callable[[RowT], str], group: Callable[[RowT], str] | None = None
    ) -> Table[RowT]:
        """Open a table; rows without a group of their own are their own group."""
        table = Table(name=name, model=model, journal=self.journal, key=key, group=group or key)
        self._tables[name] = table
        return table

    def restore(self) -> int:
        """Fill the tables from the journal; return how many lines it had.

        Raises:
            Misconfigured: the journal is not one of this sandbox.
        """
        lines = 0
        for name, row in self.journal.replay():
            lines += 1
            try:
                self._tables[name].restore(row)
            except (KeyError, ValidationError):
                raise Misconfigured(f"line {lines} of the books is not one of this sandbox") from None
        return lines
