"""The winning cell of a dataset: the report recommends it, and ``predict --best`` uses it."""

from __future__ import annotations

from benchmark.analysis.results import Cell, Results
from benchmark.matrix.input_modes import INPUT_MODES


def candidates(dataset: str, results: Results) -> list[Cell]:
    """Return the cells that compete, done or not, in the matrix's order.

    They are the grey ones: the benchmark asks which of those to use. Colour competes on a user's own folder, whose
    owner may choose it, and if the matrix has the dataset in colour only.
    """
    cells = [cell for key, cell in results.by_key.items() if key.dataset == dataset]
    grey = [cell for cell in cells if INPUT_MODES[cell.key.input_mode].grey]
    return cells if results.entry(dataset).is_folder or not grey else grey


def winners(dataset: str, results: Results) -> list[Cell]:
    """Return the candidates of the highest mean validation accuracy: several at a tie, none if none is complete.

    Only cells with all their seeds compete. The choice is made on validation, so that it does not bias test accuracies.
    """
    complete = [cell for cell in candidates(dataset, results) if cell.records and len(cell.seeds) == len(cell.asked)]
    means = {cell.key: cell.mean("validation.accuracy") or 0.0 for cell in complete}
    return [cell for cell in complete if means[cell.key] == max(means.values())]


def best_seed(cell: Cell) -> int:
    """Return the seed whose run has the highest validation accuracy; ties: lower validation loss, then smaller seed."""
    scores = {seed: record.validation for seed, record in cell.records.items()}
    return min(scores, key=lambda seed: (-scores[seed].accuracy, scores[seed].log_loss, seed))
