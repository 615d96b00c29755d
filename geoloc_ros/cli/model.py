# SPDX-License-Identifier: Apache-2.0
"""geoloc model: what a model bundle is, and whether it runs."""

import argparse
import time


def register(subparsers) -> None:
    """Adds `geoloc model`."""
    parser = subparsers.add_parser('model', help='look at a model bundle, or check that it runs')
    commands = parser.add_subparsers(dest='model_command', metavar='COMMAND', required=True)
    for name, run, text in (
        ('info', info, 'show what a bundle is made for'),
        ('check', check, 'verify a bundle, run it once, compare shapes with its specification'),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=f'A bundle is a folder with model.onnx and model.json, for the parameter '
            f'model.path. This will {text}.',
        )
        command.add_argument('bundle', metavar='DIR', help='folder with model.onnx and model.json')
        command.set_defaults(run=run)


def info(args: argparse.Namespace) -> int:
    """Prints a verified bundle's specification."""
    from geoloc_core.runtime.bundle import load_bundle

    bundle = load_bundle(args.bundle)
    spec, out, inputs = bundle.spec, bundle.spec.output, bundle.spec.inputs
    print(f'{spec.system} ({spec.licence}), {len(bundle.weights) / 1e6:.1f} MB, sha256 verified')
    print(f'cameras: {", ".join(inputs.camera_kinds)}')
    print(f'view:    {inputs.view_kind} {inputs.view.width} x {inputs.view.height} px')
    print(f'map:     {inputs.patch.width} x {inputs.patch.height} px at {inputs.patch_gsd} m/px')
    print(
        f'output:  {out.width} x {out.height} cells of {out.gsd} m, {out.yaw_bins} yaws over '
        f'+-{out.yaw_half_range_deg:g} degrees about '
        f'{"the map" if inputs.turned == "none" else "the prior"}'
    )
    return 0


def check(args: argparse.Namespace) -> int:
    """Runs a bundle once on empty images."""
    import numpy as np

    from geoloc_core.errors import BundleError
    from geoloc_core.runtime.bundle import load_bundle
    from geoloc_core.sources.model_matcher import yaw_bins

    bundle = load_bundle(args.bundle)
    engine = bundle.open_engine()
    spec, out = bundle.spec, bundle.spec.output
    arrays = {
        raster.name: np.zeros((1, raster.channels, raster.height, raster.width), np.float32)
        for raster in (spec.inputs.view, spec.inputs.patch)
    }
    if out.yaw_input:
        arrays[out.yaw_input] = yaw_bins(out).astype(np.float32)
    engine.run(arrays)
    start = time.perf_counter()
    logits = engine.run(arrays)[out.name]
    spent = time.perf_counter() - start
    expected = (1, out.yaw_bins, out.height, out.width)
    if logits.shape != expected or not np.isfinite(logits).all():
        raise BundleError(f'{args.bundle}: output of shape {logits.shape}, expected {expected}')
    print(f'{spec.system} runs on {engine.name}: {1e3 * spent:.1f} ms, output {logits.shape}')
    return 0
