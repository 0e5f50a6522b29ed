"""What can be measured: one metric per file, named by its file (``metrics/ndcg.py`` is ``ndcg@k``).

Not here: what a metric reads and how its name is parsed (``evaluate/judged.py``, ``evaluate/named.py``).
"""
