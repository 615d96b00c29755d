# SPDX-License-Identifier: Apache-2.0
"""A descriptor of a picture out of its local features: VLAD, with a vocabulary of the place.

References: Jegou et al., "Aggregating local image descriptors into compact codes", PAMI 2012,
sec. 3.3 (VLAD) and 3.4 (the power of a half); Jegou and Chum, "Negative evidences and
co-occurences in image retrieval", ECCV 2012 (local descriptors reduced by PCA first); Delhumeau et
al., "Revisiting the VLAD image representation", ACM MM 2013 (residuals of unit length).

Nothing is learned elsewhere: the vocabulary is made of the features of the map itself and is kept
in the map, so that a robot describes what it sees in the words of the place.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import MapError
from geoloc_core.features.base import AbstractGlobalDescriptor, Floats, LocalFeatures

KIND = 'vlad'
_WORDS = 64
_REDUCED = 64
# A word should stand on so many features at least; a map of few pictures gets fewer words.
_FEATURES_A_WORD = 40
_MAX_TRAINING = 60_000
_ROUNDS = 12
_TINY = np.float32(1e-12)


class Vlad(AbstractGlobalDescriptor):
    """Sums of how the features of a picture differ from the word next to each.

    Attributes:
        mean: (D,) float32, of the local descriptors.
        axes: (D, d) float32, the directions in which they vary most.
        words: (W, d) float32, the vocabulary.
    """

    kind = KIND

    def __init__(self, mean: NDArray, axes: NDArray, words: NDArray) -> None:
        """Takes a vocabulary.

        Raises:
            MapError: Shapes do not fit each other, or a number is not finite.
        """
        self.mean = np.asarray(mean, np.float32)
        self.axes = np.asarray(axes, np.float32)
        self.words = np.asarray(words, np.float32)
        fits = (
            self.mean.ndim == 1
            and self.axes.ndim == self.words.ndim == 2
            and len(self.mean) == len(self.axes)
            and self.axes.shape[1] == self.words.shape[1]
            and self.words.size > 0
        )
        if not fits or not all(np.isfinite(a).all() for a in (self.mean, self.axes, self.words)):
            raise MapError(
                f'vocabulary of shapes mean {self.mean.shape}, axes {self.axes.shape}, words '
                f'{self.words.shape}: expected finite (D,), (D, d), (W, d); build the map again'
            )
        self.size = int(self.words.size)

    @classmethod
    def trained(cls, descriptors: Sequence[Floats], seed: int = 0) -> 'Vlad':
        """Makes a vocabulary of the features of some pictures.

        Args:
            descriptors: (N_i, D) of each picture.
            seed: Of the draws; the same features and seed give the same vocabulary.

        Raises:
            MapError: There are too few features to make a word of.
        """
        rng = np.random.default_rng(seed)
        everything = np.concatenate([np.asarray(d, np.float32) for d in descriptors])
        if len(everything) > _MAX_TRAINING:
            everything = everything[rng.choice(len(everything), _MAX_TRAINING, replace=False)]
        if len(everything) < _FEATURES_A_WORD:
            raise MapError(
                f'{len(everything)} features in all pictures together are too few to tell places '
                'apart: are the pictures dark, blurred or empty?'
            )
        mean = everything.mean(axis=0)
        centred = everything - mean
        _, vectors = np.linalg.eigh(centred.T @ centred)
        axes = np.ascontiguousarray(vectors[:, ::-1][:, :_REDUCED])
        count = int(np.clip(len(everything) // _FEATURES_A_WORD, 1, _WORDS))
        return cls(mean, axes, k_means(centred @ axes, count, rng))

    def describe(self, image: NDArray[np.uint8] | None, local: LocalFeatures) -> Floats:
        """Describes a picture by its features alone; see `AbstractGlobalDescriptor.describe`.

        Raises:
            MapError: The features are of another size than the vocabulary's.
        """
        if local.descriptors.shape[1] != len(self.mean):
            raise MapError(
                f'local descriptors of size {local.descriptors.shape[1]}, the vocabulary is for '
                f'{len(self.mean)}: use the kind of features that the map was built with'
            )
        reduced = (local.descriptors - self.mean) @ self.axes
        nearest = _nearest(reduced, self.words)
        residuals = _unit(reduced - self.words[nearest])
        sums = np.zeros_like(self.words)
        np.add.at(sums, nearest, residuals)
        # A repeated pattern (a shelf, a carpet) must not drown the rest: its sums are damped.
        flat = np.sign(sums) * np.sqrt(np.abs(sums))
        return np.ascontiguousarray(_unit(flat.reshape(1, -1))[0])

    def arrays(self) -> Mapping[str, NDArray]:
        """Mean, axes and words."""
        return {'mean': self.mean, 'axes': self.axes, 'words': self.words}


def restore(kind: str, arrays: Mapping[str, NDArray]) -> AbstractGlobalDescriptor:
    """The global descriptor of a place map (`PlaceMap.global_kind`, `PlaceMap.global_arrays`).

    Raises:
        MapError: This version does not know the kind, or its arrays are not what it needs.
    """
    if kind != KIND:
        raise MapError(
            f'global descriptor {kind!r} is not known to this version (it knows {KIND!r}): update '
            'geoloc, or build the map again'
        )
    try:
        return Vlad(arrays['mean'], arrays['axes'], arrays['words'])
    except KeyError as error:
        raise MapError(f'the vocabulary lacks its {error.args[0]}; build the map again') from error


def k_means(points: NDArray, count: int, rng: np.random.Generator) -> Floats:
    """Centres of clusters: Lloyd's rounds from a spread-out start.

    Reference: Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Args:
        points: (N, d), N >= count.
        count: Of centres.
        rng: Of the start.

    Returns:
        (count, d) float32.
    """
    points = np.asarray(points, np.float32)
    # The start needs the spread of the points, not all of them.
    some = points[rng.choice(len(points), min(len(points), 50 * count), replace=False)]
    centres = np.empty((count, points.shape[1]), np.float32)
    centres[0] = some[rng.integers(len(some))]
    distance = ((some - centres[0]) ** 2).sum(axis=1, dtype=np.float64)
    for k in range(1, count):
        total = distance.sum()
        share = distance / total if total > 0 else None
        centres[k] = some[rng.choice(len(some), p=share)]
        distance = np.minimum(distance, ((some - centres[k]) ** 2).sum(axis=1, dtype=np.float64))
    for _ in range(_ROUNDS):
        nearest = _nearest(points, centres)
        size = np.bincount(nearest, minlength=count)
        # Sorted by cluster, sums are sums of slices: much quicker than adding one by one.
        ends = np.cumsum(size)
        ordered = points[np.argsort(nearest, kind='stable')]
        for word in np.flatnonzero(size):
            centres[word] = ordered[ends[word] - size[word] : ends[word]].mean(axis=0)
    return centres


def _nearest(points: NDArray, centres: NDArray) -> NDArray[np.intp]:
    """(N,) index of the centre next to each point."""
    return np.argmax(points @ centres.T - 0.5 * (centres**2).sum(axis=1), axis=1)


def _unit(rows: NDArray) -> Floats:
    """Rows made of unit length; zero ones stay zero."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    return np.asarray(rows / np.maximum(length, _TINY), np.float32)
