"""Grams of CO2 equivalent that the grid of a cloud's region emits for a kWh: a dated list, with its source.

Only what the provider publishes for its own regions is here. A region of another provider near by is another grid, or
another method: it is not known.
"""

from __future__ import annotations

from collections.abc import Mapping

from epochcost.model import Node

GOOGLE_2024: Mapping[str, float] = {
    "africa-south1": 656.85,
    "asia-east1": 439.29,
    "asia-east2": 505.02,
    "asia-northeast1": 452.85,
    "asia-northeast2": 296.19,
    "asia-northeast3": 356.57,
    "asia-south1": 678.76,
    "asia-south2": 531.83,
    "asia-southeast1": 366.85,
    "asia-southeast2": 560.55,
    "australia-southeast1": 497.5,
    "australia-southeast2": 454.37,
    "europe-central2": 642.88,
    "europe-north1": 39.32,
    "europe-north2": 2.73,
    "europe-southwest1": 89.04,
    "europe-west1": 103.37,
    "europe-west2": 105.94,
    "europe-west3": 275.82,
    "europe-west4": 208.81,
    "europe-west6": 15.05,
    "europe-west8": 201.69,
    "europe-west9": 16.3,
    "europe-west10": 275.82,
    "europe-west12": 201.69,
    "me-central2": 382.23,
    "me-west1": 433.75,
    "northamerica-northeast1": 5.48,
    "northamerica-northeast2": 58.56,
    "northamerica-south1": 305.0,
    "southamerica-east1": 67.32,
    "southamerica-west1": 238.0,
    "us-central1": 412.72,
    "us-east1": 575.77,
    "us-east2": 340.42,
    "us-east4": 323.05,
    "us-south1": 302.95,
    "us-west1": 79.23,
    "us-west2": 169.28,
    "us-west3": 555.17,
    "us-west4": 357.3,
}
"""Mean of 2024, operational gross emissions of the local grid, from Google's ``region-carbon-info``: its file
``data/yearly/2024.csv`` as of 2025-07-28."""
SOURCE = "google-2024"


def listed_intensity(node: Node) -> tuple[float, str] | None:
    """Grams for a kWh where ``node`` is, and their source; None if the list does not have it."""
    grams = GOOGLE_2024.get(node.region) if node.provider == "gcp" else None
    return None if grams is None else (grams, SOURCE)
