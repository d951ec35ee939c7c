"""Public accidents in which a test run destroyed what it had not made, each as a runnable case.

``incident`` has the words, ``families/`` the cases, ``scene`` the throw-away world that a case plays in, ``plays`` one run of a case,
``outcomes`` what was measured (``outcomes.json``), ``table`` the page made from it (``docs/incidents.md``).
"""
