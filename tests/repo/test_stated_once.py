"""What contract.py states stands nowhere else in the shipped code: styles, redactions, their defaults, the range of s_scale,
the usual sizes, steps and guidance.
"""

import ast

import pytest

from facegen.contract import FIELDS, SAFETY_CHECKER_TYPES, STYLES
from pack import ROOT

SHIPPED = [
    *ROOT.glob("*.py"),
    *(
        file
        for folder in ("adoption", "api", "comfyui", "models", "nodes", "standalone", "tools")
        for file in (ROOT / folder).rglob("*.py")
    ),
]
LISTS = {"style": set(STYLES), "safety_checker_type": set(SAFETY_CHECKER_TYPES)}
DEFAULTS = {name: FIELDS[name].default for name in LISTS}
# The renderer of drawings has a look for each style, in tables by the style's name.
LOOKS = "tools/tiny_model/drawings/"
SIZES = ("width", "height", "num_inference_steps", "guidance_scale")
LIMITS = {"min", "max", "minimum", "maximum", "low", "high", "lowest", "highest"}


def restated(tree, where=""):
    """(line, what) of each second spelling in a module."""
    for node in ast.walk(tree):
        for what in (*_lists(node, where), *_defaults(node), *_ranges(node), *_sizes(node)):
            yield getattr(node, "lineno", 0), what


def _lists(node, where):
    """A tuple, list, set or table that holds all styles or all redactions."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        parts = node.elts
    elif isinstance(node, ast.Dict) and not where.startswith(LOOKS):
        parts = node.keys
    else:
        return
    texts = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
    yield from (f"the names of every {name}" for name, names in LISTS.items() if names <= texts)


def _defaults(node):
    """A default in quotes: of a parameter, a dataclass's field, an argument, an entry of a table, or a constant on its own."""
    if isinstance(node, ast.AnnAssign | ast.Assign):
        # BLACK = "black" is the contract's own.
        yield from (f"{name} in quotes" for name, default in DEFAULTS.items() if _text(node.value) == default)
        return
    for name, default in DEFAULTS.items():
        if any(_text(value) == default and (given == name or given == "default") for given, value in _pairs(node)):
            yield f"{name}'s default in quotes"


def _sizes(node):
    """The default of a size, of the steps or of the guidance as a number, beside its name."""
    pairs = _pairs(node)
    if isinstance(node, ast.Call) and node.args and _text(node.args[0]) in SIZES:
        pairs += [(_text(node.args[0]), keyword.value) for keyword in node.keywords if keyword.arg in {"default", *LIMITS}]
    for name, value in pairs:
        if name in SIZES and isinstance(value, ast.Constant) and value.value == FIELDS[name].default:
            yield f"the default of {name} as a number"


def _pairs(node):
    """(name, value) of a parameter's default, a field's, an argument, an entry of a table."""
    pairs = []
    if isinstance(node, ast.arguments):
        last = [*node.posonlyargs, *node.args]
        pairs += [(arg.arg, value) for arg, value in zip(last[len(last) - len(node.defaults) :], node.defaults, strict=True)]
        pairs += [(arg.arg, value) for arg, value in zip(node.kwonlyargs, node.kw_defaults, strict=True)]
    elif isinstance(node, ast.AnnAssign | ast.Assign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        pairs += [(getattr(target, "id", getattr(target, "attr", "")), node.value) for target in targets]
    elif isinstance(node, ast.Dict):
        pairs += [(_text(key), value) for key, value in zip(node.keys, node.values, strict=True)]
    elif isinstance(node, ast.Call):
        pairs += [(keyword.arg, keyword.value) for keyword in node.keywords]
    return pairs


def _ranges(node):
    """A limit of s_scale as a number: beside its name in a call, in a comparison, or in a constant that is named for it."""
    if isinstance(node, ast.Call) and any(_text(part) == "s_scale" for part in node.args):
        limits = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg in LIMITS)]
    elif isinstance(node, ast.Compare) and any(_name(part) == "s_scale" for part in (node.left, *node.comparators)):
        # Whether it is 1 is another question.
        ordered = any(isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE) for operator in node.ops)
        limits = (node.left, *node.comparators) if ordered else ()
    elif isinstance(node, ast.Assign) and any("s_scale_" in _name(target).lower() for target in node.targets):
        limits = node.value.elts if isinstance(node.value, ast.Tuple | ast.List) else [node.value]
    else:
        return
    if any(isinstance(limit, ast.Constant) and isinstance(limit.value, int | float) for limit in limits):
        yield "a limit of s_scale as a number"


