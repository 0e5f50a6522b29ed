"""Prepared datasets as other libraries read them: one file for each library's form.

Not here: reading (``sources/``, ``files/``), our own folder (``prepared.py``), or vectors out of a run (``runs/``).
"""
