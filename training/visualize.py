# SPDX-License-Identifier: Apache-2.0
"""Pictures of trained weights at work: `python -m training.visualize --help`."""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
import sys
from typing import Any

from geoloc_core.errors import ConfigError, GeolocError
from training.evaluate import add_data_arguments, opened, opened_samples

TEXT = """Draws what a network sees, believes and gets wrong, as PNG files and one HTML page that
opens offline.

kinds of pictures:
  heat_maps       view, patch, belief on the aerial picture with truth and answer (with and without
                  the semantic mask, where there is one), and the belief of yaw
  failures        the same of the worst samples, sorted by error
  birds_eye       the ground of the view on the map at truth and answer, and the network's own
                  bird's-eye view
  grad_cam        what of both pictures the answer rests on
  attention       cross-attention, for networks that have it
  semi_positives  one view against all tiles that show its place (reader vigor)
  curves          losses and validation of the run, or of several with --runs

Before there are weights, --recipe draws what training would be fed, after all augmentation.

examples:
  python -m training.visualize runs/ccvpe --data world/unseen --protocol pm45 --limit 200
  python -m training.visualize runs/geoloc --data world/unseen --only failures --worst 30
  python -m training.visualize --runs runs/ccvpe runs/hc_net --out out/curves
  python -m training.visualize --recipe config/train/vmloc_redkitchen.yaml --data frames"""

KINDS = (
    'heat_maps', 'failures', 'birds_eye', 'grad_cam', 'attention', 'semi_positives', 'curves',
)  # fmt: skip


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog='python -m training.visualize',
        description=TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument('weights', type=Path, nargs='?', help='folder of a run, or weights')
    made.add_argument('--out', type=Path, default=Path('out/visualize'), metavar='DIR')
    made.add_argument('--only', metavar='KINDS', help='some of the kinds, joined by commas')
    made.add_argument('--count', type=int, default=6, metavar='N', help='samples of each kind (6)')
    made.add_argument('--worst', type=int, default=12, metavar='N', help='failures (12)')
    made.add_argument('--side', type=int, default=320, metavar='PX', help='of each picture (320)')
    made.add_argument('--masks', action='store_true', help="read VIGOR's semantic masks")
    made.add_argument('--batch', type=int, default=8, metavar='N', help='samples at a time')
    made.add_argument(
        '--runs', type=Path, nargs='+', default=[], metavar='DIR', help='runs to draw curves of'
    )
    made.add_argument(
        '--recipe', type=Path, metavar='YAML', help='draw what training by it is fed, from --data'
    )
    add_data_arguments(made, required=False)
    return made


def visualize(args: argparse.Namespace) -> int:
    """Draws what the arguments ask for; 0, or raises a GeolocError."""
    from geoloc_core.visualization.page import write_page

    kinds = _kinds(args)
    for name in ('count', 'worst', 'side', 'batch'):
        if getattr(args, name) < 1:
            raise ConfigError(f'--{name} {getattr(args, name)}: expected 1 or more')
    sections, title, subtitle = [], 'Training curves', ''
    if args.weights is not None and set(kinds) != {'curves'}:
        if args.data is None:
            raise ConfigError('--data: say which samples to draw, or --only curves')
        title, subtitle, sections = _samples(args, kinds)
    if 'curves' in kinds:
        sections += _curves(args)
    if args.recipe is not None:
        sections.append(_fed(args))
    if not sections:
        raise ConfigError('nothing to draw: name a run or weights with --data, --runs or --recipe')
    print(write_page(args.out / 'index.html', title, subtitle, sections))
    return 0


def _fed(args: argparse.Namespace) -> Any:
    from geoloc_core.visualization.page import Section
    from training.loop.settings import read_config
    from training.visualization.fed_samples import fed_pictures

    config = read_config(args.recipe)
    made = fed_pictures(config, args.data, args.count, args.side)
    html = ''.join(_stored(args.out / 'fed', ((key, (image, key)) for image, key in made)))
    return Section(f'What {args.recipe.name} is fed', html)


def _kinds(args: argparse.Namespace) -> tuple[str, ...]:
    if args.only is None:
        return KINDS
    kinds = tuple(args.only.split(','))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ConfigError(f'--only {unknown[0]}: choose some of {", ".join(KINDS)}')
    return kinds


