"""The histories that take longest, built before tests ask for them: ``python -m tests.histories``.

`scripts/test` does so on the core that type checking leaves idle. Whoever needs one that is not ready waits for it.
"""

from tests.grafana.simulated_prometheus import scenario
from tests.kept import prepared
from tests.labels.test_labels_replayed import build

if __name__ == "__main__":
    prepared("labels", build)
    for name in ("many", "articles"):
        prepared(name, scenario(name))
