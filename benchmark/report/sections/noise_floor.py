"""The noise floor: what last bits alone change."""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.analysis.noise_floor import NoisePair, rms
from benchmark.report.text import escape, format_value, percent, table
from benchmark.words import count

NOTE = (
    "Pairs of runs of one seed that are the same function by construction, computed along different paths: their "
    "differences are what rounding alone makes of a run. A difference between two single runs that is not larger says "
    "nothing. About 95 % of the intervals should hold zero."
)


def noise_floor_table(pairs: Sequence[NoisePair]) -> str:
    """Return the note and a table with one row per policy, as Markdown; empty without pairs."""
    if not pairs:
        return ""
    rows = []
    for policy in dict.fromkeys(pair.policy for pair in pairs):
        own = [pair for pair in pairs if pair.policy == policy]
        every = [value for pair in own for value in pair.differences]
        holding = [
            pair.interval.low is not None and pair.interval.low <= 0 <= (pair.interval.high or 0) for pair in own
        ]
        spread = (format_value(end, 0.01, 1, sign=True) for end in (min(every), max(every)))
        rows.append([escape(policy), str(len(every)), percent(rms(own)), *spread, f"{sum(holding)} of {len(own)}"])
    header = ["policy", "pairs of runs", "rms (points)", "lowest", "highest", "intervals that hold zero"]
    summary = f"In all {count(len(pairs), 'pair')} of cells: rms {percent(rms(pairs))} points."
    return f"{NOTE}\n\n{table(header, rows)}\n\n{summary}"
