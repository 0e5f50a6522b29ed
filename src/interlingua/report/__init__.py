"""What people look at: pages, charts, tables, the demo, methods side by side.

Not here: numbers that are not in a run (evaluate/, runs/).
"""
