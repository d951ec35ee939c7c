"""Children that are Python again, with every flag and environment that could leave the guard behind."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import runpy
import subprocess
import sys

from ..vector import Scene, vector

REMOVE = "import os, sys; os.remove(sys.argv[1])"


def _remove(path: str) -> None:
    os.remove(path)


def _python(s: Scene, *flags: str, python: str = sys.executable, **options: object) -> None:
    command = [python, *flags, "-c", REMOVE, str(s.notes)]
    subprocess.run(command, check=False, stderr=subprocess.DEVNULL, **options)  # type: ignore[call-overload]


@vector("pychild")
def python_plain(s: Scene) -> None:
    _python(s)


@vector("pychild")
def python_isolated(s: Scene) -> None:
    _python(s, "-I")


@vector("pychild")
def python_ignores_environment(s: Scene) -> None:
    _python(s, "-E")


@vector("pychild")
def python_without_site(s: Scene) -> None:
    _python(s, "-S")


@vector("pychild")
def python_isolated_without_site(s: Scene) -> None:
    _python(s, "-IS")


@vector("pychild")
def python_without_user_site(s: Scene) -> None:
    _python(s, "-s")


@vector("pychild")
def python_safe_path(s: Scene) -> None:
    _python(s, "-P")


@vector("pychild")
def python_optimised(s: Scene) -> None:
    _python(s, "-OO", "-B", "-u")


@vector("pychild")
def python_frozen_modules_off(s: Scene) -> None:
    _python(s, "-X", "frozen_modules=off")


@vector("pychild")
def python_empty_environment(s: Scene) -> None:
    _python(s, env={})


@vector("pychild")
def python_minimal_environment(s: Scene) -> None:
    _python(s, env={"PATH": os.environ["PATH"], "HOME": str(s.home)})


@vector("pychild")
def python_pythonpath_overridden(s: Scene) -> None:
    _python(s, env={**os.environ, "PYTHONPATH": str(s.tmp)})


@vector("pychild")
def python_sitecustomize_shadowed(s: Scene) -> None:
    (s.tmp / "sitecustomize.py").write_text("")
    (s.tmp / "usercustomize.py").write_text("")
    _python(s, env={**os.environ, "PYTHONPATH": str(s.tmp)})


@vector("pychild")
def python_environment_cleared_in_process(s: Scene) -> None:
    os.environ.clear()
    _python(s)


@vector("pychild")
def python_base_interpreter(s: Scene) -> None:
    _python(s, python=os.path.realpath(sys.executable))


@vector("pychild", needs=("tool:/usr/bin/python3",))
def python_of_the_system(s: Scene) -> None:
    _python(s, python="/usr/bin/python3")


@vector("pychild")
def python_through_symlink(s: Scene) -> None:
    os.symlink(os.path.realpath(sys.executable), s.tmp / "python")
    _python(s, python=str(s.tmp / "python"))


@vector("pychild")
def python_script_from_stdin(s: Scene) -> None:
    subprocess.run([sys.executable, "-", str(s.notes)], input=REMOVE, text=True, check=False, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_through_shell(s: Scene) -> None:
    os.system(f"'{sys.executable}' -c '{REMOVE}' '{s.notes}' 2> /dev/null")


@vector("pychild")
def python_through_env_program(s: Scene) -> None:
    subprocess.run(["env", "-i", sys.executable, "-c", REMOVE, str(s.notes)], check=False, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_grandchild(s: Scene) -> None:
    inner = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {REMOVE!r}, sys.argv[1]])"
    subprocess.run([sys.executable, "-c", inner, str(s.notes)], check=False, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_grandchild_rm(s: Scene) -> None:
    inner = "import subprocess, sys; subprocess.run(['rm', sys.argv[1]])"
    subprocess.run([sys.executable, "-I", "-c", inner, str(s.notes)], check=False, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_swallows_errors(s: Scene) -> None:
    script = "import contextlib, os, sys\nwith contextlib.suppress(OSError): os.remove(sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(s.notes)], check=True)


@vector("pychild")
def python_child_atexit(s: Scene) -> None:
    script = "import atexit, os, sys; atexit.register(os.remove, sys.argv[1])"
    subprocess.run([sys.executable, "-c", script, str(s.notes)], check=False, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_child_left_running(s: Scene) -> None:
    script = f"import time; time.sleep(0.5); {REMOVE}"
    command = [sys.executable, "-c", script, str(s.notes)]
    s.held["child"] = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_child_ctypes(s: Scene) -> None:
    script = "import ctypes, sys; ctypes.CDLL(None).unlink(sys.argv[1].encode())"
    subprocess.run([sys.executable, "-c", script, str(s.notes)], check=False)


@vector("pychild")
def python_module_compileall(s: Scene) -> None:
    subprocess.run([sys.executable, "-m", "compileall", "-q", "-b", str(s.prot)], check=False, capture_output=True)


@vector("pychild")
def python_module_zipfile_extract(s: Scene) -> None:
    (s.tmp / "notes.txt").write_text("foreign")
    zipfile = [sys.executable, "-m", "zipfile"]
    subprocess.run([*zipfile, "-c", str(s.tmp / "n.zip"), str(s.tmp / "notes.txt")], check=False)
    subprocess.run([*zipfile, "-e", str(s.tmp / "n.zip"), str(s.prot)], check=False, capture_output=True)


@vector("pychild")
def python_module_sqlite(s: Scene) -> None:
    script = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('DELETE FROM message'); c.commit()"
    subprocess.run([sys.executable, "-c", script, str(s.database)], check=False, stderr=subprocess.DEVNULL)


@vector("pychild")
def python_module_venv_clear(s: Scene) -> None:
    command = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(s.prot)]
    subprocess.run(command, check=False, capture_output=True)


@vector("pychild")
def asyncio_subprocess_python(s: Scene) -> None:
    async def run() -> None:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", REMOVE, str(s.notes), stderr=asyncio.subprocess.DEVNULL
        )
        await child.wait()

    asyncio.run(run())


@vector("pychild")
def os_posix_spawn_python(s: Scene) -> None:
    arguments = [sys.executable, "-c", REMOVE, str(s.notes)]
    os.waitpid(os.posix_spawn(sys.executable, arguments, os.environ), 0)


@vector("pychild")
def os_fork_execve_python_empty_environment(s: Scene) -> None:
    child = os.fork()
    if child == 0:
        os.execve(sys.executable, [sys.executable, "-c", REMOVE, str(s.notes)], {})
    os.waitpid(child, 0)


@vector("pychild")
def os_execv_python(s: Scene) -> None:
    os.execv(sys.executable, [sys.executable, "-c", REMOVE, str(s.notes)])


@vector("pychild")
def os_execve_python_empty_environment(s: Scene) -> None:
    os.execve(sys.executable, [sys.executable, "-c", REMOVE, str(s.notes)], {})


@vector("pychild")
def os_execv_rm(s: Scene) -> None:
    os.execv("/bin/rm", ["rm", str(s.notes)])


@vector("pychild")
def os_fork_remove(s: Scene) -> None:
    child = os.fork()
    if child == 0:
        try:
            os.remove(s.notes)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


@vector("pychild")
def os_forkpty_remove(s: Scene) -> None:
    child, terminal = os.forkpty()
    if child == 0:
        try:
            os.remove(s.notes)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(terminal)


@vector("pychild")
def multiprocessing_fork(s: Scene) -> None:
    process = multiprocessing.get_context("fork").Process(target=_remove, args=(str(s.notes),))
    process.start()
    process.join()


@vector("pychild")
def multiprocessing_spawn(s: Scene) -> None:
    process = multiprocessing.get_context("spawn").Process(target=os.remove, args=(str(s.notes),))
    process.start()
    process.join()


@vector("pychild")
def multiprocessing_forkserver(s: Scene) -> None:
    process = multiprocessing.get_context("forkserver").Process(target=os.remove, args=(str(s.notes),))
    process.start()
    process.join()


@vector("pychild")
def multiprocessing_pool(s: Scene) -> None:
    with multiprocessing.get_context("fork").Pool(1) as pool:
        pool.apply(_remove, (str(s.notes),))


@vector("pychild")
def process_pool_executor_spawn(s: Scene) -> None:
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        pool.submit(os.remove, str(s.notes)).result()


@vector("pychild")
def runpy_script_in_process(s: Scene) -> None:
    (s.tmp / "script.py").write_text(f"import os; os.remove({str(s.notes)!r})")
    runpy.run_path(str(s.tmp / "script.py"), run_name="__main__")


@vector("pychild")
def exec_of_source(s: Scene) -> None:
    exec(compile(f"open({str(s.notes)!r}, 'w').close()", "<anywhere>", "exec"), {})


@vector("pychild")
def pytest_child_basetemp(s: Scene) -> None:
    (s.tmp / "test_inner.py").write_text("def test_inner(tmp_path): pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        f"--basetemp={s.prot}",
        str(s.tmp / "test_inner.py"),
    ]
    subprocess.run(command, check=False, capture_output=True, cwd=s.tmp)
