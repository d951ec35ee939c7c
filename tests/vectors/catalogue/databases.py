"""SQLite in all its ways to write, and the ``dbm`` family."""

from __future__ import annotations

import _sqlite3
import dbm.dumb
import os
import shelve
import sqlite3
from urllib.parse import quote

from ..vector import Scene, vector

INSERT = "INSERT INTO message VALUES (99, 'noise')"


def _execute(database: str | bytes, statement: str, *, uri: bool = False) -> None:
    connection = sqlite3.connect(database, uri=uri)
    connection.execute(statement)
    connection.commit()
    connection.close()


@vector("sqlite")
def sqlite_insert(s: Scene) -> None:
    _execute(str(s.database), INSERT)


@vector("sqlite")
def sqlite_insert_bytes_path(s: Scene) -> None:
    _execute(os.fsencode(s.database), INSERT)


@vector("sqlite")
def sqlite_delete_rows(s: Scene) -> None:
    _execute(str(s.database), "DELETE FROM message")


@vector("sqlite")
def sqlite_drop_table(s: Scene) -> None:
    sqlite3.connect(s.database).executescript("DROP TABLE message; VACUUM;")


@vector("sqlite")
def sqlite_create_table_in_new_file(s: Scene) -> None:
    _execute(str(s.prot / "new.db"), "CREATE TABLE t (x)")


@vector("sqlite")
def sqlite_connect_only_missing_file(s: Scene) -> None:
    sqlite3.connect(s.prot / "typo.db").execute("BEGIN IMMEDIATE")


@vector("sqlite")
def sqlite_user_version(s: Scene) -> None:
    _execute(str(s.database), "PRAGMA user_version = 7")


@vector("sqlite")
def sqlite_journal_mode_wal(s: Scene) -> None:
    _execute(str(s.database), "PRAGMA journal_mode = WAL")


@vector("sqlite")
def sqlite_wal_left_open(s: Scene) -> None:
    connection = sqlite3.connect(s.database, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(INSERT)
    # Never closed: the -wal and -shm files stay behind.
    s.held["connection"] = connection
    os._exit(0)


@vector("sqlite")
def sqlite_uri_rwc(s: Scene) -> None:
    _execute(f"file:{s.prot}/new.db?mode=rwc", "CREATE TABLE t (x)", uri=True)


@vector("sqlite")
def sqlite_uri_percent_encoded(s: Scene) -> None:
    _execute(f"file:{s.home}/%2Eprot/{quote('state')}%2Edb?mode=rw", INSERT, uri=True)


@vector("sqlite")
def sqlite_uri_localhost_authority(s: Scene) -> None:
    _execute(f"file://localhost{s.database}#fragment", INSERT, uri=True)


@vector("sqlite")
def sqlite_relative_after_chdir(s: Scene) -> None:
    os.chdir(s.prot)
    _execute("state.db", INSERT)


@vector("sqlite")
def sqlite_through_symlink(s: Scene) -> None:
    os.symlink(s.database, s.tmp / "app.db")
    _execute(str(s.tmp / "app.db"), INSERT)


@vector("sqlite")
def sqlite_attach_existing(s: Scene) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ? AS victim", (str(s.database),))
    connection.execute("DELETE FROM victim.message")
    connection.commit()


@vector("sqlite")
def sqlite_attach_new_file(s: Scene) -> None:
    connection = sqlite3.connect(":memory:")
    connection.execute("ATTACH ? AS fresh", (str(s.prot / "attached.db"),))
    connection.execute("CREATE TABLE fresh.t (x)")
    connection.commit()


@vector("sqlite")
def sqlite_attach_uri(s: Scene) -> None:
    connection = sqlite3.connect("file::memory:", uri=True)
    connection.execute("ATTACH ? AS victim", (f"file:{s.database}?mode=rw",))
    connection.execute("DROP TABLE victim.message")
    connection.commit()


@vector("sqlite")
def sqlite_vacuum_into(s: Scene) -> None:
    source = sqlite3.connect(":memory:")
    source.execute("CREATE TABLE t (x)")
    source.execute("VACUUM INTO ?", (str(s.prot / "vacuumed.db"),))


@vector("sqlite")
def sqlite_backup_onto(s: Scene) -> None:
    source = sqlite3.connect(":memory:")
    source.execute("CREATE TABLE foreign_table (x)")
    source.commit()
    target = sqlite3.connect(s.database)
    source.backup(target)
    target.close()


@vector("sqlite", needs=("python:3.11",))
def sqlite_blob_write(s: Scene) -> None:
    connection = sqlite3.connect(s.database)
    with connection.blobopen("message", "body", 1) as blob:
        blob.write(b"XX")
    connection.commit()
    connection.close()


@vector("sqlite")
def sqlite_connection_class(s: Scene) -> None:
    connection = sqlite3.Connection(str(s.database))
    connection.execute(INSERT)
    connection.commit()


@vector("sqlite")
def sqlite_connection_subclass_factory(s: Scene) -> None:
    class Ours(sqlite3.Connection):
        pass

    connection = Ours(str(s.database))
    connection.execute(INSERT)
    connection.commit()


@vector("sqlite")
def sqlite_private_connect(s: Scene) -> None:
    connection = _sqlite3.connect(str(s.database))
    connection.execute(INSERT)
    connection.commit()


@vector("sqlite")
def sqlite_private_connect_attach(s: Scene) -> None:
    connection = _sqlite3.connect(":memory:")
    connection.execute("ATTACH ? AS victim", (str(s.database),))
    connection.execute("DELETE FROM victim.message")
    connection.commit()


@vector("sqlite")
def sqlite_authorizer_replaced_attach(s: Scene) -> None:
    connection = sqlite3.connect(":memory:")
    connection.set_authorizer(None)
    connection.execute("ATTACH ? AS victim", (str(s.database),))
    connection.execute("DELETE FROM victim.message")
    connection.commit()


@vector("sqlite")
def sqlite_rollback_after_spill(s: Scene) -> None:
    connection = sqlite3.connect(s.database, isolation_level=None)
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO message VALUES (?, ?)", ((n, "x" * 4000) for n in range(100, 160)))
    connection.execute("ROLLBACK")
    connection.close()


@vector("dbm")
def dbm_dumb_create(s: Scene) -> None:
    with dbm.dumb.open(str(s.prot / "table"), "c") as table:
        table["a"] = "b"


@vector("dbm")
def shelve_create(s: Scene) -> None:
    with shelve.open(str(s.prot / "shelf")) as shelf:
        shelf["a"] = "b"


@vector("dbm", needs=("dbm.gnu",))
def dbm_gnu_create(s: Scene) -> None:
    import dbm.gnu

    with dbm.gnu.open(str(s.prot / "table.gdbm"), "c") as table:
        table["a"] = "b"


@vector("dbm", needs=("dbm.ndbm",))
def dbm_ndbm_create(s: Scene) -> None:
    import dbm.ndbm

    with dbm.ndbm.open(str(s.prot / "table"), "c") as table:
        table["a"] = "b"
