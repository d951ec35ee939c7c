"""Acting when nobody looks any more: threads, timers, signals, finalizers, exit handlers, a process that ends early."""

from __future__ import annotations

import asyncio
import atexit
import codecs
import concurrent.futures
import contextvars
import gc
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Iterator

from ..vector import Scene, vector


def _write(path: str, delay_s: float = 0.0) -> None:
    time.sleep(delay_s)
    with open(path, "w") as stream:
        stream.write("gone")


class _RemovesWhenCollected:
    """Removes a file as it dies. It holds the function itself: at interpreter exit module globals are gone."""

    def __init__(self, path: object) -> None:
        self.path, self.remove = str(path), os.remove

    def __del__(self) -> None:
        self.remove(self.path)


@vector("later")
def atexit_write(s: Scene) -> None:
    atexit.register(_write, str(s.notes))


@vector("later")
def atexit_remove_swallowed(s: Scene) -> None:
    def clean_up() -> None:
        try:
            os.remove(s.notes)
        except OSError:
            return

    atexit.register(clean_up)


@vector("later")
def atexit_shell(s: Scene) -> None:
    atexit.register(os.system, f"rm '{s.notes}' 2> /dev/null")


@vector("later")
def threading_register_atexit(s: Scene) -> None:
    threading._register_atexit(os.remove, str(s.notes))  # type: ignore[attr-defined]


@vector("later")
def weakref_finalize_at_exit(s: Scene) -> None:
    sys.modules["vector_keeps_alive"] = holder = type(sys)("holder")
    weakref.finalize(holder, os.remove, str(s.notes))


@vector("later")
def thread_write(s: Scene) -> None:
    thread = threading.Thread(target=_write, args=(str(s.notes),))
    thread.start()
    thread.join()


@vector("later")
def thread_daemon_after_test(s: Scene) -> None:
    threading.Thread(target=_write, args=(str(s.notes), 0.1), daemon=True).start()
    atexit.register(time.sleep, 0.3)


@vector("later")
def thread_outlives_session(s: Scene) -> None:
    threading.Thread(target=_write, args=(str(s.notes), 0.6)).start()


@vector("later")
def thread_timer(s: Scene) -> None:
    threading.Timer(0.3, os.remove, [str(s.notes)]).start()


@vector("later")
def thread_pool_executor(s: Scene) -> None:
    with concurrent.futures.ThreadPoolExecutor() as pool:
        pool.submit(os.remove, str(s.notes))


@vector("later")
def thread_pool_executor_left_running(s: Scene) -> None:
    pool = concurrent.futures.ThreadPoolExecutor()
    pool.submit(_write, str(s.notes), 0.4)


@vector("later")
def asyncio_to_thread(s: Scene) -> None:
    asyncio.run(asyncio.to_thread(os.remove, str(s.notes)))


@vector("later")
def asyncio_task_exception_lost(s: Scene) -> None:
    async def main() -> None:
        async def task() -> None:
            os.remove(s.notes)

        s.held["task"] = asyncio.ensure_future(task())
        await asyncio.sleep(0.01)

    asyncio.run(main())


@vector("later")
def context_run_remove(s: Scene) -> None:
    contextvars.Context().run(os.remove, str(s.notes))


@vector("later")
def signal_handler_write(s: Scene) -> None:
    previous = signal.signal(signal.SIGUSR1, lambda *_: _write(str(s.notes)))
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, previous)


@vector("later")
def signal_alarm_during_other_calls(s: Scene) -> None:
    previous = signal.signal(signal.SIGALRM, lambda *_: os.remove(s.notes))
    signal.setitimer(signal.ITIMER_REAL, 0.005)
    try:
        until = time.monotonic() + 0.1
        while time.monotonic() < until:
            with open(s.tmp / "busy", "w"):
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


@vector("later")
def del_on_garbage_collection(s: Scene) -> None:
    holder = _RemovesWhenCollected(s.notes)
    del holder
    gc.collect()


@vector("later")
def del_in_reference_cycle_at_exit(s: Scene) -> None:
    gc.disable()
    first, second = _RemovesWhenCollected(s.notes), [object()]
    first.cycle = second  # type: ignore[attr-defined]
    second.append(first)


@vector("later")
def del_at_exit_module_global(s: Scene) -> None:
    globals()["_kept"] = _RemovesWhenCollected(s.notes)


@vector("later")
def del_at_exit_builtins(s: Scene) -> None:
    import builtins

    builtins.vector_kept = _RemovesWhenCollected(s.notes)  # type: ignore[attr-defined]


@vector("later")
def del_at_exit_sys_attribute(s: Scene) -> None:
    sys.vector_kept = _RemovesWhenCollected(s.notes)  # type: ignore[attr-defined]


@vector("later")
def del_at_exit_codec_registry(s: Scene) -> None:
    holder = _RemovesWhenCollected(s.notes)

    def search(name: str, kept: object = holder) -> None:
        return None

    codecs.register(search)


@vector("later")
def del_of_second_audit_hook(s: Scene) -> None:
    holder = _RemovesWhenCollected(s.notes)

    def hook(event: str, arguments: object, kept: object = holder) -> None:
        return None

    sys.addaudithook(hook)


@vector("later")
def generator_finally(s: Scene) -> None:
    def generator() -> Iterator[int]:
        try:
            yield 1
        finally:
            os.remove(s.notes)

    next(generator())


@vector("later")
def except_hook_writes(s: Scene) -> None:
    threading.excepthook = lambda _: os.remove(s.notes)
    thread = threading.Thread(target=lambda: 1 / 0)
    thread.start()
    thread.join()


@vector("later")
def unraisable_hook_writes(s: Scene) -> None:
    class Fails:
        def __del__(self) -> None:
            raise ValueError

    previous = sys.unraisablehook
    sys.unraisablehook = lambda _: os.remove(s.notes)
    try:
        Fails()
    finally:
        sys.unraisablehook = previous


@vector("later")
def retry_loop(s: Scene) -> None:
    for _ in range(20):
        try:
            os.remove(s.notes)
            break
        except OSError:
            time.sleep(0.001)


@vector("later")
def os_exit_after_remove(s: Scene) -> None:
    try:
        os.remove(s.notes)
    finally:
        os._exit(0)


@vector("later")
def os_exit_after_shell_remove(s: Scene) -> None:
    os.system(f"rm '{s.notes}' 2> /dev/null")
    os._exit(0)


@vector("later")
def killed_after_remove(s: Scene) -> None:
    try:
        os.remove(s.notes)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)


@vector("later")
def killed_after_shell_remove(s: Scene) -> None:
    os.system(f"rm '{s.notes}' 2> /dev/null")
    os.kill(os.getpid(), signal.SIGKILL)


@vector("later")
def execv_true_after_remove(s: Scene) -> None:
    try:
        os.remove(s.notes)
    finally:
        os.execv("/bin/true", ["true"])


@vector("later")
def execv_true_after_shell_remove(s: Scene) -> None:
    os.system(f"rm '{s.notes}' 2> /dev/null")
    os.execv("/bin/true", ["true"])


@vector("later")
def sys_exit_after_remove(s: Scene) -> None:
    try:
        os.remove(s.notes)
    finally:
        atexit.register(os._exit, 0)


@vector("later")
def segmentation_fault_after_remove(s: Scene) -> None:
    try:
        os.remove(s.notes)
    finally:
        os.kill(os.getpid(), signal.SIGSEGV)
