"""Random changes to the tables of schema.sql, each one what applications do, or may do."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import psycopg

Conn = psycopg.Connection[Any]
Change = Callable[[Conn, Random], None]

PIECES = [
    "", "a", "NULL", "\\N", "\\.", '"', "'", ",", "\t", "\n", "\r\n", "\\", "{", "}", "()",
    "ñ", "\U0001f40d", " ", "\u00a0", "x", "zz", "%s", "$1", ";--", "\x01", "\u2028",
]  # fmt: skip


def text(rng: Random, most: int = 6) -> str:
    return "".join(rng.choices(PIECES, k=rng.randint(0, most)))


def maybe(rng: Random, value: Any) -> Any:
    return None if rng.random() < 0.2 else value


def long_text(rng: Random) -> str | None:
    """Return null, a short value, or one that is kept out of line, compressible or not."""
    kind = rng.randint(0, 5)
    if kind == 0:
        return None
    if kind == 1:
        return text(rng)
    if kind == 2:
        return (text(rng) + "abc") * rng.randint(800, 3000)
    return rng.randbytes(rng.randint(1100, 4500)).hex()


def some_id(rng: Random, most: int) -> int:
    return rng.randint(1, most)


def a_time(rng: Random) -> str:
    return rng.choice([
        "infinity", "-infinity", "0044-03-15 12:00:00 BC", "2026-10-25 02:30:00.123456+02",
        "2026-10-25 02:30:00.123456+01", "294276-12-31 23:59:59.999999+00", "1883-11-18 12:03:58-5",
        str(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.getrandbits(50))),
    ])  # fmt: skip


def a_float(rng: Random) -> float:
    return rng.choice([
        0.0, -0.0, math.nan, math.inf, -math.inf, 0.1, 1 / 3, 5e-324, 1.7976931348623157e308,
        rng.uniform(-1e6, 1e6), float(rng.getrandbits(60)),
    ])  # fmt: skip


def a_numeric(rng: Random) -> str:
    return rng.choice([
        "1",
        "1.0",
        "1.00",
        "-0.5",
        "-0.50",
        "NaN",
        "1e30",
        "0",
        "0.000",
        "2",
        "2.0",
    ])


def customer(conn: Conn, rng: Random) -> None:
    what = rng.random()
    if what < 0.35:
        conn.execute(
            "insert into customers (code, name, balance, rate, active, grade, tags, grid, data,"
            " raw, born, seen, opened, ratio, small, ip, span, during, place, feeling, home, homes,"
            " remark, mask, found, paid, page) values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
            " %s, %s, %s, %s::float8::real, %s, %s, %s, %s, %s, %s::address, %s::address[], %s, %s,"
            " %s::tsvector, %s::text::money, %s::xml)",
            (
                maybe(rng, f"c{rng.randint(1, 400)}"),
                text(rng, 8)[:60],
                maybe(rng, rng.randint(-(10**9), 10**9) / 100),
                maybe(rng, a_numeric(rng)),
                maybe(rng, rng.random() < 0.5),
                maybe(rng, text(rng, 1)[:3]),
                maybe(rng, [text(rng), "", None, "NULL", "null", '"', "a b"]),
                maybe(rng, [[1, None], [rng.randint(0, 9), 4]]),
                maybe(rng, '{"b": 1, "a": [1.0, 1.00, null, "\\u00f1"], "a": {"x": ""}}'),
                maybe(rng, '{"b" :1,  "a": 2, "b": [ ] }'),
                maybe(rng, rng.choice(["infinity", "2026-02-28", "0001-01-01 BC"])),
                maybe(rng, a_time(rng)),
                maybe(rng, rng.choice(["24:00:00", "12:00:00.000001"])),
                maybe(rng, a_float(rng)),
                maybe(rng, rng.uniform(-1, 1)),
                maybe(rng, rng.choice(["10.0.0.0/8", "::1", "192.168.1.5/24"])),
                maybe(rng, rng.choice(["1 mon -3 days 04:05:06.7", "-00:00:01", "1 year"])),
                maybe(
                    rng, rng.choice(["empty", "[2026-01-01 00:00+00,)", "(,2026-01-01 10:00+02]"])
                ),
                maybe(rng, rng.choice(["(1,2)", "(-0,1e-300)", "(NaN,Infinity)"])),
                maybe(rng, rng.choice(["low", "so so", "high"])),
                maybe(rng, rng.choice(['("a ""b"", c",28001)', "(,)", '("",     )'])),
                maybe(rng, '{"(a,1)",NULL,"(\\"x y\\",)"}'),
                maybe(rng, text(rng)),
                maybe(rng, rng.choice(["", "0101", "1"])),
                maybe(rng, "'a':1A 'it''s':2 'b\\\\':3"),
                maybe(rng, rng.choice(["1234.56", "-0.01"])),
                maybe(rng, "<a b='&amp;'> <c/>\n</a>"),
            ),
        )
    elif what < 0.75:
        column, value = rng.choice([
            ("balance", rng.randint(0, 10**6) / 100), ("name", text(rng)[:60]), ("code", None),
            ("ratio", a_float(rng)), ("seen", a_time(rng)), ("grade", "x"), ("rate", "1.000"),
        ])  # fmt: skip
        conn.execute(
            f"update customers set {column} = %s where id %% 37 = %s", (value, rng.randint(0, 36))
        )
    elif what < 0.85:
        conn.execute("update customers set name = name where id %% 17 = %s", (rng.randint(0, 16),))
    else:  # takes orders and their lines along
        conn.execute("delete from customers where id %% 61 = %s", (rng.randint(0, 60),))


def order(conn: Conn, rng: Random) -> None:
    what = rng.random()
    if what < 0.6:
        conn.execute(
            "with o as (insert into orders (customer_id, price, amount, comment)"
            "  select id, %s, %s, %s from customers order by random() limit %s returning id)"
            " insert into order_lines select o.id, n, %s, n / 3.0"
            "  from o, generate_series(1, %s) n",
            (rng.randint(0, 9999) / 100, rng.randint(0, 9), maybe(rng, text(rng)),
             rng.randint(1, 3), maybe(rng, text(rng)), rng.randint(0, 4)),
        )  # fmt: skip
    elif what < 0.8:
        conn.execute(
            "update orders set amount = amount + 1, comment = %s where id %% 13 = %s",
            (maybe(rng, text(rng)), rng.randint(0, 12)),
        )
    elif what < 0.9:  # renumbered, and their lines with them
        conn.execute(
            "update orders set id = -id where id in"
            " (select id from orders order by random() limit 2)"
        )
    else:
        conn.execute("delete from orders where id %% 23 = %s", (rng.randint(0, 22),))


def swap(conn: Conn, rng: Random) -> None:
    a, b = rng.sample(range(1, 21), 2)
    kind = rng.choice([0, 0, 1, 1, 2, 2, 3, 3, 5, 5, 4])
    if kind == 0:
        conn.execute("update seats set position = case id when %s then (select position from seats"
                     " where id = %s) else (select position from seats where id = %s) end"
                     " where id in (%s, %s)", (a, b, a, a, b))  # fmt: skip
    elif kind == 1:
        first, second = (
            conn.execute(
                "select code, holder from lockers where id = %s for update", (i,)
            ).fetchone()
            for i in sorted((a, b))
        )
        if first and second:
            a, b = sorted((a, b))
            for row, values in ((a, (None, None)), (b, first), (a, second)):
                conn.execute(
                    "update lockers set code = %s, holder = %s where id = %s", (*values, row)
                )
    elif kind == 2:
        a, b = rng.sample(range(1, 11), 2)
        conn.execute(
            "update ranks set rank = case rank when %s then %s::int else %s end"
            " where rank in (%s, %s)",
            (a, b, a, a, b),
        )
    elif kind == 3:  # keys change hands over values that are not sent
        for old, new in ((a, -1), (b, a), (-1, b)):
            conn.execute("update numbered set n = %s where n = %s", (new, old))
    elif kind == 4:  # everything moves by one
        conn.execute("update numbered set n = n + 100 where n < 100")
        conn.execute(
            "update numbered set n = case when n = 120 then 1 else n - 99 end where n > 100"
        )
        if rng.random() < 0.5:
            conn.execute("update numbered set body = %s where n = %s", (long_text(rng), a))
    else:
        conn.execute("delete from numbered where n = %s", (a,))
        conn.execute(
            "insert into numbered values (%s, %s, %s) on conflict (n) do update set what = 'again'",
            (a, text(rng), long_text(rng)),
        )


def journal(conn: Conn, rng: Random) -> None:
    what = rng.random()
    row = (maybe(rng, text(rng, 1)), maybe(rng, rng.randint(0, 3)), maybe(rng, a_time(rng)))
    if what < 0.5:
        conn.execute(
            "insert into journal select %s, %s, %s, %s, %s, %s from generate_series(1, %s)",
            (*row, long_text(rng), maybe(rng, a_float(rng)),
             maybe(rng, rng.choice(['{"a":1}', '{"a": 1}'])), rng.randint(1, 4)),
        )  # fmt: skip
    elif what < 0.7:  # one of several that are equal
        conn.execute(
            "delete from journal where ctid in"
            " (select ctid from journal order by random() limit %s)",
            (rng.randint(1, 4),),
        )
    elif what < 0.9:
        conn.execute(
            "update journal set n = %s where ctid in"
            " (select ctid from journal order by random() limit %s)",
            (rng.randint(0, 3), rng.randint(1, 4)),
        )
    elif what < 0.97:
        conn.execute(rng.choice([
            "insert into nothing default values",
            "delete from nothing where ctid in (select ctid from nothing limit 1)",
        ]))  # fmt: skip
    else:
        conn.execute("truncate journal")


def documents(conn: Conn, rng: Random) -> None:
    what = rng.random()
    one = "(select id from documents order by random() limit 1)"
    if what < 0.2:
        conn.execute(
            "insert into documents values (%s, %s, %s, %s, 0, %s)",
            (UUID(int=rng.getrandbits(128)), text(rng), long_text(rng),
             maybe(rng, rng.randbytes(rng.choice([0, 10, 2500, 6000]))), maybe(rng, '{"a": 1}')),
        )  # fmt: skip
    elif what < 0.5:  # touches nothing that is out of line
        conn.execute(f"update documents set counter = counter + 1 where id = {one}")
    elif what < 0.65:
        conn.execute(f"update documents set body = %s where id = {one}", (long_text(rng),))
    elif what < 0.75:
        conn.execute(
            f"update documents set blob = %s where id = {one}",
            (rng.randbytes(rng.choice([1, 4000])),),
        )
    elif what < 0.85:  # another key over values that are not sent
        conn.execute(
            f"update documents set id = %s where id = {one}", (UUID(int=rng.getrandbits(128)),)
        )
    elif what < 0.9:
        conn.execute(f"delete from documents where id = {one}")
    else:
        table, key = rng.choice([("by_index", "code"), ("in_full", "id")])
        row = f"(select {key} from {table} order by random() limit 1)"
        conn.execute(rng.choice([
            f"update {table} set n = n + 1 where {key} = {row}",
            f"update {table} set body = reverse(body) where {key} = {row}",
            f"delete from {table} where {key} = {row}",
            "insert into by_index values ('c' || (random() * 1000)::int, repeat('xyz', 2000), 1)",
            "update by_index set code = code || '_' where code = "
            "(select code from by_index order by random() limit 1)",
            "insert into in_full select max(id) + 1, repeat(md5(random()::text), 99), 1"
            " from in_full",
            "update in_full set id = id + 1000 where id = "
            "(select id from in_full order by random() limit 1)",
        ]))  # fmt: skip


def equal_values(conn: Conn, rng: Random) -> None:
    """Change values that are equal to their type, and not the same text."""
    kind = rng.randint(0, 4)
    if kind == 0:
        key, other = a_numeric(rng), a_numeric(rng)
        conn.execute(rng.choice([
            "insert into amounts values (%(k)s, %(t)s) on conflict (k) do nothing",
            "update amounts set k = %(o)s where k = %(k)s",
            "delete from amounts where k = %(k)s",
            "insert into amounts values (%(k)s, '') on conflict (k) do update set k = excluded.k",
        ]), {"k": key, "o": other, "t": text(rng)})  # fmt: skip
    elif kind == 1:
        conn.execute(rng.choice([
            "insert into ratios values (%(k)s, 1) on conflict (k) do update set k = excluded.k",
            "delete from ratios where k = %(k)s", "update ratios set what = what + 1, k = -k",
        ]), {"k": a_float(rng)})  # fmt: skip
    elif kind == 2:
        k, other = rng.choice(["", "a", "a ", "ñ"]), rng.choice(["", " ", "a", "a "])
        conn.execute(rng.choice([
            "insert into codes values (%(k)s, %(l)s) on conflict do nothing",
            "delete from codes where k = %(k)s", "update codes set l = l || ' ' where k = %(k)s",
        ]), {"k": k, "l": other})  # fmt: skip
    elif kind == 3:
        span = rng.choice(["1 day", "24:00:00", "30 days", "1 mon"])
        conn.execute(rng.choice([
            "insert into moments values (%(k)s, %(d)s, 1) on conflict do nothing",
            "delete from moments where k = %(k)s",
            "update moments set during = during * 24 / 24 where k = %(k)s",
            "update moments set during = case during when '24:00' then '1 day'::interval"
            " else '24:00' end where during = '1 day'",
        ]), {"k": a_time(rng), "d": span})  # fmt: skip
    else:
        conn.execute(
            'insert into "Ünï ""quoted"""."We""ird, Täble" values (%s, %s, %s, %s)'
            ' on conflict ("select") do update set "new\\line" = excluded."new\\line"',
            (rng.randint(1, 30), maybe(rng, text(rng)), maybe(rng, text(rng)), rng.randint(0, 9)),
        )


