"""The command line: one small file per command group.

Not here: work: a command reads its options and calls runs/, report/ or serve/.
"""
