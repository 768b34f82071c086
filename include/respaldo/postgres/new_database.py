"""The database that a restore makes: under a temporary name until it is what it shall be."""

from __future__ import annotations

import re
from collections.abc import Iterable

import psycopg
from psycopg import errors as pg
from psycopg import sql

from include.respaldo.errors import Busy, RestoreRefused
from include.respaldo.model.backup import DatabaseProperties
from include.respaldo.postgres.connect import Session
from include.respaldo.postgres.queries import query
from include.respaldo.postgres.quiet import replaying
from include.respaldo.postgres.standins import missing_roles

#: only databases of such a name are ever dropped or renamed
TEMPORARY_PREFIX = "respaldo_restoring_"

_PRIVILEGES = {"C": "CREATE", "T": "TEMPORARY", "c": "CONNECT"}
_ACL_ITEM = re.compile(r'(?P<to>"(?:[^"]|"")*"|[^="]*)=(?P<what>[A-Za-z*]*)/.*', re.DOTALL)
#: settings whose value is a list of names. Source: variable_is_guc_list_quote() of PostgreSQL
_LISTS = frozenset({
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
})
_LIST_ITEM = re.compile(r'\s*("(?:[^"]|"")*"|[^,]*?)\s*(?:,|$)')


def create_database(
    admin: Session, name: str, properties: DatabaseProperties, comment: str = ""
) -> tuple[str, ...]:
    """Create an empty database with the original's encoding, locale and owner.

    :param admin: an autocommit session in another database.
    :return: what differs from the original, in words.
    :raises RestoreRefused: the name is taken, or the server does not know the locale.
    """
    notes: list[str] = []
    options = [
        sql.SQL("TEMPLATE template0"),
        sql.SQL("ENCODING {}").format(sql.Literal(properties.encoding)),
        sql.SQL("LC_COLLATE {}").format(sql.Literal(properties.collate)),
        sql.SQL("LC_CTYPE {}").format(sql.Literal(properties.ctype)),
    ]
    if properties.locale_provider == "i":
        options.append(sql.SQL("LOCALE_PROVIDER icu"))
        options.append(sql.SQL("ICU_LOCALE {}").format(sql.Literal(properties.icu_locale)))
        if properties.icu_rules:
            options.append(sql.SQL("ICU_RULES {}").format(sql.Literal(properties.icu_rules)))
    elif properties.locale_provider == "b":
        options.append(sql.SQL("LOCALE_PROVIDER builtin"))
        options.append(sql.SQL("BUILTIN_LOCALE {}").format(sql.Literal(properties.icu_locale)))
    elif admin.info.server_version >= 150_000:
        options.append(sql.SQL("LOCALE_PROVIDER libc"))
    if missing_roles(admin, [properties.owner]):
        notes.append(
            f"the owner {properties.owner!r} is not on this server: "
            f"the database belongs to {admin.info.user!r}"
        )
    else:
        options.append(sql.SQL("OWNER {}").format(sql.Identifier(properties.owner)))
    statement = sql.SQL("CREATE DATABASE {} {}").format(
        sql.Identifier(name), sql.SQL(" ").join(options)
    )
    try:
        admin.execute(statement)
    except pg.DuplicateDatabase:
        raise RestoreRefused(
            f"there is a database {name!r} already", hint="choose another name"
        ) from None
    except (
        pg.WrongObjectType,
        pg.InvalidParameterValue,
        pg.FeatureNotSupported,
        pg.SyntaxError,  # an older version does not know the provider's options
    ) as e:
        raise RestoreRefused(
            f"this server cannot make a database like the original: {e.diag.message_primary}",
            hint=f"it needs the locale {properties.icu_locale or properties.collate!r}; install "
            "it on the server, or restore to the original's server",
        ) from None
    if comment:
        set_comment(admin, name, comment)
    return tuple(notes)


def database_exists(admin: Session, name: str) -> bool:
    """Return whether the server has a database of this name."""
    return admin.execute(query("database_facts"), {"name": name}).fetchone() is not None


def database_comment(admin: Session, name: str) -> str | None:
    """Return a database's comment; None where it has none, or is not there."""
    row = admin.execute(query("database_facts"), {"name": name}).fetchone()
    return row[0] if row else None


def set_comment(conn: Session, name: str, comment: str) -> None:
    """Set a database's comment."""
    conn.execute(
        sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(name), sql.Literal(comment))
    )


def set_properties(admin: Session, name: str, properties: DatabaseProperties) -> tuple[str, ...]:
    """Give a database the original's settings, privileges and connection limit.

    They count for sessions that begin later; so this comes after everything else is done in it.

    :return: what differs from the original, in words.
    """
    notes: list[str] = []
    database = sql.Identifier(name)
    named = {role for role, _ in properties.settings if role} | {
        role for role, _ in _grants(properties.acl or ()) if role
    }
    missing = set(missing_roles(admin, named))
    with admin.transaction():
        admin.execute(
            sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}").format(
                database, sql.Literal(properties.connection_limit)
            )
        )
        for role, setting in properties.settings:
            if role in missing:
                continue
            problem = _set(admin, database, role, setting)
            if problem:
                notes.append(problem)
        if properties.acl is not None:
            _set_acl(admin, database, properties, missing)
    notes += (
        f"role {role!r} is not on this server: its settings and privileges on the database "
        "are left out"
        for role in sorted(missing)
    )
    return tuple(notes)


