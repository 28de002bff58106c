"""What can be changed in a source file: each change, made alone, should make a test fail.

Messages of errors, asserts and annotations stay as they are.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

SWAPS: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.And: ast.Or, ast.Or: ast.And,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file."""

    source: str  # path in the repository
    line: int
    change: str  # before -> after
    number: int  # among all mutants of the file

    @property
    def title(self) -> str:
        """What stands in the report, without the line, which moves."""
        return f"{self.source}: {self.change}"


def alternatives(node: ast.AST) -> Iterator[ast.AST]:
    """What may stand in the place of `node`."""
    twin = copy.deepcopy(node)
    if isinstance(twin, ast.Compare) and type(twin.ops[0]) in SWAPS:
        twin.ops[0] = SWAPS[type(twin.ops[0])]()
        yield twin
    elif isinstance(twin, (ast.BinOp, ast.BoolOp)) and type(twin.op) in SWAPS:
        twin.op = SWAPS[type(twin.op)]()
        yield twin
    elif isinstance(twin, ast.UnaryOp) and isinstance(twin.op, (ast.Not, ast.Invert, ast.USub)):
        yield twin.operand
    elif isinstance(twin, ast.IfExp):
        yield from (twin.body, twin.orelse)
    elif isinstance(twin, ast.Call) and isinstance(twin.func, ast.Name) and twin.func.id in NAMES:
        twin.func.id = NAMES[twin.func.id]
        yield twin
    elif isinstance(twin, ast.Constant) and isinstance(twin.value, (bool, int, float)):
        twin.value = (not twin.value) if isinstance(twin.value, bool) else twin.value + 1
        yield twin
    elif isinstance(twin, ast.Slice):
        for end in ("lower", "upper"):
            if (bound := getattr(twin, end)) is not None:
                moved = copy.deepcopy(twin)
                setattr(moved, end, ast.BinOp(bound, ast.Add(), ast.Constant(1)))
                yield moved
    elif isinstance(twin, ast.Return) and not (twin.value is None or isinstance(twin.value, ast.Constant)):
        yield ast.Return(ast.Constant(None))
    elif removable(twin):
        yield ast.Pass()


def removable(node: ast.AST) -> bool:
    """A guard, a call for its effect, or a value that is stored in an attribute or added up."""
    if isinstance(node, ast.If):
        return not node.orelse
    if isinstance(node, ast.Assign):
        return any(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return isinstance(node, ast.AugAssign) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))


def places(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.AST]]:
    """Every (parent, field, index in the field or None, node) that may change, in the order of the source."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for index, part in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(part, (ast.Raise, ast.Assert, ast.JoinedStr, ast.Import, ast.ImportFrom)):
                continue
            if isinstance(part, ast.AST):
                yield node, name, index, part
                yield from places(part)


def all_mutants(source: str) -> Iterator[tuple[Mutant, ast.Module]]:
    """Every mutant of a file with its tree."""
    tree, number = ast.parse((ROOT / source).read_text()), 0
    for parent, name, index, node in list(places(tree)):
        for other in alternatives(node):
            ast.copy_location(other, node)
            hold(parent, name, index, other)
            ast.fix_missing_locations(tree)
            change = f"`{text(node)}` -> `{text(other)}`"
            yield Mutant(source, getattr(node, "lineno", getattr(parent, "lineno", 0)), change, number), tree
            hold(parent, name, index, node)
            number += 1


def hold(parent: ast.AST, name: str, index: int | None, node: ast.AST) -> None:
    """Put `node` in its place."""
    if index is None:
        setattr(parent, name, node)
    else:
        getattr(parent, name)[index] = node


def text(node: ast.AST) -> str:
    """The first line of its source."""
    if isinstance(node, ast.Slice):
        return ast.unparse(ast.Subscript(ast.Name("_"), node))
    return ast.unparse(node).splitlines()[0]


def sample(source: str, count: int) -> list[Mutant]:
    """A fixed choice of `count` mutants of a file, in the order of its lines."""
    found = [mutant for mutant, _ in all_mutants(source)]
    chosen = random.Random(source).sample(found, min(count, len(found)))
    return sorted(chosen, key=lambda mutant: mutant.number)
