# SPDX-License-Identifier: Apache-2.0
"""Does a network give the same volume as an ONNX graph, and can a GPU run that?

For the tests of every system.
"""

from torch import nn

from geoloc_core.models.backbones import Backbone
from geoloc_core.runtime.onnx_engine import OnnxEngine
from tests.models.operator_gate import assert_builds
from training.onnx_graph import eager_logits, OUTPUT, random_inputs, relative_difference, to_onnx


class PlainBackbone(Backbone):
    """Five convolutions in place of a backbone, which is what takes long in an export."""

    channels = (4, 4, 8, 8, 16)
    strides = (2, 4, 8, 16, 32)

    def __init__(self):
        super().__init__()
        widths = (3, *self.channels)
        self.convs = nn.ModuleList(
            nn.Conv2d(a, b, 2, stride=2) for a, b in zip(widths, self.channels, strict=False)
        )

    def forward(self, image):
        maps = [image]
        for conv in self.convs:
            maps.append(conv(maps[-1]))
        return maps[1:]


def assert_exports(model, tolerance=1e-3, extras=None, seed=0):
    """Exports `belief(forward(view, patch, ...)).logits`, runs it and compares with torch.

    Args:
        model: A small CrossViewModel; its mode is left as it was.
        tolerance: Largest difference, as a share of the range of the logits.
        extras: name -> (1, ...) tensor for each of the model's EXTRA_INPUTS.
        seed: Of the noise that the graph is traced with; the comparison uses other noise.

    Returns:
        The graph's bytes, for tests that want more of it.
    """
    graph = to_onnx(model, random_inputs(model, extras, seed))
    arrays = random_inputs(model, extras, seed + 1)
    engine = OnnxEngine(graph, threads=1)
    # What a graph does not use is no input of it.
    given = {name: arrays[name].numpy() for name in engine.inputs}
    found = engine.run(given)[OUTPUT]
    assert relative_difference(eager_logits(model, arrays), found) < tolerance
    assert_builds(graph, {name: value.shape for name, value in given.items()})
    return graph
