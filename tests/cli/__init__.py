"""The session-guard command, run as people run it."""
