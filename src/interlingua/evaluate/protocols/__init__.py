"""Who is ranked against what: one protocol per file, named by its file (``protocols/hr_100.py`` is ``hr-100``).

Not here: what a protocol is and how its name is parsed (``evaluate/rules.py``), or the ranking itself.
"""
