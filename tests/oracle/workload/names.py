"""Names that applications give, and that try what reads them; how they are written in SQL."""

from __future__ import annotations

from random import Random

#: few, so that what was dropped is made again under its name
TABLES = [
    "orders", "lines", "t1", "t2", "t3", "t4", "t5", "Orders", 'sel"ect', "a.b", "semi;colon--",
    "  ", "%s", "$1", "ñandú", "it's", "back\\slash", "new\nline", "табл", "user",
    "long_" + "x" * 58, "/*", "{}", "pg_class",
]  # fmt: skip
COLUMNS = [
    "a", "b", "c", "d", "n", "name", "created_at", "Name", 'qu"ote', "col 1", "ñ", "%", "select",
    "tab\there", "x" * 63, "it's", "\\", "$$", "a.b", "oid2",
]  # fmt: skip
SCHEMAS = ["public", "public", "public", "sales", "S 2", "weird.schema", 'q"s']
OTHERS = ["x1", "x2", "x3", "x4", "X 5", 'x"6', "x;7--", "ñ8"]
ROLES = ["app_owner", "app_writer", 'Ro"le; --']
TEXTS = [
    "", "a", "NULL", "\\N", "\\.", '"', "'", ",", "\t", "\n", "\r\n", "\\", "{", "}", "()", "ñ",
    "\U0001f40d", " ", "\u00a0", "x", "zz", "%s", "$1", ";--", "\x01", "\x7f", "\u2028", "$$",
    "/*", "{}", "true", "0", "ß", "é", "\ufeff", "e\u0301", "$function$", "respaldo",
    "".join(map(chr, range(1, 128))),
]  # fmt: skip


def quoted(name: str) -> str:
    """Return the name as SQL writes it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return the text as a constant of SQL, as standard_conforming_strings has it."""
    return "'" + text.replace("'", "''") + "'"


def dollars(body: str) -> str:
    """Return the text between dollar quotes that it does not hold."""
    tag = "$_$"
    while tag in body:
        tag = f"${tag[1:-1]}_$"
    return f"{tag}{body}{tag}"


def text(rng: Random, most: int = 5) -> str:
    return "".join(rng.choices(TEXTS, k=rng.randint(0, most)))
