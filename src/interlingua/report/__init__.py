"""What people look at: pages, charts, tables, the demo, methods side by side.

Not here: no number that is not in a run.
"""
