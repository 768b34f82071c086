"""What a statement is made from: random numbers, what there is, and the register of statements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from tests.oracle.workload.catalog import Column, Model, Relation
from tests.oracle.workload.names import COLUMNS, OTHERS, ROLES, SCHEMAS, TABLES, quoted
from tests.oracle.workload.values import COLUMN_TYPES, Types, default, value

T = TypeVar("T")


class Impossible(Exception):
    """There is nothing now that the statement could be about."""


@dataclass
class Scene:
    """One session's view."""

    rng: Random
    model: Model = field(default_factory=Model)

    # -- chance -------------------------------------------------------------------------------

    def pick(self, choices: list[T] | tuple[T, ...]) -> T:
        if not choices:
            raise Impossible
        return self.rng.choice(choices)

    def chance(self, probability: float) -> bool:
        return self.rng.random() < probability

    def maybe(self, text: str, probability: float = 0.5) -> str:
        return text if self.chance(probability) else ""

    # -- what there is ------------------------------------------------------------------------

    @property
    def types(self) -> Types:
        return self.model.types

    def relation(
        self, kinds: str = "rp", where: Callable[[Relation], bool] = lambda _: True
    ) -> Relation:
        return self.pick([r for r in self.model.of_kind(kinds) if where(r)])

    def table(self) -> Relation:
        """Return one to write to; the first ones more often, so that rows gather in some."""
        tables = [t for t in self.model.of_kind("rp") if t.columns]
        if tables and self.chance(0.5):
            return self.pick(tables[:4])
        return self.pick(tables)

    def column(
        self, relation: Relation, where: Callable[[Column], bool] = lambda _: True
    ) -> Column:
        return self.pick([c for c in relation.columns if where(c)])

    def sequences(self) -> list[str]:
        return [s.sql for s in self.model.of_kind("S")]

    def function(self, where: Callable[[tuple[str, str, str, str]], bool]) -> tuple[str, str]:
        name, arguments, _, _ = self.pick([f for f in self.model.functions if where(f)])
        return name, arguments

    def schema(self) -> str:
        """Return one that is there, as SQL writes it."""
        return quoted(self.pick(self.model.schemas))

    # -- what is new --------------------------------------------------------------------------

    def new_table(self) -> str:
        return f"{self._home()}.{quoted(self.pick(TABLES))}"

    def new_name(self, prefix: str) -> str:
        """Return the name of something else than a table or column."""
        return quoted(prefix + self.pick(OTHERS))

    def new_object(self, prefix: str) -> str:
        return f"{self._home()}.{self.new_name(prefix)}"

    def _home(self) -> str:
        there = [s for s in SCHEMAS if s in self.model.schemas]
        return quoted(self.pick(there) if there else self.pick(self.model.schemas))

    def new_column(self) -> str:
        return quoted(self.pick(COLUMNS))

    def new_columns(self, count: int) -> list[str]:
        return [quoted(name) for name in self.rng.sample(COLUMNS, count)]

    def role(self) -> str:
        return quoted(self.pick([*ROLES, "postgres"]))

    def type(self) -> str:
        """Return one for a new column."""
        if self.types and self.chance(0.15):
            own = self.pick(list(self.types))
            return own + self.maybe("[]", 0.15)
        for extension, type_ in (("hstore", "public.hstore"), ("citext", "public.citext")):
            if extension in self.model.extensions and self.chance(0.05):
                return type_
        return self.pick(COLUMN_TYPES)

    def value(self, type_: str) -> str:
        return value(self.rng, type_, self.types)

    def default(self, type_: str) -> str:
        own = self.sequences()
        self.rng.shuffle(own)
        return default(self.rng, type_, self.types, own)


Statement = Callable[[Scene], str]


@dataclass(frozen=True)
class Kind:
    """A kind of statement: how often it is chosen, and whether it changes the schema."""

    make: Statement
    weight: float
    ddl: bool
    #: it cannot run in a transaction
    alone: bool = False

    @property
    def name(self) -> str:
        return self.make.__name__


KINDS: list[Kind] = []


def statement(
    weight: float, *, ddl: bool = True, alone: bool = False
) -> Callable[[Statement], Statement]:
    """Register a maker of statements; it may raise Impossible."""

    def register(make: Statement) -> Statement:
        KINDS.append(Kind(make, weight, ddl, alone))
        return make

    return register
