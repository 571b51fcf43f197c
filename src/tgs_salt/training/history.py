"""What each epoch of a training came to: a row of history.csv, and what is decided by looking at the rows."""

from __future__ import annotations

import csv
import io

from tgs_salt.training.evaluate import Validation

Row = dict[str, float]


class History:
    """The rows so far, first epoch first. A training that goes on from a checkpoint begins with those in it."""

    def __init__(self, rows: list[Row] | None = None) -> None:
        self.rows = rows or []

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def last(self) -> Row:
        return self.rows[-1]

    def add(self, rate: float, loss: float, reached: Validation) -> None:
        """Note an epoch: its learning rate at the start, its mean loss a tile, and what it reached on the fold."""
        row = {
            "epoch": len(self.rows) + 1, "learning_rate": rate, "loss": loss,
            "score": reached.score, "validation_loss": reached.loss, "accuracy": reached.accuracy,
        }  # fmt: skip
        self.rows.append(row)

    def last_is_best(self, keep: str) -> bool:
        """Whether no epoch before was better, by the setting `keep`; of equals the later one counts."""
        if keep == "best_score":
            return self.last["score"] >= max(row["score"] for row in self.rows)
        if keep == "best_loss":
            return self.last["validation_loss"] <= min(row["validation_loss"] for row in self.rows)
        return False

    def stalled(self, patience: int | None) -> bool:
        """Whether `patience` epochs have passed without a lower validation loss; None: never."""
        losses = [row["validation_loss"] for row in self.rows]
        return bool(losses and patience and len(losses) - 1 - losses.index(min(losses)) >= patience)

    @property
    def text(self) -> str:
        """history.csv."""
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return buffer.getvalue()
