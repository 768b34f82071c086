"""The order in which commands that ran inside others are carried out again.

The capture speaks when a command has ended, so what a customer's event trigger runs inside another
command may stand before it in the log and yet have run after it. At a replay event triggers do not
fire: what they ran is carried out by itself, where its place is known.
"""

from __future__ import annotations

from collections.abc import Mapping

from include.respaldo.model.schema_change import CapturedCommand
from include.respaldo.querylog.ddl.call_stack import Call
from include.respaldo.querylog.ddl.pairing import StatementFinder
from include.respaldo.querylog.ddl.statements import ClientString
from include.respaldo.querylog.ddl.syntax import Unreadable
from include.respaldo.querylog.ddl.targets import Name, object_name

_UNKNOWN_PLACE = (
    "it ran inside another command ({outer}), and whether before or after what that did cannot "
    "be told"
)


class Order:
    """The commands of a transaction in the order in which to carry them out."""

    def __init__(self, commands: Mapping[int, CapturedCommand], finder: StatementFinder) -> None:
        self._commands = commands
        self._finder = finder
        #: indices, as they are to be carried out
        self.indices: list[int] = list(commands)
        #: index -> why its place is not known
        self.unknown: dict[int, str] = {}
        #: index of a command that moved before others -> the last of those
        self.moved: dict[int, int] = {}
        for index in list(commands):
            self._place(index)

    def _place(self, index: int) -> None:
        call = self._finder.call(index)
        if call is None:
            return
        outer = self._enclosing(index, call)
        if outer is None:
            return  # none ended after it, so what it ran in, if anything, did its work before
        if not self._may_be_inside(call, outer):
            return
        inner, around = self._commands[index], self._commands[outer]
        if _makes_what(around, inner):
            # made by the outer one, so that had done its work
            at = self.indices.index(index)
            if self.indices.index(outer) > at:
                self.indices.remove(outer)
                self.indices.insert(at, outer)
            self.moved[outer] = max(index, self.moved.get(outer, index))
        elif self._related(outer, index):
            self.unknown[index] = _UNKNOWN_PLACE.format(outer=around.what)

    def _enclosing(self, index: int, call: Call) -> int | None:
        """Return the next command that ended in what called this one."""
        inner = self._commands[index]
        for other, command in self._commands.items():
            if (
                other > index
                and command.context == call.outer
                and command.statement_at == inner.statement_at
                and command.query == inner.query
            ):
                return other
        return None

    def _may_be_inside(self, call: Call, outer: int) -> bool:
        """Return whether a command can have run inside another schema change."""
        around = self._calling_string(call, outer)
        if around is None:
            return True
        if not around.changes_schema or call.function == "inline_code_block":
            return False
        runners = [s for s in around.statements if s.runs_functions]
        if not runners or call.function is None:
            return True
        name, _, arguments = call.function.partition("(")
        if arguments != ")":
            return False  # a trigger's function takes no arguments
        bare = name.rpartition(".")[2].strip('"')
        # an event trigger's function cannot be called by its name
        return not any(bare in s.text for s in runners)

    def _related(self, outer: int, inner: int) -> bool:
        """Return whether one of two commands may depend on what the other did."""
        around, within = self._names(outer), self._names(inner)
        if not around or not within or around & within:
            return True
        return self._mentions(inner, around) or self._mentions(outer, within)

    def _names(self, index: int) -> set[Name]:
        command = self._commands[index]
        addresses = [
            *(o.address for o in command.objects),
            *(d.address for d in command.dropped),
        ]
        return {object_name(a)[:2] for a in addresses if a.names}

    def _mentions(self, index: int, names: set[Name]) -> bool:
        statement = self._finder[index]
        if isinstance(statement, str):
            return True
        return any(name[-1] in statement.text for name in names)

    def _calling_string(self, call: Call, outer: int) -> ClientString | None:
        """Return the statements of which one called the function; None: they are not known."""
        command = self._commands[outer]
        if call.by_client:
            text = command.query
        else:
            calling = self._finder.call(outer)
            text = calling.text if calling else None
        try:
            return None if text is None else self._finder.string(text, command)
        except Unreadable:
            return None


def _makes_what(outer: CapturedCommand, inner: CapturedCommand) -> bool:
    """Return whether the inner command touched something that the outer one made."""
    made = {
        (o.catalog, o.oid)
        for o in outer.objects
        if o.oid and o.tag.startswith(("CREATE", "SELECT"))
    }
    return any((o.catalog, o.oid) in made for o in inner.objects)
