"""The metrics of each epoch, one row of history.csv, and the decisions that depend on them.

`loss` is the configured training loss per tile. `validation_loss` is the mean log loss per pixel on the held-out tiles.
"""

from __future__ import annotations

import csv
import io

from tgs_salt.training.evaluate import EvaluationResult

Row = dict[str, float]


class History:
    """The rows so far, first epoch first; a resumed training run starts with those of its checkpoint."""

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows = rows or []

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def last(self) -> Row:
        """The row of the last epoch."""
        return self.rows[-1]

    def add(self, lr: float, loss: float, result: EvaluationResult) -> None:
        """Append an epoch: its learning rate at the start, its mean training loss per tile, its held-out metrics."""
        row = {
            "epoch": len(self.rows) + 1, "learning_rate": lr, "loss": loss,
            "score": result.score, "validation_loss": result.loss, "accuracy": result.accuracy,
        }  # fmt: skip
        self.rows.append(row)

    def last_is_best(self, keep_weights: str) -> bool:
        """Return whether the last epoch is the best one by the setting `keep_weights`; a tie counts as best."""
        if keep_weights == "best_score":
            return self.last["score"] >= max(row["score"] for row in self.rows)
        if keep_weights == "best_loss":
            return self.last["validation_loss"] <= min(row["validation_loss"] for row in self.rows)
        return False

    def should_stop(self, patience: int | None) -> bool:
        """Return whether the last `patience` epochs brought no lower validation loss; False if it is None."""
        losses = [row["validation_loss"] for row in self.rows]
        return bool(losses and patience and len(losses) - 1 - losses.index(min(losses)) >= patience)

    def to_csv(self) -> str:
        """Return the text of history.csv."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return buffer.getvalue()
