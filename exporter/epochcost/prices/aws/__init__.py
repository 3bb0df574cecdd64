"""Prices of Amazon Web Services."""
