"""Ways to join the ID space with the text space: one file each."""
