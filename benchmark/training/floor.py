"""Computation of floor rows: simple methods of scikit-learn on grey thumbnails. Torch is not imported.

Each thumbnail is standardised to mean 0 and standard deviation 1, so that brightness and contrast do not matter.
Nearest neighbours of plain pixels are images of the same brightness (on rps, 36 instead of 63 % of the test images are
right).
"""

from __future__ import annotations

import importlib
import platform
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from benchmark import environment
from benchmark.data.dataset import PreparedDataset, Split
from benchmark.data.load import load_thumbnails
from benchmark.records.floor import FloorEnvironment, FloorRow, FloorScores, FloorSpec, Method
from benchmark.records.record import PredictionTable
from benchmark.training.context import now

if TYPE_CHECKING:
    from sklearn.base import ClassifierMixin

INVERSE_PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Candidates for C of logistic regression, which minimises |weights|² / 2C + sum of log losses."""

TOLERANCE = 1e-6
"""Convergence of logistic regression: largest component of the gradient of the mean loss."""

MOST_ITERATIONS = 20_000
"""Maximum number of iterations (L-BFGS); reaching it is an error."""

PACKAGES = ("scikit-learn", "scipy", "numpy", "pillow")
"""Libraries that affect the scores."""

MODULES = ("sklearn.dummy", "sklearn.linear_model", "sklearn.metrics", "sklearn.neighbors")

STEP = 2.0**-10
"""Rounding step of standardised pixels. In 24 x 24 pixels, values are at most 24 and sums of products are exact."""

LEAST_PROBABILITY = 2.0**-126
"""Smallest probability in a log loss: the smallest normal float32, since predictions are stored as float32."""

Floats: TypeAlias = NDArray[np.float64]
Labels: TypeAlias = NDArray[np.int64]


class FittedModel(NamedTuple):
    """A fitted method.

    Attributes:
        model: classifier of standardised images with ``predict`` and ``predict_proba``.
        hyperparameters: values by name.
        gives_probabilities: whether ``predict_proba`` returns probabilities rather than votes.
    """

    model: ClassifierMixin
    hyperparameters: Mapping[str, float]
    gives_probabilities: bool


Fit: TypeAlias = Callable[[Floats, Labels, Callable[[FittedModel], FloorScores]], FittedModel]
"""Function of the standardised training images, their labels, and a function that scores on validation."""


def load_floor_images(spec: FloorSpec, data_dir: Path | None) -> PreparedDataset:
    """Return the thumbnails of a row with their splits; rows with equal `FloorSpec.images` share them."""
    return load_thumbnails(
        spec.source,
        split_seed=spec.split_seed,
        data_dir=data_dir,
        evaluation=spec.evaluation,
        seed=spec.fold or 0,
        on_bad_image=spec.on_bad_image,
        on_leak=spec.on_leak,
    )


def compute_row(spec: FloorSpec, data: PreparedDataset) -> tuple[FloorRow, PredictionTable]:
    """Fit a row's method to the training images and score it on the validation and test splits.

    With one thread, a fixed order of images and exact distances, the result is the same on every machine except for the
    last bits of logistic regression.

    Raises:
        sklearn.exceptions.ConvergenceWarning: logistic regression did not converge.
    """
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    for name in MODULES:
        importlib.import_module(name)  # the thread limit only applies to loaded libraries
    started = time.perf_counter()
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)

        def predict(fitted: FittedModel, split: Split) -> tuple[Labels, Floats]:
            return _predict(fitted, standardise(data.images[split.rows]), len(data.classes))

        def on_validation(fitted: FittedModel) -> FloorScores:
            return score(data.validation.labels, *predict(fitted, data.validation))

        fitted = _FITS[spec.method](standardise(data.images[data.train.rows]), data.train.labels, on_validation)
        predicted, probabilities = predict(fitted, data.test)
        validation, test = on_validation(fitted), score(data.test.labels, predicted, probabilities)
    row = FloorRow(
        id=spec.id,
        spec=spec,
        hyperparameters=fitted.hyperparameters,
        fingerprint=data.fingerprint,
        classes=data.classes,
        train_images=len(data.train),
        validation_images=len(data.validation),
        test_images=len(data.test),
        validation=validation,
        test=test,
        seconds=time.perf_counter() - started,
        finished_at=now(),
        environment=FloorEnvironment(
            python=platform.python_version(),
            packages={name: metadata.version(name) for name in PACKAGES},
            platform=f"{platform.system()} {platform.machine()}",
            cpu=environment.cpu_name(),
            variables=environment.chosen_instructions(),
        ),
    )
    return row, PredictionTable(data.test.image_ids, data.test.labels, predicted, probabilities)


def score(labels: Labels, predicted: Labels, probabilities: Floats) -> FloorScores:
    """Return the scores of one split; definitions as in `benchmark.records.record.SplitMetrics`.

    Args:
        labels, predicted: int64, shape (n,).
        probabilities: shape (n, classes), or (n, 0) without probabilities.
    """
    from sklearn.metrics import f1_score, recall_score, roc_auc_score

    log_loss = roc_auc = None
    if probabilities.shape[1]:
        given = np.maximum(probabilities[np.arange(len(labels)), labels], LEAST_PROBABILITY)
        log_loss = float(-np.log(given).mean())
        present = np.unique(labels)
        if len(present) > 1:
            roc_auc = float(np.mean([roc_auc_score(labels == k, probabilities[:, k]) for k in present]))
    return FloorScores(
        accuracy=int((predicted == labels).sum()) / len(labels),
        balanced_accuracy=float(recall_score(labels, predicted, labels=np.unique(labels), average="macro")),
        macro_f1=float(f1_score(labels, predicted, average="macro")),
        log_loss=log_loss,
        roc_auc=roc_auc,
    )


def standardise(images: NDArray[np.uint8]) -> Floats:
    """Standardise each image to mean 0 and standard deviation 1: float64, shape (n, pixels); constant images become 0.

    Values are multiples of `STEP`, so that sums of products, and hence distances, are exact in any order.

    Args:
        images: shape (n, side, side, 1).
    """
    pixels = images.reshape(len(images), -1).astype(np.int64)
    count = pixels.shape[1]
    centred = count * pixels - pixels.sum(axis=1, keepdims=True)  # times count, like the deviation: exact
    deviation = np.sqrt((centred**2).sum(axis=1, keepdims=True) / count)
    values = np.divide(centred, deviation, out=np.zeros(pixels.shape), where=deviation > 0)
    result: Floats = np.rint(values / STEP) * STEP
    return result


def _predict(fitted: FittedModel, images: Floats, classes: int) -> tuple[Labels, Floats]:
    """Return the predicted labels, and the probabilities of all classes, shape (n, classes), or (n, 0)."""
    probabilities = np.zeros((len(images), classes if fitted.gives_probabilities else 0))
    if fitted.gives_probabilities:
        probabilities[:, fitted.model.classes_] = fitted.model.predict_proba(images)
    return fitted.model.predict(images).astype(np.int64), probabilities


def _majority(train: Floats, labels: Labels, on_validation: Callable[[FittedModel], FloorScores]) -> FittedModel:
    """Fit the most frequent class, or the first of several; the probabilities are the class shares in training."""
    from sklearn.dummy import DummyClassifier

    return FittedModel(DummyClassifier(strategy="prior").fit(train, labels), {}, gives_probabilities=True)


def _nearest(number: int) -> Fit:
    """Return a fit of the vote of the nearest training images (Euclidean distance); ties go to the first class."""

    def fit(train: Floats, labels: Labels, on_validation: Callable[[FittedModel], FloorScores]) -> FittedModel:
        from sklearn.neighbors import KNeighborsClassifier

        neighbours = min(number, len(train))
        model = KNeighborsClassifier(neighbours, algorithm="brute", n_jobs=1).fit(train, labels)
        return FittedModel(model, {"neighbours": neighbours}, gives_probabilities=False)

    return fit


def _logistic(train: Floats, labels: Labels, on_validation: Callable[[FittedModel], FloorScores]) -> FittedModel:
    """Fit multinomial logistic regression with an L2 penalty; pixels are also standardised over the training images.

    C is chosen by validation accuracy; ties are broken by the lower validation log loss, then the smaller C.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def fit(c: float) -> FittedModel:
        regression = LogisticRegression(C=c, tol=TOLERANCE, max_iter=MOST_ITERATIONS, random_state=0)
        model = make_pipeline(StandardScaler(), regression).fit(train, labels)
        return FittedModel(model, {"C": c}, gives_probabilities=True)

    fits = [fit(c) for c in INVERSE_PENALTIES]
    scores = [on_validation(fitted) for fitted in fits]
    return fits[min(range(len(fits)), key=lambda k: (-scores[k].accuracy, scores[k].log_loss or 0.0))]


_FITS: Mapping[Method, Fit] = {
    "majority": _majority,
    "1-nn": _nearest(1),
    "5-nn": _nearest(5),
    "logistic": _logistic,
}
