"""Modules of the standard library that write a file when asked for something else."""

from __future__ import annotations

import bz2
import compileall
import configparser
import contextlib
import cProfile
import csv
import email.generator
import email.message
import faulthandler
import fileinput
import gzip
import http.cookiejar
import importlib.machinery
import json
import logging
import logging.config
import logging.handlers
import lzma
import mailbox
import marshal
import pickle
import plistlib
import py_compile
import ssl
import sys
import trace
import tracemalloc
import urllib.request
import venv
import wave
import xml.dom.minidom
import xml.etree.ElementTree
import zipapp

from ..vector import Scene, vector


@vector("stdlib")
def json_dump_over(s: Scene) -> None:
    with open(s.prot / "session.json", "w") as stream:
        json.dump({}, stream)


@vector("stdlib")
def pickle_dump_over(s: Scene) -> None:
    with open(s.data, "wb") as stream:
        pickle.dump([], stream)


@vector("stdlib")
def marshal_dump_over(s: Scene) -> None:
    with open(s.data, "wb") as stream:
        marshal.dump([], stream)


@vector("stdlib")
def csv_append(s: Scene) -> None:
    with open(s.notes, "a", newline="") as stream:
        csv.writer(stream).writerow([1, 2])


@vector("stdlib")
def configparser_write(s: Scene) -> None:
    settings = configparser.ConfigParser()
    settings["a"] = {"b": "c"}
    with open(s.prot / "config.ini", "w") as stream:
        settings.write(stream)


@vector("stdlib")
def plistlib_dump(s: Scene) -> None:
    with open(s.prot / "new.plist", "wb") as stream:
        plistlib.dump({"a": 1}, stream)


@vector("stdlib")
def gzip_open_w(s: Scene) -> None:
    with gzip.open(s.notes, "w") as stream:
        stream.write(b"gone")


@vector("stdlib")
def bz2_open_w(s: Scene) -> None:
    with bz2.open(s.notes, "w") as stream:
        stream.write(b"gone")


@vector("stdlib")
def lzma_open_w(s: Scene) -> None:
    with lzma.open(s.notes, "w") as stream:
        stream.write(b"gone")


@vector("stdlib")
def xml_etree_write(s: Scene) -> None:
    xml.etree.ElementTree.ElementTree(xml.etree.ElementTree.Element("gone")).write(s.notes)


@vector("stdlib")
def xml_minidom_writexml(s: Scene) -> None:
    with open(s.notes, "w") as stream:
        xml.dom.minidom.parseString("<gone/>").writexml(stream)


