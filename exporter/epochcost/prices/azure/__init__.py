"""Prices of Microsoft Azure."""
