"""Honest measurement: metrics, protocols, slices, comparisons, reports."""
