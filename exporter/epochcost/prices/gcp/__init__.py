"""Prices of Google Cloud."""
