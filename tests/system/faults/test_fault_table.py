"""The page shows the faults that are tested, and no others."""

import ast
from pathlib import Path

from tests.system.faults.table import listed

HERE = Path(__file__).parent


def marked():
    """The arguments of every ``@pytest.mark.fault``, without running anything."""
    for file in sorted(HERE.glob("test_faults_*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "fault":
                yield tuple(ast.literal_eval(argument) for argument in node.args)


def test_every_fault_is_in_the_table_and_the_table_is_of_a_run_that_passed():
    assert sorted(listed()) == sorted(marked())
    assert len(listed()) >= 40


def test_no_row_of_the_page_failed():
    from tests.system.faults.table import BEGIN, END, PAGE

    assert "FAILED" not in PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
