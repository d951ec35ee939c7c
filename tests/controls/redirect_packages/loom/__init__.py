"""A small application with a store below ``~/.loom``; each module copies a path in a way of its own."""
