"""Interactions and item texts: readers, filters, splits and negative sampling."""
