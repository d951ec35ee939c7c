"""System calls, one family a file; knows no policy."""
