"""What a model is measured by, on NumPy alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from agentloop.contracts.models import Task

Floats = npt.NDArray[np.floating]
Labels = npt.NDArray[np.int64]


def measure(task: Task, scores: Floats, targets: npt.NDArray[np.generic]) -> dict[str, float]:
    """All metrics of a task.

    ``scores``: (rows, classes) probabilities with ``targets`` int64 (rows,) class positions, or
    (rows, 1) values with ``targets`` float (rows,) for regression. A metric that the rows do not
    define (one class among them, say) is left out.
    """
    if task == "regression":
        return regression_metrics(scores.reshape(-1), targets.astype(np.float64))
    return classification_metrics(scores, targets.astype(np.int64))


def classification_metrics(scores: Floats, labels: Labels) -> dict[str, float]:
    """accuracy, f1 (macro), log_loss (nats) and roc_auc (binary, or macro one-vs-rest)."""
    predicted = scores.argmax(axis=1)
    found = {
        "accuracy": float((predicted == labels).mean()),
        "log_loss": log_loss(scores, labels),
        "f1": f1_macro(predicted, labels, scores.shape[1]),
    }
    area = roc_auc(scores, labels)
    return found if area is None else {**found, "roc_auc": area}


def regression_metrics(predicted: Floats, targets: Floats) -> dict[str, float]:
    """rmse and mae in the target's unit, and r2 (at most 1)."""
    errors = predicted - targets
    found = {
        "rmse": float(np.sqrt((errors**2).mean())),
        "mae": float(np.abs(errors).mean()),
    }
    spread = float(((targets - targets.mean()) ** 2).sum())
    return {**found, "r2": 1.0 - float((errors**2).sum()) / spread} if spread > 0 else found


def log_loss(scores: Floats, labels: Labels) -> float:
    """Mean negative log probability (nats) of the true class, clipped at 1e-7."""
    chosen = scores[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.clip(chosen, 1e-7, 1.0)).mean())


def f1_macro(predicted: Labels, labels: Labels, classes: int) -> float:
    """Mean F1 over the classes that are either true or predicted somewhere."""
    confusion = confusion_matrix(predicted, labels, classes)
    hits = np.diag(confusion).astype(np.float64)
    total = confusion.sum(axis=0) + confusion.sum(axis=1)
    present = total > 0
    return float((2 * hits[present] / total[present]).mean())


def confusion_matrix(predicted: Labels, labels: Labels, classes: int) -> Labels:
    """int64 (classes, classes): rows are true classes, columns predicted ones."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def roc_auc(scores: Floats, labels: Labels) -> float | None:
    """Area under the ROC curve; macro one-vs-rest beyond two classes; None if undefined."""
    positives = [1] if scores.shape[1] == 2 else range(scores.shape[1])
    areas = [_binary_auc(scores[:, k], labels == k) for k in positives]
    defined = [area for area in areas if area is not None]
    return float(np.mean(defined)) if defined else None


def _binary_auc(scores: Floats, positive: npt.NDArray[np.bool_]) -> float | None:
    """The Mann-Whitney statistic over mid-ranks (Hanley & McNeil 1982, eq. 1)."""
    hits, misses = int(positive.sum()), int((~positive).sum())
    if not hits or not misses:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    midranks = np.cumsum(counts) - (counts - 1) / 2
    rank_sum = float(midranks[inverse][positive].sum())
    return (rank_sum - hits * (hits + 1) / 2) / (hits * misses)
