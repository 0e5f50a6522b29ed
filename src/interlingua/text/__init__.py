"""Item and user texts as vectors: one encoder per file."""
