"""Reads the metrics of a response."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = dict[str, str]


class Samples:
    """The samples of a scrape, by name."""

    def __init__(self, text: str) -> None:
        self._samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def __add__(self, other: Samples) -> Samples:
        both = Samples("")
        both._samples = self._samples + other._samples
        return both

    @property
    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}

    def labels(self, name: str) -> list[Labels]:
        """The labels of every sample of this name."""
        return [sample.labels for sample in self._samples if sample.name == name]

    def values(self, name: str) -> dict[str, set[str]]:
        """The values of each label of the samples of this name."""
        found: dict[str, set[str]] = {}
        for labels in self.labels(name):
            for label, value in labels.items():
                found.setdefault(label, set()).add(value)
        return found

    def sum(self, name: str, **labels: str) -> float:
        """The sum of all samples with these labels, whatever others they have."""
        return sum(
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
