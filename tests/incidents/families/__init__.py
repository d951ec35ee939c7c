"""The cases, a module per way of going wrong; each module has a tuple ``INCIDENTS``."""
