"""What every method is composed of: batches, and the contracts of backbones, texts, aligners, scorers and scorers.

Not here: methods, files, loops.

Shape key of all contracts: U users, I items, B rows of a batch, L positions of a history, C candidates, D backbone
width, T text width. Item and user *rows* are positions in :class:`interlingua.data.interactions.Interactions`;
external ids never enter a batch. The row ``PAD`` (-1) stands for "no item" in a padded history.
"""