def _samples(args: argparse.Namespace, kinds: Sequence[str]) -> tuple[str, str, list[Any]]:
    """Title, subtitle and sections of all kinds that show samples."""
    import numpy as np
    from tqdm import tqdm

    from geoloc_core.visualization.page import Section
    from training.scoring import scored_batches, Scores
    from training.visualization.heat_maps import LEGEND

    plain = argparse.Namespace(**vars(args))
    if args.masks and args.reader == 'vigor':
        plain.set = [*args.set, 'masks=true']
    model, _, samples = opened(plain)
    device = next((p.device for p in model.parameters()), 'cpu')
    parts = []
    # Only failures need every sample's error, but every picture is better with the whole at hand.
    with tqdm(total=len(samples), unit='sample', desc=model.NAME, disable=None) as bar:
        batches = samples.batches(model, args.batch, args.workers)
        for _, _, part in scored_batches(
            model, batches, device, half_yaw_deg=samples.opening.half_yaw_deg
        ):
            parts.append(part)
            bar.update(len(part))
    scores = Scores.joined(parts)
    count = min(args.count, len(scores))
    spread = [scores.keys[i] for i in np.arange(count) * len(scores) // count]
    order = np.argsort(-scores.distance, kind='stable')
    worst = [scores.keys[i] for i in order[: args.worst]]
    sections = []
    for kind in kinds:
        if kind == 'curves':
            continue
        source = samples
        if kind == 'semi_positives':
            source = _with_semi_positives(plain, model) if args.reader == 'vigor' else None
        draw = None if source is None else _drawer(kind, model, args.side)
        if draw is None:
            print(f'{kind}: not for {model.NAME} on {args.reader}')
            continue
        keys = worst if kind == 'failures' else spread
        html = ''.join(_drawn(args.out / kind, draw, source, keys))
        if html:
            sections.append(Section(_title(kind), html))
        else:
            print(f'{kind}: no sample has one')
    figures = scores.figures()
    subtitle = (
        f'{len(scores)} samples, {args.protocol}: mean {figures["position_mean_m"]:.2f} m, median '
        f'{figures["position_median_m"]:.2f} m, yaw median {figures["yaw_median_deg"]:.1f}°. '
        f'{LEGEND[0].upper()}{LEGEND[1:]}.'
    )
    return f'{model.NAME}: pictures', subtitle, sections


def _with_semi_positives(args: argparse.Namespace, model: Any) -> Any:
    again = argparse.Namespace(**vars(args))
    again.set = [*args.set, 'semi_positives=true']
    return opened_samples(again, model)


def _drawer(kind: str, model: Any, side: int) -> Callable[[Any], tuple[Any, str] | None] | None:
    """Sample -> picture and caption, or None for a sample without; None for not at all."""
    from training.visualization.attention import (
        attention_picture,
        has_attention,
        kept_attention,
    )
    from training.visualization.birds_eye import birds_eye_picture, own_birds_eye
    from training.visualization.grad_cam import grad_cam, grad_cam_picture
    from training.visualization.heat_maps import matched
    from training.visualization.looking import look
    from training.visualization.semi_positives import semi_positive_picture

    def heat_map(sample: Any) -> tuple[Any, str]:
        seen = look(model, sample, ('patch_classes',))
        return matched(seen, side), seen.words

    def birds_eye(sample: Any) -> tuple[Any, str]:
        seen = look(model, sample)
        return birds_eye_picture(model, seen, side), seen.words

    def cam(sample: Any) -> tuple[Any, str]:
        seen, maps = grad_cam(model, sample)
        return grad_cam_picture(seen, maps, side, own_birds_eye(model, seen)), seen.words

    def attention(sample: Any) -> tuple[Any, str]:
        with kept_attention(model):
            seen = look(model, sample)
        return attention_picture(seen, model.settings.anchors, side), seen.words

    def tiles(sample: Any) -> tuple[Any, str] | None:
        image = semi_positive_picture(model, sample, side)
        return None if image is None else (image, sample.key)

    if kind == 'attention' and not has_attention(model):
        return None
    return {
        'heat_maps': heat_map,
        'failures': heat_map,
        'birds_eye': birds_eye,
        'grad_cam': cam,
        'attention': attention,
        'semi_positives': tiles,
    }[kind]


def _drawn(
    folder: Path, draw: Callable[[Any], Any], samples: Any, keys: Sequence[str]
) -> Iterator[str]:
    """Draws each sample, see `_stored`."""
    yield from _stored(folder, ((key, draw(samples.sample(key))) for key in keys))


def _stored(folder: Path, pictures: Iterable[tuple[str, Any]]) -> Iterator[str]:
    """Writes a PNG file of each (key, picture and caption); gives each as part of the page."""
    import re

    import cv2

    from geoloc_core.visualization.page import picture

    for number, (key, made) in enumerate(pictures):
        if made is None:
            continue
        image, caption = made
        folder.mkdir(parents=True, exist_ok=True)
        name = re.sub(r'[^\w.-]+', '_', key)[:80]
        good, coded = cv2.imencode('.png', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        assert good
        (folder / f'{number:02d}_{name}.png').write_bytes(coded.tobytes())
        yield picture(image, caption)


def _curves(args: argparse.Namespace) -> list[Any]:
    from geoloc_core.visualization.page import picture, Section
    from training.visualization.training_curves import METRICS, write_training_curves

    runs = {run.name: run for run in args.runs}
    if args.weights is not None:
        # Weights lie in the folder of their run.
        run = args.weights if args.weights.is_dir() else args.weights.parent
        if (run / METRICS).is_file():
            runs = {run.resolve().name: run, **runs}
    if not runs:
        if args.only is not None:
            raise ConfigError(f'curves: there is no {METRICS} beside {args.weights}; name --runs')
        return []
    files = write_training_curves(runs, args.out / 'curves')
    return [Section('Training curves', ''.join(picture(f.read_bytes(), f.stem) for f in files))]


def _title(kind: str) -> str:
    return kind.replace('_', ' ').capitalize()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; errors of use are one line, exit code 1."""
    args = parser().parse_args(arguments)
    try:
        return visualize(args)
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
