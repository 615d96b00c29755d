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
    spec, out = bundle.spec, bundle.spec.output
    print(f'{spec.system} ({spec.licence}), {len(bundle.weights) / 1e6:.1f} MB, sha256 verified')
    print(f'cameras: {", ".join(spec.camera_kinds)}')
    print(f'view:    {spec.view_kind} {spec.view.width} x {spec.view.height} px')
    print(f'map:     {spec.patch.width} x {spec.patch.height} px at {spec.patch_gsd} m/px')
    print(
        f'output:  {out.width} x {out.height} cells of {out.gsd} m, {out.yaw_bins} yaws over '
        f'+-{out.yaw_half_range_deg:g} degrees about the {out.yaw_frame}'
    )
    return 0


def check(args: argparse.Namespace) -> int:
    """Runs a bundle once on empty images."""
    import numpy as np

    from geoloc_core.errors import BundleError
    from geoloc_core.runtime.bundle import load_bundle

    bundle = load_bundle(args.bundle)
    engine = bundle.open_engine()
    spec, out = bundle.spec, bundle.spec.output
    arrays = {
        raster.name: np.zeros((1, 3, raster.height, raster.width), np.float32)
        for raster in (spec.view, spec.patch)
    }
    engine.run(arrays)
    start = time.perf_counter()
    logits = engine.run(arrays)[out.name]
    spent = time.perf_counter() - start
    expected = (1, out.yaw_bins, out.height, out.width)
    if logits.shape != expected or not np.isfinite(logits).all():
        raise BundleError(f'{args.bundle}: output of shape {logits.shape}, expected {expected}')
    print(f'{spec.system} runs on {engine.name}: {1e3 * spent:.1f} ms, output {logits.shape}')
    return 0
