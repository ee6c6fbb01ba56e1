import os
from pathlib import Path

import pytest

from tests.bridge.c_board import compile_shim


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if ready := os.environ.get("EDGE_BRIDGE_SHIM"):  # compiled for another purpose by another test
        return Path(ready)
    return compile_shim(tmp_path_factory.mktemp("shim"), "-O1", "-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")
