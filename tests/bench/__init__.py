"""How fast the panel is, each figure beside a peer or a limit measured in the same run.

`make bench` (or `python -m tests.bench`) prints one table and writes
var/bench.json; `python -m tests.bench pages live` measures some parts only.
"""