def _text(node):
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _name(node):
    return getattr(node, "id", getattr(node, "attr", ""))


def test_the_code_states_nothing_of_the_contract_again():
    found = []
    for file in SHIPPED:
        where = file.relative_to(ROOT).as_posix()
        if where != "contract.py":
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found += [f"{where}:{line} states {what}" for line, what in restated(tree, where)]
    assert len(SHIPPED) > 100 and found == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ('ORDER = ("realistic", "anime", "3d", "chibi", "comic")', "every style"),
        ('styles = {"comic", "chibi", "3d", "anime", "realistic", "own"}', "every style"),
        ('for style in ["realistic", "anime", "3d", "chibi", "comic"]: pass', "every style"),
        ('LOOK = {"realistic": 1, "anime": 2, "3d": 3, "chibi": 4, "comic": 5}', "every style"),
        ('DO = {"black": a, "blur": b, "pixelate": c, "sensitive_content_text": d}', "every safety_checker_type"),
        ('x = ["black", "blur", "pixelate", "sensitive_content_text"]', "every safety_checker_type"),
        ('io.Combo.Input("safety_checker_type", default="black")', "safety_checker_type's default"),
        ('def redact(images, safety_checker_type="black"): pass', "safety_checker_type's default"),
        ('def redact(images, *, safety_checker_type="black"): pass', "safety_checker_type's default"),
        ('class Request:\n    style: str = "realistic"', "style in quotes"),
        ('generate(style="realistic")', "style's default"),
        ('io.Int.Input("width", default=512, min=64)', "the default of width"),
        ("def generate(prompt, height=512): pass", "the default of height"),
        ('USUAL = {"num_inference_steps": 31}', "the default of num_inference_steps"),
        ("class Request:\n    guidance_scale: float = 7.5", "the default of guidance_scale"),
        ('DEMO = {"style": "realistic"}', "style's default"),
        ('BLACK = "black"', "safety_checker_type in quotes"),
        ("S_SCALE_RANGE = (0.0, 2.0)", "s_scale"),
        ('io.Float.Input("s_scale", min=0.0, max=2.0)', "s_scale"),
        ('number(path, data, "s_scale", 2.0)', "s_scale"),
        ("if not 0 <= s_scale <= 2: pass", "s_scale"),
        ("if request.s_scale > 2: pass", "s_scale"),
    ],
)
def test_a_second_spelling_is_seen(code, says):
    assert any(says in what for _, what in restated(ast.parse(code)))


@pytest.mark.parametrize(
    "code",
    [
        'if style in ("realistic", "3d"): pass',
        'HAIR = {"black": (0, 0, 0), "brown": (1, 1, 1)}',
        'io.Combo.Input("safety_checker_type", **widget("safety_checker_type", tooltip="…"))',
        'io.Float.Input("s_scale", **widget("s_scale", step=0.01))',
        "if s_scale != 1: pass",
        'def redact(safety_checker_type=FIELDS["safety_checker_type"].default): pass',
    ],
)
def test_what_is_no_second_spelling_passes(code):
    assert list(restated(ast.parse(code))) == []


def test_the_looks_of_the_drawings_are_tables_and_no_list():
    table, order = 'EYES = {"realistic": 1, "anime": 2, "3d": 3, "chibi": 4, "comic": 5}', f"STYLES = {STYLES!r}"
    assert list(restated(ast.parse(table), f"{LOOKS}features.py")) == []
    assert list(restated(ast.parse(order), f"{LOOKS}person.py"))
