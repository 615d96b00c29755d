# SPDX-License-Identifier: Apache-2.0
"""geoloc model: what model bundles are, whether they run here, and how fast."""

import argparse
from pathlib import Path
from typing import Any

from geoloc_ros.cli import model_build

# The bundles that come with geoloc, seen from a checkout and from an installed package.
_SHIPPED = Path('config', 'models')

TEXT = """A bundle is a network that robots run without torch: a folder, or one file (.geoloc),
with model.onnx and a specification: model.json (cross-view networks, for the node's parameter
model.path), pose.json (camera poses in a mapped place) or descriptor.json (pictures of places).
`python -m training.export` makes them."""

LIST_TEXT = """Lists bundles: those in the folders named, or, without any, those that come with
geoloc. One that is damaged is listed with what is wrong.

examples:
  geoloc model list
  geoloc model list out/bundles ~/models/town.geoloc"""

INFO_TEXT = """Verifies a bundle and prints all that its specification says: what it must be fed,
what it answers, what it was trained on, its licence, and how far it is from its network.

Read before driving:
  cameras, map   the node refuses others at start
  precision      fp32 as trained; fp16, int8 for GPUs: the lines under `kept to` and `against the
                 truth` say what they cost
  calibration    how the stated confidence was fitted; empty means that nobody did

example:
  geoloc model info config/models/geoloc"""

CHECK_TEXT = """Verifies a bundle and runs it on this machine: the weights are those that the
specification names, the graph takes and gives what it says, nothing of it lies in other files, and
on the sample that the bundle brings, the answer is the network's own. Bundles of old bring none:
then only shapes are compared. Exit code 1 if anything is wrong.

examples:
  geoloc model check config/models/geoloc && ros2 launch geoloc_ros geoloc.launch.py
  geoloc model check out/geoloc_int8.geoloc --threads 1"""

BENCH_TEXT = """Times a bundle on this machine, stage by stage: from a compressed image to a pose
with its covariance, all of it the robot's own code. p50 is the usual frame, p99 the slow one in a
hundred. The node's parameter model.threads is this --threads; 0 leaves a core to ROS.

The frames are made up, so the poses mean nothing; the map lies in memory (real maps cost what
`geoloc model bench` cannot know: see the stage patch_ms on the node's ~/status). Networks of a
place are shown a depth camera's frame, up to the pose of base_link or to a picture's descriptor.

examples:
  geoloc model bench config/models/geoloc
  geoloc model bench config/models/geoloc --threads 1 --repeat 200 --std-yaw-deg 60"""


