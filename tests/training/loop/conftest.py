# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from tests.training.loop import tiny


@pytest.fixture(scope='session', autouse=True)
def _tiny_is_known():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    tiny.install()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def config(tmp_path):
    return tiny.write_config(tmp_path)