def stock(conn: Conn, rng: Random) -> None:
    region = rng.choice(["north", "south", "east", "west"])
    what = rng.random()
    if what < 0.5:
        conn.execute(
            "insert into stock values (%s, %s, 1, %s)"
            " on conflict (region, id) do update set amount = stock.amount + 1",
            (region, some_id(rng, 100), maybe(rng, text(rng))),
        )
    elif what < 0.8:  # rows move from partition to partition
        conn.execute(
            "update stock set region = %s where id = %s and not exists"
            " (select from stock s where s.id = stock.id and s.region = %s)"
            " and region = (select min(region) from stock s where s.id = stock.id)",
            (region, number := some_id(rng, 100), region),
        )
        conn.execute(
            "update stock set id = 101 - id where id in (%s, %s) and region = 'east' and not exists"
            " (select from stock s where s.id = 101 - stock.id and s.region = 'east')",
            (number, some_id(rng, 100)),
        )
    elif what < 0.98:
        conn.execute("delete from stock where id = %s", (some_id(rng, 100),))
    else:
        conn.execute(rng.choice(["truncate stock", "truncate stock_north", "truncate stock_rest"]))


def others(conn: Conn, rng: Random) -> None:
    number = some_id(rng, 60)
    conn.execute(rng.choice([
        "insert into things (what) values ('thing')",
        "insert into special_things (what, special) values ('thing', 'special')",
        f"update things set what = what || '.' where id % 9 = {number % 9}",
        f"delete from things where id % 31 = {number % 31}",
        f"insert into tree values ({number}, (select max(id) from tree where id < {number}))"
        " on conflict do nothing",
        f"delete from tree where id = {number}",
        f"update tree set id = {number + 60} where id = {number}",
        f"update tree set id = {number} where id = {number + 60}",
        "insert into carts (what) values ('cart')",
        "insert into cart_lines select max(id), 'line' from carts",
        "truncate carts, cart_lines restart identity",
        "truncate carts cascade",
        "insert into scratchpad (what) values ('gone after a crash')",
        "insert into stepped (what) select 'step' from generate_series(1, 3)",
        f"delete from stepped where id % 7 = {number % 7}",
        "select nextval('tickets'), nextval('orders_id_seq'), nextval('customers_id_seq')",
        f"insert into dropped_first values ({number}, 'more') on conflict (id) do"
        " update set kept = dropped_first.kept + 1, more = null",
        f"delete from dropped_first where id = {number}",
        "delete from audit where id in (select id from audit order by random() limit 3)",
        "update audit set who = null where id in (select id from audit order by random() limit 3)",
    ]))  # fmt: skip


def bulk(conn: Conn, rng: Random) -> None:
    """One statement, many rows."""
    conn.execute(rng.choice([
        "insert into journal select 'bulk', n % 5, null, null, n % 3, null"
        " from generate_series(1, 300) n",
        "update orders set amount = amount + 1",
        "update documents set counter = counter + 1",
        "delete from journal where n = 2",
        "insert into stock select 'west', n, n, 'bulk' from generate_series(1, 100) n"
        " on conflict do nothing",
        "update stock set region = 'south' where region = 'west' and not exists"
        " (select from stock s where s.id = stock.id and s.region = 'south')",
        "delete from audit where random() < 0.3",
    ]))  # fmt: skip


CHANGES: list[Change] = [
    customer, customer, order, order, swap, swap, journal, journal, documents, documents,
    documents, equal_values, equal_values, stock, stock, others, others,
]  # fmt: skip


def change(conn: Conn, rng: Random) -> None:
    """Make one random change."""
    (bulk if rng.random() < 0.01 else rng.choice(CHANGES))(conn, rng)
