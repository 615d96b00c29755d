# SPDX-License-Identifier: Apache-2.0
"""Figures that others published: shown beside ours, marked, and never among them."""

from pathlib import Path

from training.evaluation.tables import read_rows

PUBLISHED = Path(__file__).parents[1] / 'results' / 'published.csv'
PUBLISHED_COLUMNS = (
    'method', 'supervision', 'data', 'area', 'protocol', 'position_mean_m', 'position_median_m',
    'yaw_mean_deg', 'yaw_median_deg', 'lateral_recall_1m', 'longitudinal_recall_1m',
    'reliability', 'source', 'note',
)  # fmt: skip
# What the letters in the column `reliability` mean.
RELIABILITY = {
    'P': 'a table of a paper, often a later one than the method it is about',
    'R': "the README of the method's own code",
    'V': 'computed again from files that the authors released',
    'N': 'notes that others made about the paper: look it up before you build on it',
}


def published(path: Path = PUBLISHED) -> list[dict[str, str]]:
    """All rows.

    Raises:
        DataError: The file is damaged.
    """
    return read_rows(path, PUBLISHED_COLUMNS)


def comparable(reader: str, protocol: str, area: str) -> list[dict[str, str]]:
    """Published rows of the same benchmark, protocol and area.

    Args:
        reader: Name of the reader of ours, which is the benchmark's.
        protocol: Name of the protocol.
        area: 'same' or 'cross'.
    """
    wanted = (reader, protocol, area)
    return [row for row in published() if (row['data'], row['protocol'], row['area']) == wanted]
