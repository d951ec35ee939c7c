"""The store of a small chat application: sessions, an index, a state database and the history of every conversation.

Read ``paths`` (where things lie), ``models`` (what a session is), ``store`` (load and save), then what a save keeps up
to date: ``index``, ``state``, ``history``. ``recovery`` is what runs at start. ``files`` and ``locks`` are the floor.
"""
