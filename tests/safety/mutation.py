"""Does anything notice when the envelope is wrong? Changes edge/safety.py in one place at a time and runs the safety tests on each.

Every mutant must make a test fail, or be listed in EQUIVALENT with the reason why it cannot be told from the original. An entry there
that fits no survivor is an error too. Run by test_safety_proof.py; by hand: ``python tests/safety/mutation.py [--list]``.

A mutant is compiled and executed into the loaded module, so no file is written and no interpreter is started per mutant.
"""

import ast
import contextlib
import copy
import io
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from edge import safety

HERE = Path(__file__).parent
# Cheapest first: most mutants fall to the first file, and the state machine is only asked about the rest.
BATTERY = [str(HERE / f"test_safety_{name}.py") for name in ("limits", "envelope", "machine")]

Key = tuple[str, str, str]  # function, right statement, wrong statement
# Mutants that no test can tell from the original, and why.
EQUIVALENT: dict[Key, str] = {
    **{
        (name, f"class {name}(msgspec.Struct, gc=False):", f"class {name}(msgspec.Struct, gc=True):"): "only spares the collector work"
        for name in ("_Output", "_Latch")
    },
    (
        "ActuatorLimits._problem",
        "return next((text for holds, text in checks if not holds), None)",
        "return next((text for holds, text in checks if not holds), 0)",
    ): "only its truth is used, and 0 is as false as None",
    ("_is_finite", "return False", "pass"): "only its truth is used, and None is as false as False",
}

ORDER = {ast.Lt: (ast.LtE, ast.Gt), ast.LtE: (ast.Lt, ast.GtE), ast.Gt: (ast.GtE, ast.Lt), ast.GtE: (ast.Gt, ast.LtE)}
EQUALITY = {ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In}
COMPARE: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {**ORDER, **{op: (other,) for op, other in EQUALITY.items()}}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.FloorDiv: ast.Mult}


def constants(node: ast.Constant) -> Iterator[ast.expr]:
    match node.value:
        case bool(value):
            yield ast.Constant(not value)
        case int(value) | float(value):
            yield from (ast.Constant(value + 1), ast.Constant(value - 1))
        case str(value):
            yield ast.Constant(value + "~")
        case None:
            yield ast.Constant(0)


def calls(node: ast.Call) -> Iterator[ast.expr]:
    match node.func:
        case ast.Name("min" | "max" as name):
            yield ast.Call(ast.Name("max" if name == "min" else "min", ast.Load()), node.args, node.keywords)
            yield from node.args
        case ast.Name("abs" | "float"):
            yield from node.args


def operators(node: ast.expr) -> Iterator[ast.expr]:
    match node:
        case ast.Compare(left, ops, comparators):
            for i, op in enumerate(ops):
                for other in COMPARE[type(op)]:
                    yield ast.Compare(left, [*ops[:i], other(), *ops[i + 1 :]], comparators)
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.And() if isinstance(op, ast.Or) else ast.Or(), values)
            yield from values
        case ast.BinOp(left, op, right):
            yield from (ast.BinOp(left, ARITHMETIC[type(op)](), right), left, right)
        case ast.UnaryOp(_, operand):
            yield operand
        case ast.IfExp(test, body, orelse):
            yield ast.IfExp(test, orelse, body)


def statements(node: ast.stmt) -> Iterator[ast.stmt]:
    match node:
        case ast.AnnAssign(value=None) | ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.ClassDef() | ast.Pass():
            return
        case ast.If(_, body, orelse):
            yield from (ast.If(ast.Constant(value), body, orelse) for value in (True, False))
        case ast.Break():
            yield ast.Continue()
        case _:
            yield ast.Pass()


def wrong(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand for a node that is right."""
    match node:
        case ast.Constant():
            return constants(node)
        case ast.Call():
            return calls(node)
        case ast.expr():
            return operators(node)
        case ast.stmt():
            return statements(node)
    return iter(())


def places(tree: ast.AST, where: str, statement: ast.AST) -> Iterator[tuple[str, ast.AST, ast.AST, Callable[[ast.AST], None]]]:
    """Every node that may be exchanged: its function, the statement it is in, the node, and the way to exchange it."""
    for field, value in ast.iter_fields(tree):
        for i, node in enumerate(value if isinstance(value, list) else [value]):
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not isinstance(node, ast.AST) or is_docstring or field in ("annotation", "returns", "ctx"):
                continue
            inside = f"{where}.{node.name}".lstrip(".") if isinstance(node, ast.ClassDef | ast.FunctionDef) else where
            around = node if isinstance(node, ast.stmt) else statement

            def put(new: ast.AST, field: str = field, i: int = i, value: object = value) -> None:
                if isinstance(value, list):
                    value[i] = new
                else:
                    setattr(tree, field, new)

            yield inside, around, node, put
            yield from places(node, inside, around)


def mutants(source: str) -> Iterator[tuple[Key, int, ast.Module]]:
    """Each mutant's key in EQUIVALENT, its line, and its whole tree."""
    tree = ast.parse(source)
    for where, statement, node, put in places(tree, "", tree):
        before = headline(statement)
        for new in list(wrong(node)):
            put(ast.copy_location(new, node))
            after = headline(new if node is statement else statement)
            mutated = ast.fix_missing_locations(copy.deepcopy(tree))
            put(node)
            yield (where, before, after), getattr(node, "lineno", 0), mutated


def headline(node: ast.AST) -> str:
    return ast.unparse(node).splitlines()[0]


def install(tree: ast.Module) -> bool:
    """Put a mutant in the place of edge.safety; False if it does not even load."""
    try:
        warnings.simplefilter("ignore", SyntaxWarning)  # mutants say such things as "0 is None"
        exec(compile(tree, safety.__file__, "exec"), vars(safety))  # noqa: S102
    except Exception:  # noqa: BLE001  a mutant may fail in any way
        return False
    return True


def battery_passes() -> bool:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        options = ["-x", "-q", "--tb=no", "--assert=plain", "--timeout=20", "-p", "no:cacheprovider", "--override-ini=addopts="]
        return pytest.main([*options, *BATTERY]) == pytest.ExitCode.OK


def survivors(source: str) -> Iterator[tuple[Key, int]]:
    original = ast.parse(source)
    if not (install(original) and battery_passes()):
        sys.exit("the safety tests fail on the original")
    for key, line, tree in mutants(source):
        if install(tree) and battery_passes():
            yield key, line
        install(original)


def main() -> int:
    source = Path(safety.__file__).read_text(encoding="utf-8")
    total = sum(1 for _ in mutants(source))
    if "--list" in sys.argv:
        sys.stdout.writelines(f"{line:4} {where}: {old}  ->  {new}\n" for (where, old, new), line, _ in mutants(source))
        return 0
    settings.register_profile(
        "mutation", derandomize=True, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
    )
    settings.load_profile("mutation")
    started = time.monotonic()
    alive = dict(survivors(source))
    lines = [f"SURVIVED, line {alive[key]} in {key[0]}: {key[1]}  ->  {key[2]}" for key in alive if key not in EQUIVALENT]
    lines += [f"LISTED, BUT NOTICED, in {key[0]}: {key[1]}  ->  {key[2]}" for key in EQUIVALENT if key not in alive]
    lines += [f"{total} mutants, {len(alive)} survived, {len(EQUIVALENT)} are explained, {time.monotonic() - started:.0f} s"]
    sys.stdout.write("\n".join([*lines, ""]))
    return int(alive.keys() != EQUIVALENT.keys())


if __name__ == "__main__":
    sys.exit(main())