def _set(admin: Session, database: sql.Identifier, role: str, setting: str) -> str | None:
    """Carry one setting over; return why not, where the server does not accept it."""
    name, _, value = setting.partition("=")
    if role:
        target = sql.SQL("ROLE {} IN DATABASE {}").format(sql.Identifier(role), database)
    else:
        target = sql.SQL("DATABASE {}").format(database)
    try:
        with admin.transaction():
            admin.execute(
                sql.SQL("ALTER {} SET {} TO {}").format(
                    target, sql.Identifier(*name.split(".")), _value(name, value)
                )
            )
    except psycopg.Error as e:
        return f"setting {name!r} could not be carried over: {e.diag.message_primary}"
    return None


def _value(name: str, value: str) -> sql.Composable:
    if name.lower() not in _LISTS or not value:
        return sql.Literal(value)
    items = []
    position = 0
    while position < len(value):
        match = _LIST_ITEM.match(value, position)
        if match is None:
            break
        item = match[1]
        items.append(item[1:-1].replace('""', '"') if item.startswith('"') else item)
        position = match.end()
    return sql.SQL(", ").join(map(sql.Literal, items))


def _set_acl(
    admin: Session,
    database: sql.Identifier,
    properties: DatabaseProperties,
    missing: set[str],
) -> None:
    """Replace the default privileges by the original's, all granted by the owner."""
    revoke = sql.SQL("REVOKE ALL ON DATABASE {} FROM {}")
    admin.execute(revoke.format(database, sql.SQL("PUBLIC")))
    if not missing_roles(admin, [properties.owner]):
        admin.execute(revoke.format(database, sql.Identifier(properties.owner)))
    for role, privileges in _grants(properties.acl or ()):
        if role in missing:
            continue
        grantee = sql.Identifier(role) if role else sql.SQL("PUBLIC")
        for privilege, may_grant in privileges:
            admin.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {}{}").format(
                    sql.SQL(privilege),
                    database,
                    grantee,
                    sql.SQL(" WITH GRANT OPTION" if may_grant else ""),
                )
            )


def _grants(
    acl: Iterable[str],
) -> Iterable[tuple[str, list[tuple[str, bool]]]]:
    """Yield (role or "" for everybody, [(privilege, may grant it)]) of items like ``a=Tc*/b``."""
    for item in acl:
        match = _ACL_ITEM.fullmatch(item)
        if match is None:
            continue
        role = match["to"]
        if role.startswith('"'):
            role = role[1:-1].replace('""', '"')
        found = re.findall(r"([A-Za-z])(\*?)", match["what"])
        yield role, [(_PRIVILEGES[p], bool(star)) for p, star in found if p in _PRIVILEGES]


def restore_identities(conn: Session, identities_set: Iterable[tuple[str, str, str]]) -> None:
    """Give tables back the replica identity that they had before Respaldo set it to FULL."""
    with replaying(conn):
        for schema, table, was in identities_set:
            # an index that served as the identity and was dropped leaves none
            form = "DEFAULT" if was == "d" else "NOTHING"
            conn.execute(
                sql.SQL("ALTER TABLE IF EXISTS ONLY {} REPLICA IDENTITY {}").format(
                    sql.Identifier(schema, table), sql.SQL(form)
                )
            )


def restore_index_columns(
    conn: Session, index_columns: Iterable[tuple[str, str, int, str]]
) -> None:
    """Give columns of indexes the names that they had: a dump gives them those of the table."""
    columns = [*zip(*index_columns, strict=True)]
    if not columns:
        return
    schemas, indexes, numbers, names = map(list, columns)
    parameters = {"schemas": schemas, "indexes": indexes, "numbers": numbers}
    passing = [f"respaldo {number}" for number in numbers]  # two may have changed places
    with replaying(conn):
        for new in (passing, names):
            conn.execute(query("rename_index_columns"), parameters | {"names": new})


def restore_inherited_storage(
    conn: Session, inherited_storage: Iterable[tuple[str, str, str, str, str]]
) -> None:
    """Store inherited columns as they were: a dump makes them as those of the parent."""
    columns = [*zip(*inherited_storage, strict=True)]
    if not columns:
        return
    names = ("schemas", "tables", "columns", "storages", "compressions")
    with replaying(conn):
        conn.execute(
            query("set_inherited_storage"), dict(zip(names, map(list, columns), strict=True))
        )


def rename_database(admin: Session, old: str, new: str) -> None:
    """Give a restored database its final name.

    :param old: its temporary name.
    :raises RestoreRefused: the new name is taken; nothing has changed.
    :raises Busy: somebody is connected to it.
    """
    _require_temporary(old)
    try:
        admin.execute(
            sql.SQL("ALTER DATABASE {} RENAME TO {}").format(
                sql.Identifier(old), sql.Identifier(new)
            )
        )
    except pg.DuplicateDatabase:
        raise RestoreRefused(
            f"there is a database {new!r} already",
            hint="choose another name, or drop that database first",
        ) from None
    except pg.ObjectInUse as e:
        raise Busy(
            f"{old!r} cannot be renamed: {e.diag.message_detail or e.diag.message_primary}",
            hint="nobody but the restore may be connected to it; end that session",
        ) from None


def drop_database(admin: Session, name: str) -> None:
    """Drop what a restore left unfinished, with whoever is connected; nothing else, ever.

    :raises RestoreRefused: the name is not that of an unfinished restore.
    """
    _require_temporary(name)
    admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _require_temporary(name: str) -> None:
    if not name.startswith(TEMPORARY_PREFIX):
        raise RestoreRefused(
            f"database {name!r} is not an unfinished restore ({TEMPORARY_PREFIX}…): left alone",
            hint="only databases that a restore has begun are renamed or dropped",
        )