@vector("stdlib")
def wave_open(s: Scene) -> None:
    with wave.open(str(s.prot / "new.wav"), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\0" * 8)


@vector("stdlib")
def mailbox_mbox_add(s: Scene) -> None:
    box = mailbox.mbox(s.prot / "mbox")
    box.add("Subject: x\n\ny")
    box.close()


@vector("stdlib")
def mailbox_maildir_create(s: Scene) -> None:
    mailbox.Maildir(s.prot / "Maildir").add("Subject: x\n\ny")


@vector("stdlib")
def email_generator_flatten(s: Scene) -> None:
    with open(s.notes, "w") as stream:
        email.generator.Generator(stream).flatten(email.message.Message())


@vector("stdlib")
def cookiejar_save(s: Scene) -> None:
    http.cookiejar.MozillaCookieJar().save(str(s.notes))


@vector("stdlib")
def urlretrieve_file_url(s: Scene) -> None:
    (s.tmp / "page").write_text("foreign")
    urllib.request.urlretrieve((s.tmp / "page").as_uri(), s.notes)


@vector("stdlib")
def fileinput_inplace(s: Scene) -> None:
    with fileinput.input(s.notes, inplace=True) as lines:
        for _ in lines:
            print("gone")


@vector("stdlib")
def fileinput_inplace_backup(s: Scene) -> None:
    with fileinput.input(s.notes, inplace=True, backup=".bak") as lines:
        for line in lines:
            print(line.upper(), end="")


@vector("stdlib")
def redirect_stdout_to_file(s: Scene) -> None:
    with open(s.notes, "a") as stream, contextlib.redirect_stdout(stream):
        print("more")


@vector("stdlib")
def py_compile_script(s: Scene) -> None:
    py_compile.compile(str(s.prot / "tool.py"), cfile=str(s.prot / "tool.bin"))


@vector("stdlib")
def compileall_legacy(s: Scene) -> None:
    compileall.compile_dir(s.prot, quiet=2, legacy=True)


@vector("stdlib")
def zipapp_create(s: Scene) -> None:
    (s.tmp / "app").mkdir()
    (s.tmp / "app" / "__main__.py").write_text("")
    zipapp.create_archive(s.tmp / "app", s.prot / "app.pyz")


@vector("stdlib")
def importlib_loader_set_data(s: Scene) -> None:
    loader = importlib.machinery.SourceFileLoader("tool", str(s.prot / "tool.py"))
    loader.set_data(str(s.notes), b"gone")


@vector("stdlib")
def cprofile_dump_stats(s: Scene) -> None:
    profile = cProfile.Profile()
    profile.runcall(len, "")
    profile.dump_stats(str(s.prot / "profile"))


@vector("stdlib")
def trace_write_results(s: Scene) -> None:
    tracer = trace.Trace(count=True, trace=False, outfile=str(s.prot / "counts"))
    tracer.runfunc(len, "")
    tracer.results().write_results(coverdir=str(s.prot))


@vector("stdlib")
def tracemalloc_dump(s: Scene) -> None:
    tracemalloc.start()
    tracemalloc.take_snapshot().dump(str(s.prot / "snapshot"))


@vector("stdlib")
def faulthandler_dump_traceback(s: Scene) -> None:
    with open(s.notes, "a") as stream:
        faulthandler.dump_traceback(stream)


@vector("stdlib")
def ssl_keylog_filename(s: Scene) -> None:
    ssl.create_default_context().keylog_filename = str(s.prot / "keys.log")


@vector("stdlib", needs=("readline",))
def readline_write_history(s: Scene) -> None:
    import readline

    readline.add_history("secret")
    readline.write_history_file(str(s.prot / "history"))


@vector("stdlib", needs=("readline",))
def readline_write_history_over(s: Scene) -> None:
    import readline

    readline.clear_history()
    readline.write_history_file(str(s.notes))


@vector("stdlib", needs=("readline",))
def readline_append_history(s: Scene) -> None:
    import readline

    readline.add_history("secret")
    readline.append_history_file(1, str(s.notes))


@vector("stdlib")
def venv_create(s: Scene) -> None:
    venv.create(s.prot / "env", symlinks=True)


@vector("stdlib")
def venv_create_clear(s: Scene) -> None:
    venv.EnvBuilder(clear=True, symlinks=True).create(s.prot)


@vector("stdlib")
def import_writes_pyc(s: Scene) -> None:
    sys.dont_write_bytecode = False
    sys.pycache_prefix = str(s.prot / "bytecode")
    (s.tmp / "fresh_module.py").write_text("x = 1")
    sys.path.insert(0, str(s.tmp))
    importlib.import_module("fresh_module")


@vector("logging")
def logging_file_handler(s: Scene) -> None:
    handler = logging.FileHandler(s.prot / "app.log")
    handler.emit(logging.makeLogRecord({"msg": "noise"}))


@vector("logging")
def logging_file_handler_w(s: Scene) -> None:
    logging.FileHandler(s.prot / "app.log", mode="w").close()


@vector("logging")
def logging_file_handler_delayed(s: Scene) -> None:
    logger = logging.getLogger("delayed")
    logger.addHandler(logging.FileHandler(s.prot / "app.log", delay=True))
    logging.raiseExceptions = False
    logger.error("noise")


@vector("logging")
def logging_watched_file_handler(s: Scene) -> None:
    logging.handlers.WatchedFileHandler(s.prot / "app.log").emit(logging.makeLogRecord({"msg": "noise"}))


@vector("logging")
def logging_rotating_rollover(s: Scene) -> None:
    handler = logging.handlers.RotatingFileHandler(s.prot / "app.log", maxBytes=1, backupCount=2, delay=True)
    handler.doRollover()


@vector("logging")
def logging_timed_rotating_rollover(s: Scene) -> None:
    handler = logging.handlers.TimedRotatingFileHandler(s.prot / "app.log", "S", delay=True)
    handler.rolloverAt = 1
    handler.doRollover()


@vector("logging")
def logging_dict_config(s: Scene) -> None:
    to_file = {"class": "logging.FileHandler", "filename": str(s.prot / "new.log")}
    logging.config.dictConfig({"version": 1, "handlers": {"f": to_file}, "root": {"handlers": ["f"]}})


@vector("logging")
def logging_basic_config(s: Scene) -> None:
    logging.basicConfig(filename=s.prot / "app.log", force=True)
    logging.error("noise")


@vector("logging")
def logging_memory_handler_at_shutdown(s: Scene) -> None:
    target = logging.FileHandler(s.prot / "app.log", delay=True)
    logging.raiseExceptions = False
    logger = logging.getLogger("buffered")
    logger.addHandler(logging.handlers.MemoryHandler(1000, target=target))
    logger.error("noise")
