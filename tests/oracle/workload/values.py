"""Values of every type, as SQL writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from random import Random

from tests.oracle.workload.names import literal, text

Types = Mapping[str, "tuple[str, ...]"]

#: types of new columns: some are more common than others
COLUMN_TYPES = [
    "integer", "integer", "integer", "bigint", "text", "text", "text", "numeric", "numeric(12,2)",
    "boolean", "timestamp with time zone", "date", "character varying(20)", "character varying",
    "jsonb", "smallint", "double precision", "real", "json", "uuid", "bytea", "character(3)",
    "timestamp without time zone", "time without time zone", "interval", "inet", "xml", "point",
    "integer[]", "text[]", "int4range", "tstzrange", "nummultirange", "bit varying(8)", "bit(4)",
    "money", "tsvector", '"char"', "name", "macaddr", "box", "pg_lsn", "numeric(5,0)",
    "timestamp(0) with time zone", "jsonb[]", "character varying(5)[]", "oid", "tsquery", "path",
]  # fmt: skip
#: those with an equality and an order, for keys
KEY_TYPES = [
    "integer", "integer", "integer", "bigint", "text", "uuid", "character varying(20)", "date",
    "numeric", "timestamp with time zone", "bytea", "smallint", "character(3)", "text[]",
]  # fmt: skip


def _number(rng: Random, most: int = 30) -> str:
    return str(rng.randint(1, most) if rng.random() < 0.9 else rng.randint(-5000, 5000))


def _text(rng: Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        return literal(f"v{rng.randint(1, 30)}")
    if kind < 0.85:
        return literal(text(rng))
    if kind < 0.92:  # out of line and compressed
        return f"repeat({literal(text(rng) + 'abc')}, {rng.randint(700, 3000)})"
    if kind < 0.99:  # out of line as it is
        return literal(rng.randbytes(rng.randint(1100, 4000)).hex())
    return f"repeat({literal(rng.randbytes(50).hex())}, {rng.randint(2000, 20000)})"


def _time(rng: Random) -> str:
    return rng.choice([
        "infinity", "-infinity", "0044-03-15 12:00:00 BC", "2026-10-25 02:30:00.123456+02",
        "294276-12-30 23:59:59.999999+00", "1883-11-18 12:03:58-5",
        f"{rng.randint(1990, 2030)}-0{rng.randint(1, 9)}-1{rng.randint(0, 9)} 0{rng.randint(1, 9)}"
        f":00:00.{rng.randint(0, 999999):06}Z",
    ])  # fmt: skip


def _json(rng: Random) -> str:
    return literal(
        rng.choice([
            '{"b" :1,  "a": 2, "b": [ ] }', "[]", "null", '"x"', "1.00", "1e2", '{"": {}}',
            json.dumps({"n": rng.randint(0, 9), "t": text(rng).replace("\0", "")}),
        ])
    )  # fmt: skip


def _pick(*choices: str) -> Callable[[Random], str]:
    return lambda rng: literal(rng.choice(choices))


_MAKERS: dict[str, Callable[[Random], str]] = {
    "integer": _number,
    "bigint": lambda rng: rng.choice([_number(rng), str(rng.getrandbits(62))]),
    "smallint": lambda rng: _number(rng, 20),
    "oid": lambda rng: str(rng.getrandbits(31)),
    "numeric": _pick("1", "1.0", "1.00", "-0.50", "NaN", "1e30", "0.000", "2.5", "Infinity", "-7"),
    "real": _pick("0", "-0", "NaN", "Infinity", "0.1", "1e-40", "3.4e38", "16777217", "2.5"),
    "double precision": _pick("0", "-0", "NaN", "-Infinity", "0.1", "5e-324", "1.797e308", "7"),
    "boolean": _pick("t", "f"),
    "text": _text,
    "character varying": _text,
    "citext": _text,
    "character": lambda rng: literal(rng.choice(["", "a", "A ", "ñ", "'", "xyz"])),
    "name": lambda rng: literal(text(rng, 2)),
    '"char"': _pick("a", "", "\\", "'"),
    "date": _pick("infinity", "2026-02-28", "0001-01-01 BC", "1999-12-31", "2024-02-29"),
    "timestamp with time zone": lambda rng: literal(_time(rng)),
    "timestamp without time zone": lambda rng: literal(_time(rng)),
    "time without time zone": _pick("24:00:00", "12:00:00.000001", "00:00", "03:04:05"),
    "interval": _pick("1 mon -3 days 04:05:06.7", "-00:00:01", "1 year", "0", "-1 mon 1 day"),
    "uuid": lambda rng: literal(f"{rng.randint(1, 30):032x}"),
    "bytea": lambda rng: literal("\\x" + rng.randbytes(rng.choice([0, 1, 3, 40, 3000])).hex()),
    "json": _json,
    "jsonb": _json,
    "xml": _pick("<a b='&amp;'> <c/>\n</a>", "<x/>", "<r>ñ</r>"),
    "inet": _pick("10.0.0.0/8", "::1", "192.168.1.5/24"),
    "macaddr": _pick("08:00:2b:01:02:03"),
    "point": _pick("(1,2)", "(-0,1e-300)", "(NaN,Infinity)"),
    "box": _pick("((0,0),(1,1))", "((-1,2),(3,4.5))"),
    "path": _pick("[(0,0),(1,1)]", "((0,0),(1,1),(2,0))"),
    "bit": _pick("0101", "1111"),
    "bit varying": _pick("", "0101", "1", "11111111"),
    "money": _pick("1234.56", "-0.01", "0"),
    "tsvector": _pick("'a':1A 'it''s':2 'b\\\\':3", "", "'ñ'"),
    "tsquery": _pick("'a' & !'b'", "'x' | 'y':*"),
    "pg_lsn": _pick("0/0", "16/B374D848"),
    "int4range": _pick("empty", "[1,5)", "(,3]", "[2,)", "[10,20)", "(,)"),
    "tstzrange": _pick("empty", "[2026-01-01 00:00+00,)", "(,2026-01-01 10:00+02]"),
    "nummultirange": _pick("{}", "{[1,2),(3.5,4]}", "{(,)}"),
    "hstore": lambda rng: literal(rng.choice(['a=>1', '"x y"=>NULL, b=>"\\""', ""])),
}  # fmt: skip


def value(rng: Random, type_: str, types: Types, depth: int = 0) -> str:
    """Return a constant of the type, or null.

    :param types: of the database: name as SQL writes it -> what it is made of (see `catalog`).
    """
    if rng.random() < 0.1:
        return "null"
    if type_.endswith("[]"):
        some = ", ".join(value(rng, type_[:-2], types, depth + 1) for _ in range(rng.randint(0, 3)))
        return f"array[{some}]::{type_}"
    if type_ in types:
        return _of_own_type(rng, type_, types, depth)
    base = type_.partition("(")[0]
    if type_.startswith("timestamp"):
        base = "timestamp with" + ("out" if "without" in type_ else "") + " time zone"
    maker = _MAKERS.get(base.rpartition(".")[2].strip('"') if "." in base else base)
    if maker is None:
        return "null"
    made = maker(rng)
    return made if depth == 0 or type_ == '"char"' else f"{made}::{type_}"


def _of_own_type(rng: Random, type_: str, types: Types, depth: int) -> str:
    kind, *parts = types[type_]
    if kind == "enum":
        return f"{literal(rng.choice(parts))}::{type_}" if parts else "null"
    if depth > 3:
        return "null"
    if kind == "domain":
        return f"{value(rng, parts[0], types, depth + 1)}::{type_}"
    if kind == "composite":
        fields = ", ".join(value(rng, part, types, depth + 1) for part in parts)
        return f"row({fields})::{type_}"
    return "null"


def default(rng: Random, type_: str, types: Types, sequences: list[str]) -> str:
    """Return an expression for a default: constant, or new at every call."""
    number = type_ in {"integer", "bigint", "numeric", "double precision", "text"}
    choices = [value(rng, type_, types)] * 4
    if type_.startswith(("timestamp", "date", "time ")) or type_ == "text":
        choices += ["now()", "clock_timestamp()", "statement_timestamp()", "current_timestamp"]
    if number:
        choices += ["(random() * 1000)", "extract(epoch from clock_timestamp())::integer"]
        choices += [f"nextval({literal(name)})" for name in sequences[:1]]
    if type_ == "uuid":
        choices += ["gen_random_uuid()", "gen_random_uuid()"]
    if type_ in {"text", "name", "character varying"}:
        choices += ["current_user", "session_user", "md5(random()::text)", "current_schema()"]
    chosen = rng.choice(choices)
    return f"({chosen})::{type_}" if chosen[0] == "(" else chosen
