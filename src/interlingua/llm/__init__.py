"""Language models that read vectors: loading, prompts, injection, scoring, explanations."""
