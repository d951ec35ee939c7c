"""Packages from elsewhere that write: through Python's ``open`` or through their own C or Rust code."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ..vector import Act, Scene, vector


def _package(module: str) -> Callable[[Callable[[Scene, Any], object]], Act]:
    """Give a decorator for a vector that needs ``module``, with the module as second argument."""

    def decorate(act: Callable[[Scene, Any], object]) -> Act:
        def run(s: Scene) -> None:
            act(s, importlib.import_module(module))

        run.__name__ = act.__name__
        return vector("package", needs=(f"module:{module}",))(run)

    return decorate


@_package("filelock")
def filelock_creates_lock(s: Scene, filelock: Any) -> None:
    with filelock.FileLock(str(s.prot / "fresh.lock")):
        (s.prot / "fresh.lock").stat()


@_package("yaml")
def yaml_dump(s: Scene, yaml: Any) -> None:
    with open(s.notes, "w") as stream:
        yaml.safe_dump({"a": 1}, stream)


@_package("hypothesis.database")
def hypothesis_database(s: Scene, database: Any) -> None:
    database.DirectoryBasedExampleDatabase(s.prot / "examples").save(b"key", b"value")


@_package("cffi")
def cffi_unlink(s: Scene, cffi: Any) -> None:
    ffi = cffi.FFI()
    ffi.cdef("int unlink(const char *path);")
    ffi.dlopen(None).unlink(bytes(s.notes))


@_package("numpy")
def numpy_save(s: Scene, numpy: Any) -> None:
    numpy.save(s.prot / "array.npy", numpy.zeros(3))


@_package("numpy")
def numpy_tofile(s: Scene, numpy: Any) -> None:
    numpy.zeros(3).tofile(str(s.data))


@_package("numpy")
def numpy_memmap(s: Scene, numpy: Any) -> None:
    numpy.memmap(s.data, mode="r+")[:4] = 7


@_package("h5py")
def h5py_truncate(s: Scene, h5py: Any) -> None:
    h5py.File(s.data, "w").close()


@_package("pyarrow.parquet")
def pyarrow_parquet_write(s: Scene, parquet: Any) -> None:
    parquet.write_table(importlib.import_module("pyarrow").table({"a": [1]}), str(s.data))


@_package("polars")
def polars_write_parquet(s: Scene, polars: Any) -> None:
    polars.DataFrame({"a": [1]}).write_parquet(str(s.data))


@_package("duckdb")
def duckdb_connect(s: Scene, duckdb: Any) -> None:
    duckdb.connect(str(s.prot / "fresh.duckdb")).execute("CREATE TABLE t (x INT)")


@_package("PIL.Image")
def pillow_save(s: Scene, image: Any) -> None:
    image.new("RGB", (2, 2)).save(s.prot / "fresh.png")


@_package("lmdb")
def lmdb_open(s: Scene, lmdb: Any) -> None:
    lmdb.open(str(s.prot / "environment")).close()
