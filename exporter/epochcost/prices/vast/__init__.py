"""Prices of vast.ai."""
