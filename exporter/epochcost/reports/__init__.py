"""What training cost, for any span of time, out of a store that speaks Prometheus' HTTP API; and: rent or own?

``prometheus`` sends queries, ``tracks`` reads series on a grid of time, ``history`` is what was read, ``money`` prices
it, ``rows`` makes the table, ``text`` and ``page`` show it.
"""
