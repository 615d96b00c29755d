# SPDX-License-Identifier: Apache-2.0
"""python -m training.train: trains any system of the registry by any objective."""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

TEXT = """Trains the system that CONFIG names, on the data that CONFIG names. config/train holds
the published recipe of every system; copy one and change it, or change single values with --set.

One loop does it all: full and weak supervision and distillation differ in CONFIG's `objective`
alone, a laptop and a cluster in its `devices`. Ctrl-C saves the state; --resume goes on from the
last saved one, however the run ended, and gives the weights that an unbroken run would have given.

in the run's folder (--out):
  config.yaml         all settings, defaults filled in; can be trained again as it is
  environment.json    versions, commit, machine, command
  log.txt             what the screen showed
  metrics.csv         a row an epoch: loss terms (train_*), validation figures (validation_*)
  tensorboard/        the same and more: tensorboard --logdir DIR
  last.ckpt           the whole state (weights, optimizer, average, counters), for --resume
  best.safetensors    weights of the best epoch on the validation split
  model.safetensors   the result: those weights, calibrated on the validation split; evaluate,
                      visualize and export take it
  summary.json        its figures, samples seen, seconds

last.ckpt too is safetensors with JSON: no file here holds code."""

EXAMPLES = """examples:
  python -m training.train config/train/hc_net.yaml --data ~/data/VIGOR
  python -m training.train config/train/hc_net.yaml --data ~/data/VIGOR --overfit 8
                                  does it learn at all? a minute before a week
  python -m training.train config/train/ccvpe.yaml --set optimizer.lr=5e-5 --set data.workers=8
  python -m training.train config/train/ccvpe.yaml --out out/train/ccvpe --resume
  python -m training.train config/train/geoloc.yaml --set devices.count=4      four GPUs (DDP)
  torchrun --nnodes 2 --nproc-per-node 4 --node-rank RANK --master-addr HOST -m training.train \\
      config/train/geoloc.yaml --set devices.nodes=2 --set devices.count=4    two machines of four
                                  (--out on a folder that both see; batch_size is shared by all)
  python -m training.train config/train/geodistill.yaml --set start_from=base.safetensors
                                  more training of trained weights; how good they are before it
                                  is the row of epoch 0, and they stay the result if it only harms

exit code: 0 done, 1 an error (said in one line), 130 stopped before the end, state saved"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog='python -m training.train',
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument('config', type=Path, metavar='CONFIG', help='settings of the run (YAML)')
    made.add_argument('--data', type=Path, metavar='DIR', help="the data set's folder (data.root)")
    made.add_argument(
        '--out', type=Path, metavar='DIR', help="the run's folder; else out/train/<CONFIG's name>"
    )
    made.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=VALUE',
        dest='settings',
        help='one setting, keys joined by dots, the value as YAML (repeat)',
    )
    made.add_argument(
        '--resume', action='store_true', help='go on with the run in --out; begin it if none is'
    )
    made.add_argument(
        '--overfit',
        type=int,
        metavar='N',
        nargs='?',
        const=8,
        help='learn N samples of the training split by heart (8): no augmentation, no schedule, '
        'judged on the same samples; 300 steps, or those of --set steps=...',
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    args = parser().parse_args(arguments)
    # Imported here, so that --help answers at once.
    from geoloc_core.errors import GeolocError
    from training.loop.build import Options
    from training.loop.run import told, train
    from training.loop.settings import read_config

    settings = list(args.settings)
    if args.overfit is not None and any(s.startswith('steps=') for s in settings):
        settings.append('epochs=null')
    name = args.config.stem + ('' if args.overfit is None else '-overfit')
    folder = args.out or Path('out/train') / name
    try:
        config = read_config(args.config, tuple(settings))
        return train(config, Options(folder, args.data, args.resume, args.overfit))
    except (GeolocError, OSError) as error:
        print(f'error: {told(error, folder)}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
