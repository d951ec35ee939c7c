"""The plugin from outside: whole runs of pytest on scratch projects."""
