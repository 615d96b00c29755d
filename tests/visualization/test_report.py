# SPDX-License-Identifier: Apache-2.0
"""The report: self-contained, safe, and true to metrics.json."""

from html.parser import HTMLParser
import json
import re
import shutil
import subprocess

import pytest

from geoloc_core.visualization.report import json_for_html, write_report
from geoloc_ros.cli.main import main

VOID = {'meta', 'link', 'img', 'input', 'br', 'hr'}


class Page(HTMLParser):
    """Collects elements, table cells and the data; fails on elements that do not close."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.cells, self.scripts = [], [], {}, []
        self._cell = None
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.elements.append((tag, attrs))
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'td' and 'data-key' in attrs:
            self._cell = (attrs['data-system'], attrs['data-key'])
        if tag == 'td' and 'data-metric' in attrs:
            self._cell = attrs['data-metric']

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._cell = None

    def handle_data(self, data):
        if self.open and self.open[-1] == 'script':
            self.scripts.append(data)
        elif self._cell:
            self.cells[self._cell] = self.cells.get(self._cell, '') + data


@pytest.fixture(scope='module')
def report(fake_run, tmp_path_factory):
    return write_report(fake_run, tmp_path_factory.mktemp('report') / 'report.html')


@pytest.fixture(scope='module')
def text(report):
    return report.read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def page(text):
    return Page(text)


def test_nothing_is_loaded_from_anywhere(text, page):
    for tag, attrs in page.elements:
        for name in ('src', 'href', 'srcset', 'data', 'action'):
            assert name not in attrs, (tag, attrs)
    assert not {'link', 'iframe', 'object', 'embed', 'base'} & {tag for tag, _ in page.elements}
    assert 'sourceMappingURL' not in text
    style = re.search(r'<style>(.*?)</style>', text, re.DOTALL).group(1)
    assert 'url(' not in style and '@import' not in style
    assert "default-src 'none'" in text
    assert not re.search(r'"image":"(?!data:)', text)


def test_tables_equal_metrics_json(fake_run, page):
    metrics = json.loads((fake_run / 'metrics.json').read_text())
    for system, figures in metrics['systems'].items():
        for key, value in figures.items():
            shown = page.cells[(system, key)]
            assert shown == ('–' if value is None else f'{value:.4g}')
    assert page.cells['coverage_95'] == f'{metrics["coverage_95"]:.4g}'
    assert page.cells['frames'] == str(metrics['frames'])


def test_data_equals_the_frames(page, fake_run):
    data = json.loads(page.scripts[0])
    frames = data['frames']
    assert all(len(column) == 600 for column in frames.values())
    assert frames['stamp_ns'][1] == '1700000000100000000'
    assert frames['x'][0] is None
    assert data['outages'] == [[20.0, 40.0]]
    assert data['map']['bounds'] == [-145.0, -115.0, 185.0, 95.0]


def test_strings_from_a_bag_stay_strings(text, page):
    assert not any('onerror' in attrs for _, attrs in page.elements)
    assert [tag for tag, _ in page.elements].count('script') == 3
    assert [tag for tag, _ in page.elements].count('img') == 0
    assert '</script><img' in json.loads(page.scripts[0])['frames']['reasons'][5]


def test_json_cannot_leave_its_element():
    coded = json_for_html({'a': '</script><!--&', 'b': None})
    assert not set('<>&') & set(coded)
    assert json.loads(coded) == {'a': '</script><!--&', 'b': None}


def test_pictures_are_limited(fake_run, tmp_path):
    page = Page(write_report(fake_run, tmp_path / 'r.html', max_pictures=3).read_text())
    pictures = json.loads(page.scripts[0])['pictures']
    assert list(pictures) == ['0', '288', '588']
    assert all(uri.startswith('data:image/jpeg') for p in pictures.values() for uri in p.values())


def test_bare_run_has_a_report(fake_run, tmp_path):
    for name in ('frames.csv', 'metrics.json'):
        shutil.copy(fake_run / name, tmp_path)
    data = json.loads(Page(write_report(tmp_path).read_text()).scripts[0])
    assert data['map'] is None and data['pictures'] == {}


def test_command(fake_run, tmp_path, capsys):
    copy = shutil.copytree(fake_run, tmp_path / 'run')
    assert main(['report', str(copy), '--no-plots', '--pictures', '2']) == 0
    assert (copy / 'report.html').is_file()
    assert main(['report', str(tmp_path / 'absent')]) == 1
    assert 'metrics.json is missing' in capsys.readouterr().err


def test_browser_draws_it_without_errors(report, tmp_path):
    chromium = shutil.which('chromium') or shutil.which('chromium-browser')
    if chromium is None:
        pytest.skip('no chromium to open the page with')
    done = subprocess.run(
        [
            chromium,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--enable-logging=stderr',
            '--disable-background-networking',
            '--allow-file-access-from-files',
            f'--user-data-dir={tmp_path}',
            '--window-size=1400,900',
            '--virtual-time-budget=3000',
            '--dump-dom',
            report.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 'data-ready="yes"' in done.stdout
    assert 'CONSOLE' not in done.stderr, done.stderr
    drawn = Page(done.stdout)
    tags = [tag for tag, _ in drawn.elements]
    assert tags.count('svg') >= 4 and 'canvas' in tags
    sources = [attrs['src'] for tag, attrs in drawn.elements if tag == 'img']
    assert sources and all(source.startswith('data:') for source in sources)
    # A hostile string is text on the page, and no element.
    assert not any('onerror' in attrs for _, attrs in drawn.elements)
