"""What a dump's table of contents says: what to load, what to leave out, which roles it names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

#: what can lie in a schema. Not left to pg_restore's --exclude-schema: with that it drops the
#: comments and privileges of all that a dump does not make itself (the schema public, PostgreSQL's
#: own functions)
_KINDS = (
    "TABLE|TABLE DATA|VIEW|MATERIALIZED VIEW|FUNCTION|PROCEDURE|TYPE|DOMAIN|INDEX|DEFAULT"
    "|STATISTICS|(?:FK |CHECK )?CONSTRAINT|SEQUENCE(?: OWNED BY| SET)?|TRIGGER|RULE|POLICY"
    "|ROW SECURITY|(?:DEFAULT )?ACL|COMMENT|SECURITY LABEL"
)
#: Respaldo's own objects, as ``pg_restore --list`` shows them after the numbers: kind, schema or
#: "-", name, owner; or ACL and COMMENT with kind and name in the place of the name
_OWN = re.compile(
    r"(?:SCHEMA|PUBLICATION|PUBLICATION TABLES IN SCHEMA) - respaldo "
    r"|PUBLICATION TABLE \S+ respaldo "
    r"|EVENT TRIGGER - (?:00_)?respaldo_"
    rf"|(?:{_KINDS}) respaldo "
    r'|(?:ACL|COMMENT|SECURITY LABEL) - (?:SCHEMA|PUBLICATION) "?respaldo"? '
    r'|(?:COMMENT|SECURITY LABEL) - EVENT TRIGGER "?(?:00_)?respaldo_'
)
_ENTRY = re.compile(r"(\d+); (\d+) (\d+) (.+)")
_FOREIGN_KEY = "FK CONSTRAINT"
_FILLED_VIEW = "MATERIALIZED VIEW DATA "
_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][\w$]*)'
_NAMES = rf"{_NAME}(?:, {_NAME})*"
_FILLS_VIEW = re.compile(rf"^REFRESH MATERIALIZED VIEW ({_NAME}\.{_NAME});$", re.MULTILINE)
_END_OF_SCRIPT = "\n--\n-- PostgreSQL database dump complete\n"
_ENCODING = re.compile(r"^SET client_encoding = '(\w+)';$", re.MULTILINE)
#: statements that name a role and fail where it does not exist
_ROLES = tuple(
    re.compile(pattern, re.MULTILINE)
    for pattern in (
        rf"^ALTER .* OWNER TO ({_NAME});$",
        rf"^(?:GRANT|REVOKE) .* (?:TO|FROM) ({_NAMES})(?: WITH GRANT OPTION)?;$",
        rf"^SET SESSION AUTHORIZATION ({_NAME});$",
        rf"^ALTER DEFAULT PRIVILEGES FOR ROLE ({_NAME}) ",
        rf"^ALTER DEFAULT PRIVILEGES .* (?:TO|FROM) ({_NAMES})(?: WITH GRANT OPTION)?;$",
        rf"^CREATE POLICY .*? TO ({_NAMES})(?: USING| WITH CHECK|;)",
        rf"^CREATE USER MAPPING FOR ({_NAME}) ",
    )
)


@dataclass(frozen=True)
class Contents:
    """A dump's table of contents without Respaldo's own objects.

    Without the commands that fill materialized views, too: those can fail where nothing is wrong
    (in a function that needs a search_path, for rights that the owner has lost), and a failure
    ends a load. They are kept apart.
    """

    entries: tuple[str, ...]
    filled_views: tuple[str, ...] = ()

    @classmethod
    def parse(cls, listing: str) -> Contents:
        """Read what ``pg_restore --list`` prints."""
        entries: list[str] = []
        filled_views: list[str] = []
        for line in listing.splitlines():
            match = _ENTRY.fullmatch(line)
            if match and not _OWN.match(match[4]):
                (filled_views if match[4].startswith(_FILLED_VIEW) else entries).append(line)
        return cls(tuple(entries), tuple(filled_views))

    @property
    def use_list(self) -> str:
        """The file for ``pg_restore --use-list``."""
        return as_use_list(self.entries)

    @property
    def tables(self) -> int:
        """How many tables have data."""
        return sum(" TABLE DATA " in entry for entry in self.entries)

    @property
    def extensions(self) -> tuple[str, ...]:
        """Names of the extensions to create."""
        found = (re.fullmatch(r"\d+; \d+ \d+ EXTENSION - (\S+) ?.*", e) for e in self.entries)
        return tuple(match[1] for match in found if match)

    def apart(self, kind: str) -> tuple[Contents, Contents]:
        """Return the entries of a kind, as ``pg_restore --list`` names it, and all others."""
        found = tuple(e for e in self.entries if _is_of(kind, e))
        return Contents(found), Contents(tuple(e for e in self.entries if not _is_of(kind, e)))

    def around_foreign_keys(self) -> tuple[Contents, Contents, Contents]:
        """Return what comes before the last foreign key, the foreign keys, and what comes after.

        Without any, all comes before.
        """
        keys = [i for i, e in enumerate(self.entries) if _is_of(_FOREIGN_KEY, e)]
        end = keys[-1] + 1 if keys else len(self.entries)
        found, before = Contents(self.entries[:end]).apart(_FOREIGN_KEY)
        return before, found, Contents(self.entries[end:])


def _is_of(kind: str, entry: str) -> bool:
    return re.match(rf"\d+; \d+ \d+ {kind} ", entry) is not None


def as_use_list(entries: Iterable[str]) -> str:
    return "".join(f"{entry}\n" for entry in entries)


def views_named(script: str) -> tuple[str, ...]:
    """Return the materialized views that a script fills, by their names as SQL."""
    return tuple(match[1] for match in _FILLS_VIEW.finditer(script))


def statement_of(script: str) -> str:
    """Return the one statement of a script that loads one constraint, without its end."""
    begin = script.index("\nALTER TABLE ") + 1
    end = script.rindex(_END_OF_SCRIPT)
    return script[begin:end].rstrip().removesuffix(";")


def encoding_of(script: str) -> str:
    """Return PostgreSQL's name of the encoding that a dump's script is in."""
    match = _ENCODING.search(script)
    return match[1] if match else "UTF8"


def roles_named(schema_script: str) -> tuple[str, ...]:
    """Return the roles that loading needs, from the dump's schema as a script.

    May hold names that are no roles (from the text of a function); never misses one.
    """
    found: dict[str, None] = {}
    for pattern in _ROLES:
        for match in pattern.finditer(schema_script):
            found |= dict.fromkeys(_unquote(match[1]))
    return tuple(name for name in found if name not in {"public", "PUBLIC"})


def _unquote(names: str) -> Iterable[str]:
    for name in re.findall(_NAME, names):
        yield name[1:-1].replace('""', '"') if name.startswith('"') else name
