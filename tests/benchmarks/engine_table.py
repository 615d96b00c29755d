# SPDX-License-Identifier: Apache-2.0
"""What the rows of the benchmark of engines add up to: ratios, what stands for all, one table."""

# Seconds a frame of the authors' own code, torch eager, fp32, batch 1, on 2 threads: measured once
# beside this project on 2 cores of an AMD EPYC (medians of 7 to 9 runs), not by this benchmark,
# and on another day. Where it gave a range, its quick end stands here. Systems that their authors
# never released in this form, or whose code could not be run, have none.
AUTHORS_THREADS = 2
AUTHORS_EAGER_S = {
    'hc_net': 0.36,  # to 0.40; 512 x 512 from above, six iterations
    'ccvpe': 1.40,
    'fusion_transformer': 0.68,
    'g2sweakly': 2.75,  # VGG, level 1
    'geodistill': 4.67,  # levels 0 and 2 (4.30), and the estimator of orientation (0.37)
    'vmloc': 0.19,  # colour and depth
    'crossvit_student': 0.040,
}
LEAST_EXPORT_SPEEDUP = 1.5
OURS = 'geoloc'
RIVALS = ('hc_net', 'ccvpe')
_COLUMNS = (
    ('params_m', 'params M', 2), ('eager_ms', 'eager ms', 1), ('tuned_ms', 'tuned ms', 1),
    ('onnx_ms', 'onnx ms', 1), ('int8_ms', 'int8 ms', 1), ('export_speedup', 'export x', 2),
    ('vs_authors_eager', "authors' eager x", 2), ('onnx_mb', 'onnx MB', 1),
    ('int8_mb', 'int8 MB', 1), ('rtx_build_s', 'rtx build s', 1), ('rtx_mb', 'rtx MB', 1),
    ('machine_ms', 'machine ms', 2),
)  # fmt: skip


def with_ratios(system: str, figures: dict, threads: int) -> dict:
    """A row with what it says of the export and of the authors' code, where both are known.

    Args:
        system: Its name.
        figures: Of the row.
        threads: It was measured on; the authors' code was on `AUTHORS_THREADS`.
    """
    ratios = {}
    eager, onnx = figures.get('eager_ms'), figures.get('onnx_ms')
    if eager and onnx:
        ratios['export_speedup'] = eager / onnx
    if eager and system in AUTHORS_EAGER_S and threads == AUTHORS_THREADS:
        ratios['vs_authors_eager'] = 1e3 * AUTHORS_EAGER_S[system] / eager
    return {**figures, **ratios}


def summary(rows: dict[str, dict], frame: dict | None) -> dict:
    """The figures that stand for all; ratios compare networks alone, frame_ratios our whole frame.

    A re-implemented system that could not be measured is named among those that miss: it has
    shown nothing.

    Args:
        rows: System -> figures, with ratios.
        frame: Of the bundle's pipeline, or None.
    """
    slower = [n for n in AUTHORS_EAGER_S if n in rows and not _reaches(rows[n], 1.0)]
    little = [
        name
        for name, figures in rows.items()
        if name != OURS and not figures.get('export_speedup', 0.0) >= LEAST_EXPORT_SPEEDUP
    ]
    figures: dict = {
        'parity_failures': sum(not r.get('onnx_kept', False) for r in rows.values()),
        'tensorrt_rtx_build_failures': None,
        'slower_than_authors': len(slower),
        'slower_than_authors_names': ', '.join(slower),
        'export_speedup_missed': len(little),
        'export_speedup_missed_names': ', '.join(little),
    }
    tried = [r['rtx'] for r in rows.values() if r.get('rtx', 'not installed') != 'not installed']
    if tried:
        figures['tensorrt_rtx_build_failures'] = sum(each != 'built' for each in tried)
    ours = rows.get(OURS, {})
    made: dict = {}
    if frame is not None:
        made['ms_p50'] = frame['frame_ms']['p50']
        made['stages'] = frame
    compared = [(f'{name}_eager', rows.get(name, {}).get('eager_ms')) for name in RIVALS]
    compared.append(('hc_net_exported', rows.get('hc_net', {}).get('onnx_ms')))
    for name, rival in compared:
        for key, own in (('', ours.get('onnx_ms')), ('frame_', made.get('ms_p50'))):
            if rival and own:
                made[f'{key}speedup_vs_{name}'] = rival / own
    figures[OURS] = {**ours, **made}
    return figures


def _reaches(figures: dict, least: float) -> bool:
    return bool(figures.get('vs_authors_eager', 0.0) >= least)


def table(rows: dict[str, dict]) -> str:
    """Markdown, a row a system."""
    titles = ['system', *(title for _, title, _ in _COLUMNS), 'parity, worst', 'int8, worst']
    lines = [f'| {" | ".join(titles)} |', '|---' * len(titles) + '|']
    for name, figures in rows.items():
        cells = [
            f'{figures[key]:.{digits}f}' if key in figures else '-' for key, _, digits in _COLUMNS
        ]
        error = figures.get('error') or figures.get('eager_error')
        last = [str(error).replace('|', '/') if error else _words(figures.get('onnx_parity'))]
        last.append(_words(figures.get('int8_parity')))
        lines.append(f'| {" | ".join([name, *cells, *last])} |')
    return '\n'.join(lines)


def _words(parity: dict | None) -> str:
    return ', '.join(f'{name} {value:.1e}' for name, value in (parity or {}).items()) or '-'
