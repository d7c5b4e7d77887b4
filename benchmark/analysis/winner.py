"""Which cell of a dataset to take: the winner that the report recommends and that ``predict --best`` uses."""

from __future__ import annotations

from benchmark.analysis.results import Cell, Results
from benchmark.matrix.input_modes import INPUT_MODES


def candidates(dataset: str, results: Results) -> list[Cell]:
    """Return the cells that a winner may come from, done or not, in the matrix's order.

    The grey modes: which of them to take is what this benchmark asks. Colour competes with them on a user's own
    folder, whose owner may choose it, and where a matrix shows the dataset in colour alone.
    """
    cells = [cell for key, cell in results.by_key.items() if key[0] == dataset]
    (entry,) = (entry for entry in results.matrix.datasets if entry.title == dataset)
    grey = [cell for cell in cells if INPUT_MODES[cell.key[1]].grey]
    return cells if entry.is_folder or not grey else grey


def winners(dataset: str, results: Results) -> list[Cell]:
    """Return the candidates of the highest mean validation accuracy: several at a tie, none where none is complete.

    Only cells with all their seeds compete. The choice is made on validation, so that the test accuracies that stand
    beside it are not flattered by it.
    """
    complete = [cell for cell in candidates(dataset, results) if cell.records and len(cell.seeds) == len(cell.asked)]
    means = {cell.key: cell.mean("validation.accuracy") or 0.0 for cell in complete}
    return [cell for cell in complete if means[cell.key] == max(means.values())]


def best_seed(cell: Cell) -> int:
    """Return the seed whose run has the highest validation accuracy; ties: lower validation loss, then smaller seed."""

    def order(seed: int) -> tuple[float, float, int]:
        scores = cell.records[seed].validation
        return -scores.accuracy, scores.log_loss, seed

    return min(cell.records, key=order)
