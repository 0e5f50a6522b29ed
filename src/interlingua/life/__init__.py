"""The life of a model in service: versions, training again, the gate, drift, replay and interleaving.

Not here: HTTP (``serve/``), the tables that remember it (``store/``), and how a run is made (``runs/``).
"""
