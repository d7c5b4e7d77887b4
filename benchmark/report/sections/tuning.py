"""The learning rates of a matrix that gives several: what each of them reached, and which was chosen."""

from __future__ import annotations

from benchmark.analysis.results import Results
from benchmark.records.choice import Choice, TriedRate
from benchmark.report.tables import place, table_of
from benchmark.report.text import percent
from benchmark.words import count


def learning_rates(results: Results) -> str:
    """Return the choice of each group of runs as Markdown, empty where the matrix gives one learning rate."""
    choices = results.plan.choices
    if not choices:
        return ""
    rows = [_row(results, choice) for choice in choices]
    seeds = ", ".join(str(seed) for seed in results.matrix.tune_seeds)
    text = (
        "One learning rate is chosen for each row, for all input modes together: the one of the best mean validation "
        "accuracy (in percent, here; ties: the lower validation loss, then the smaller rate) of tuning runs with seeds "
        f"of their own ({seeds}). They saw no test image, and no other table or figure has them. Bold: the rate of the "
        "reported runs."
    )
    ends = sum(choice.lr in (choice.tried[0].lr, choice.tried[-1].lr) for choice in choices)
    if ends:
        text += f" In {ends} of {count(len(choices), 'row')} it is at an end of the list: a better one may lie beyond."
    return f"{text} More columns: [tuning.csv](tuning.csv).\n\n{table_of(rows, right=len(choices[0].tried))}"


def _row(results: Results, choice: Choice) -> dict[str, str]:
    group = choice.group
    fold = {} if group.fold is None else {"fold": str(group.fold)}
    names = place(results, group.dataset, group.setup, policy=group.policy, **fold)
    return names | {f"{tried.lr:g}": _reached(tried, chosen=tried.lr == choice.lr) for tried in choice.tried}


def _reached(tried: TriedRate, *, chosen: bool) -> str:
    text = "" if tried.accuracy is None else percent(tried.accuracy)
    if tried.diverged:
        text = f"{tried.diverged} of {tried.asked} diverged"
    elif tried.done < tried.asked:
        text = f"{text} ({tried.done} of {tried.asked} done)".lstrip()
    return f"**{text}**" if chosen else text
