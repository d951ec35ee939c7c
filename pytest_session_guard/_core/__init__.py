"""The part that decides: no I/O, no clock, no environment, no threads."""
