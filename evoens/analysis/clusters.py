"""The part on clusters: t-SNE of what each network answers, coloured by class, prediction and error (fig. 7.2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from sklearn.manifold import TSNE
from torch import Tensor

from evoens.analysis import figures
from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import Subject
from evoens.scoring.calibration import log_probabilities
from evoens.settings.diversity import ClusterSettings

SHOWN = 4  # networks beside each other: more would not be legible


class Clusters(Part):
    """Each network's own map of the same inputs, side by side (dissertation 7.2.1).

    Args:
        subject: what is looked at; the parent and the first members are shown.
        settings: on how many inputs.
    """

    name, title = "clusters", "How the members see the classes"

    def __init__(self, subject: Subject, settings: ClusterSettings) -> None:
        self.subject = subject
        self.frames, self.labels = subject.pictured.examples(settings.inputs)
        self.names = subject.all_names[:SHOWN]
        self.steps = len(self.names)
        self.cost = f"t-SNE of {len(self.frames):,} inputs for {self.steps} networks"

    def step(self, place: int) -> dict[str, Tensor]:
        """Lay out one network's log-probabilities in the plane."""
        outputs = self.subject.probabilities(self.subject.all_modules[place], self.frames)
        neighbours = min(30.0, (len(outputs) - 1) / 3)
        layout = TSNE(perplexity=neighbours, init="pca", random_state=self.subject.seed % 2**32)
        points = layout.fit_transform(log_probabilities(outputs).float().numpy())
        return {"points": torch.from_numpy(points), "predicted": outputs.argmax(-1)}

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Draw the maps."""
        text = [
            f"t-SNE of the log-probabilities of {len(self.frames):,} inputs, each network by itself: near points are "
            "inputs that a network answers alike. Distances between clusters, and where a cluster lies, mean nothing."
        ]
        points = [row["points"].numpy() for row in kept]
        predicted = [row["predicted"].numpy() for row in kept]
        labels = None if self.labels is None else self.labels.numpy()
        figure = figures.clusters(points, predicted, labels, self.names)
        found = {"inputs": len(self.frames), "networks": list(self.names)}
        words = "Clusters of inputs, a column for each network: by class, by prediction, and the errors."
        return Finding(text, found, pictures=[Shown("clusters.png", figure, words)])
