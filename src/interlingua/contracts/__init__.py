"""What every method is composed of: batches, and the contracts of backbones, texts, aligners, rankers and fusions.

Not here: methods, files, loops.

Glossary:

- *Backbone*: a collaborative-filtering model. *Text encoder*: makes vectors of texts. *Aligner*: joins the two spaces.
  *Ranker*: a language model that ranks. *Fusion*: joins the scores of several. Each is a *component*, and a section.
- *Recipe*: sections with options. *Stage*: prepare, embed, train, align, rank, fuse, evaluate; a folder with a card.
  *Run*: all stages of a recipe. *Key*: hash of what made a stage; *fingerprint*: of what its options name.
- *Scorer*: whatever scores items for queries. *Towers*: the vectors whose products are its scores. *Query*: a user and
  a history. *Target*: a held-out item. *Candidates*: the items among which it is ranked, or that a retriever found.
- *Warm*, *cold*, *unseen* items: with many, few, no training events. *Learned*: a vector that training has moved.
- *Joint vectors*: of items in the space of aligner and texts; *items_from_text*: the same made from texts alone.
- *Slot*: a kind of place in a prompt. *Soft token*: a vector in a prompt. *Adapter*: what tuning adds to a model.
- *Protocol*: who is ranked against what. *Slice*: part of the targets. *Part*: train, valid or test of a split.

Shape key of all contracts: U users, I items, B rows of a batch, L positions of a history, C candidates, D backbone
width, T text width. Item and user *indices* are positions in :class:`interlingua.data.interactions.Interactions`;
external ids never enter a batch. The index ``PAD`` (-1) stands for "no item" in a padded history.
"""