def register(subparsers) -> None:
    """Adds `geoloc model`."""
    parser = subparsers.add_parser(
        'model', help='list model bundles, look at one, check that it runs, time it'
    )
    parser.description = TEXT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    commands = parser.add_subparsers(dest='model_command', metavar='COMMAND', required=True)

    def add(name: str, run: Any, help_text: str, text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(
            name,
            help=help_text,
            description=text,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        made.set_defaults(run=run)
        return made

    listing = add('list', run_list, 'list bundles', LIST_TEXT)
    listing.add_argument(
        'places', nargs='*', type=Path, metavar='PLACE', help='bundle, or folder of bundles'
    )
    shown = add('info', run_info, 'what a bundle is made for and how it was made', INFO_TEXT)
    checked = add('check', run_check, 'verify a bundle and run it on its sample', CHECK_TEXT)
    timed = add('bench', run_bench, 'time a bundle, stage by stage', BENCH_TEXT)
    for command in (shown, checked, timed):
        command.add_argument('bundle', type=Path, metavar='BUNDLE', help='folder, or .geoloc file')
    for command in (checked, timed):
        command.add_argument(
            '--threads', type=int, default=2, metavar='N', help='of one inference (2)'
        )
    timed.add_argument('--repeat', type=int, default=50, metavar='N', help='frames (50)')
    timed.add_argument(
        '--std-yaw-deg', type=float, default=5.0, metavar='DEG',
        help='how well the prior knows the yaw: the less, the more yaws are scored (5)',
    )  # fmt: skip
    model_build.register(commands)


def run_list(args: argparse.Namespace) -> int:
    """One line a bundle."""
    from geoloc_core.errors import BundleError
    from geoloc_core.runtime.any_bundle import find_bundles, load_any

    places = find_bundles(args.places or _shipped())
    if not places:
        print('no bundles: name a folder that holds some')
    for place in places:
        try:
            bundle = load_any(place)
        except BundleError as error:
            print(f'{place}: {error}')
            continue
        spec, record = bundle.spec, bundle.spec.export
        kind = bundle.SPEC_FILE.removesuffix('.json').replace('model', 'cross-view')
        precision = 'fp32' if record is None else record.precision
        print(
            f'{place}: {spec.system}, {kind}, {precision}, {len(bundle.weights) / 1e6:.1f} MB, '
            f'{spec.licence}'
        )
    return 0


def run_info(args: argparse.Namespace) -> int:
    """Prints a verified bundle's specification."""
    from geoloc_core.runtime.any_bundle import load_any

    bundle = load_any(args.bundle)
    spec = bundle.spec
    rows = [
        ('system', spec.system),
        ('licence', f'{spec.licence} (of the weights)'),
        ('weights', f'{len(bundle.weights) / 1e6:.1f} MB, opset {spec.opset}'),
        ('sha256', f'{spec.sha256} (verified)'),
        *_family_rows(bundle),
        *_record_rows(spec.export),
        ('sample', 'there is one: geoloc model check' if bundle.sample else 'none'),
    ]
    for name, text in rows:
        print(f'{name + ":" if name else "":20}{text}')
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Runs a bundle, on its sample if it brings one."""
    import numpy as np

    from geoloc_core.errors import BundleError
    from geoloc_core.runtime.any_bundle import against_sample, load_any, silent_inputs

    bundle = load_any(args.bundle)
    engine = bundle.open_engine(_threads(args))
    answers = engine.run(silent_inputs(engine))
    shapes = {name: list(value.shape) for name, value in answers.items()}
    print(f'{bundle.spec.system} runs on {engine.name}, answers {shapes}')
    figures = against_sample(bundle, engine)
    for figure in figures:
        print(f'  {figure.name}: {figure.worst:.3g} {figure.unit} off the network'.rstrip())
    wrong = [
        f'{f.name} by {f.worst:.3g} {f.unit} (allowed {f.tolerance:.3g})'
        for f in figures
        if not f.kept
    ]
    if wrong:
        raise BundleError(
            f'{args.bundle}: on its own sample the answer is off the network in '
            f'{", ".join(wrong)}: this machine or its runtime calculates otherwise than the one '
            'that made the bundle'
        )
    if not figures:
        if not all(np.isfinite(value).all() for value in answers.values()):
            raise BundleError(f'{args.bundle}: it answers with what is no number')
        print('  it brings no sample: only shapes were compared')
    return 0


def run_bench(args: argparse.Namespace) -> int:
    """Prints durations."""
    import math
    import os

    from geoloc_core.errors import ConfigError
    from geoloc_core.runtime.any_bundle import load_any
    from geoloc_core.runtime.bundle import ModelBundle

    threads = _threads(args)
    if args.repeat < 1:
        raise ConfigError(f'--repeat {args.repeat}: expected 1 or more')
    if not 0 < args.std_yaw_deg <= 180:
        raise ConfigError(f'--std-yaw-deg {args.std_yaw_deg:g}: expected 0 to 180')
    bundle = load_any(args.bundle)
    from geoloc_core.runtime.pose_bundle import PoseBundle
    from geoloc_core.sources import pipeline_timing, place_timing

    if isinstance(bundle, ModelBundle):
        stages = pipeline_timing.STAGES
        std_yaw = math.radians(args.std_yaw_deg)
        times = pipeline_timing.time_pipeline(bundle, threads, args.repeat, std_yaw)
    elif isinstance(bundle, PoseBundle):
        stages = place_timing.POSE_STAGES
        times = place_timing.time_pose(bundle, threads, args.repeat)
    else:
        stages = place_timing.DESCRIPTOR_STAGES
        times = place_timing.time_descriptor(bundle, threads, args.repeat)
    print(
        f'{bundle.spec.system} on {times.engine}, {threads} threads of {os.cpu_count()} cores, '
        f'{args.repeat} frames, {times.camera}'
    )
    print(f'{"stage":14}{"p50 ms":>9}{"p99 ms":>9}')
    for stage, text in stages.items():
        usual, slow = times.percentile(stage, 50), times.percentile(stage, 99)
        print(f'{stage.removesuffix("_ms"):14}{usual:9.2f}{slow:9.2f}  {text}')
    return 0


def _shipped() -> list[Path]:
    """Where the bundles lie that come with geoloc."""
    root = Path(__file__).parents[2] / _SHIPPED
    return [root] if root.is_dir() else []


def _threads(args: argparse.Namespace) -> int:
    from geoloc_core.errors import ConfigError

    if args.threads < 1:
        raise ConfigError(f'--threads {args.threads}: expected 1 or more')
    return args.threads


def _family_rows(bundle) -> list[tuple[str, str]]:
    """What only one family of bundles has."""
    from geoloc_core.runtime.bundle import ModelBundle
    from geoloc_core.runtime.pose_bundle import PoseBundle

    spec = bundle.spec
    if isinstance(bundle, PoseBundle):
        made_of = ' and '.join(spec.inputs.uses)
        return [('place', spec.place), ('answers from', made_of)]
    if not isinstance(bundle, ModelBundle):
        return [('descriptor', f'{spec.size} numbers of a whole picture')]
    inputs, out = spec.inputs, spec.output
    about = 'east' if inputs.turned == 'none' else "the prior's yaw"
    asked = ', or those it is asked for' if out.yaw_input else ''
    return [
        ('cameras', ', '.join(inputs.camera_kinds)),
        ('view', f'{inputs.view_kind} {inputs.view.width} x {inputs.view.height} px'),
        ('map', f'{inputs.patch.width} x {inputs.patch.height} px at {inputs.patch_gsd:g} m/px'),
        ('cells', f'{out.width} x {out.height} of {out.gsd:g} m ({out.meaning})'),
        ('yaws', f'{out.yaw_bins} over +-{out.yaw_half_range_deg:g} deg about {about}{asked}'),
        ('temperature', f'{out.temperature:g}'),
    ]


def _record_rows(record) -> list[tuple[str, str]]:
    """How it was made."""
    if record is None:
        return [('export', 'not recorded: made by an older version')]
    rows = [
        ('precision', record.precision),
        ('batch', str(record.batch or 'any')),
        ('trained on', record.training_data or 'not recorded'),
        ('calibration', record.calibration or 'not recorded'),
    ]
    if record.quantized_on:
        rows.append(
            ('int8 ranges', f'{record.quantized_samples} pictures of {record.quantized_on}')
        )
    names = ['tensors'] + [''] * len(record.tensors)
    rows += [
        (name, f'{t.name} {list(t.shape)}: {t.content}')
        for name, t in zip(names, record.tensors, strict=False)
    ]
    rows.append(('compared on', f'{record.compared} answers: {record.compared_on}'))
    rows += [('kept to' if k == 0 else '', str(f)) for k, f in enumerate(record.parity)]
    known = f'{record.accuracy_samples} samples' if record.accuracy else 'not measured'
    rows.append(('against the truth', known))
    rows += [('', str(figure)) for figure in record.accuracy]
    return rows
