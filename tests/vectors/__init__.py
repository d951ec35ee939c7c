"""Ways to hurt a file, each tried in a process of its own against a scratch home.

``vector`` has the words, ``catalogue`` the ways, ``scene`` the scratch home, ``snapshot`` the outside view,
``runner`` one try, ``pool`` many of them, ``expected`` the reviewed verdicts.
"""
