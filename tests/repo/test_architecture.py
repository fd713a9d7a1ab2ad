"""Which room may import which: read from the code's own imports, lazy ones included. docs/architecture.md says why."""

import ast
from collections import defaultdict

import pytest

from pack import ROOT

GROUND = {"contract", "errors", "atomic_write", "picture_file"}
# Room -> rooms that it may import beside itself. A room is the longest entry here that a module's name begins with.
ARROWS = {
    "contract": {"errors"},
    "errors": set(),
    "atomic_write": set(),
    "picture_file": {"errors"},
    "models": GROUND,
    "api": GROUND,
    "comfyui": {"models", "api", *GROUND},
    "nodes.host": {"comfyui", "models", "api", *GROUND},
    "adoption": GROUND,
    "nodes": {"nodes.host", "adoption", "models", "api", *GROUND},
    "standalone": {"comfyui", "models", "api", *GROUND},
    "standalone.cli": {"standalone", "adoption", "models", "api", *GROUND},
    "tools": {"standalone", "standalone.cli", "nodes", "nodes.host", "comfyui", "models", "api", *GROUND},
    "__init__": {"nodes"},
    "__main__": {"standalone.cli"},
}
COMFYUI = {"comfy", "comfy_api", "comfy_api_nodes", "comfy_config", "comfy_execution", "comfy_extras"}
COMFYUI |= {"execution", "folder_paths", "latent_preview", "node_helpers", "nodes", "server"}
# Libraries that a room may not import, wherever in a file.
NEVER = {
    "models": {*COMFYUI, "diffusers", "aiohttp"},
    "api": {*COMFYUI, "torch", "diffusers", "insightface"},
    "comfyui": {*COMFYUI, "torch", "diffusers"},
    "adoption": {*COMFYUI, "torch", "numpy", "PIL"},
    "contract": {*COMFYUI, "torch", "numpy", "PIL"},
    "errors": {*COMFYUI, "torch", "numpy", "PIL"},
    "atomic_write": {*COMFYUI, "torch", "numpy", "PIL"},
    "picture_file": {*COMFYUI, "torch"},
    "standalone": {*COMFYUI, "skia"},
}
# Imports that no statement shows, and who may: the door from a shell loads the pack, doctor tries libraries, an error that
# comes from another process finds its class.
BY_NAME = {"import_module", "__import__", "spec_from_file_location", "run_path", "run_module"}
MAY_BY_NAME = {"__main__", "errors", "standalone.cli.doctor"}
FOLDERS = ("adoption", "api", "comfyui", "models", "nodes", "standalone", "tools")


def modules():
    """Dotted name -> file, of the pack's own code; a package is called by its folder."""
    files = [*ROOT.glob("*.py"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.py"))]
    names = [file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".") for file in files]
    return {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}


MODULES = modules()


def room(module):
    return max((name for name in ARROWS if module == name or module.startswith(f"{name}.")), key=len, default=None)


def imports(module, file):
    """(line, what is imported) of every import: a dotted name of the pack's own, or a library's first name with a `!`."""
    package = module.split(".") if file.name == "__init__.py" and module != "__init__" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, _absolute(alias.name)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                yield node.lineno, _absolute(f"{node.module}.{alias.name}")
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *(node.module.split(".") if node.module else ())]
            for alias in node.names:
                yield node.lineno, ".".join([*base, alias.name])


def _absolute(name):
    first, _, rest = name.partition(".")
    if first == "facegen":
        return rest
    return name if first == "tools" else f"!{first}"


def own(name):
    """The module of the pack that an import reaches, without the name that it takes from there."""
    return name if name in MODULES else name.rpartition(".")[0]


def arrows():
    """(module, line, module or `!library`)."""
    for module, file in MODULES.items():
        for line, name in imports(module, file):
            yield module, line, name if name.startswith("!") else own(name)


def forbidden(found):
    for module, line, target in found:
        start = room(module)
        if target.startswith("!"):
            places = [where for where in NEVER if module == where or module.startswith(f"{where}.")]
            if any(target[1:] in NEVER[where] for where in places):
                yield f"{module}:{line} imports {target[1:]}"
        elif start is None:
            continue
        elif room(target) != start and room(target) not in ARROWS[start]:
            yield f"{module}:{line} imports {target}"


def test_every_module_is_in_a_room():
    assert [module for module in MODULES if room(module) is None and module != "dev"] == []


def imported_by_name(tree):
    """Lines that import what is named by a text."""
    return [node.lineno for node in ast.walk(tree) if {getattr(node, "id", None), getattr(node, "attr", None)} & BY_NAME]


def test_imports_are_statements():
    """Others would not be seen here."""
    trees = {module: ast.parse(file.read_text(encoding="utf-8")) for module, file in MODULES.items()}
    found = {module for module, tree in trees.items() if imported_by_name(tree)}
    assert {module for module in found if room(module) != "tools"} == MAY_BY_NAME
    assert imported_by_name(ast.parse('importlib.import_module("facegen.nodes.face")')) == [1]


def test_arrows_point_one_way():
    assert list(forbidden(arrows())) == []


def test_nothing_but_the_door_imports_nodes_and_nothing_shipped_imports_tools():
    into = defaultdict(set)
    for module, _, target in arrows():
        into[(room(target) or "").split(".")[0]].add((room(module) or module).split(".")[0])
    assert into["nodes"] == {"nodes", "__init__", "tools"}
    assert into["tools"] <= {"tools", "dev"}


def circle(after):
    """A way through `after` (module -> modules that it imports) that ends where it began; empty where there is none."""
    done, path = set(), []

    def visit(module):
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        path.append(module)
        found = next(filter(None, (visit(target) for target in sorted(after.get(module, ())))), [])
        path.pop()
        done.add(module)
        return found

    return next(filter(None, map(visit, after)), [])


def test_no_circles():
    """Among modules, lazy imports and those for type checkers included."""
    after = {module: set() for module in MODULES}
    for module, _, target in arrows():
        if target in MODULES and target != module:
            after[module].add(target)
    assert sum(map(len, after.values())) > 300 and circle(after) == []


def test_a_circle_is_seen():
    assert circle({"a": {"b", "d"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


@pytest.mark.parametrize(
    ("module", "target"),
    [
        ("models.style", "api.download"),
        ("api.local.runner", "comfyui.client"),
        ("comfyui.graph", "nodes.host.combos"),
        ("comfyui.client", "!server"),
        ("models.style", "nodes.face"),
        ("api.local.server", "models.style"),
        ("nodes.host.reports", "nodes.face"),
        ("standalone.engine", "nodes.face"),
        ("standalone.engine", "standalone.cli.doctor"),
        ("standalone.engine", "tools.tiny_model.run"),
        ("models.style", "!comfy"),
        ("models.style", "!comfy_execution"),
        ("api.local.runner", "!execution"),
        ("models.face.analysis", "!diffusers"),
        ("api.local.store.jobs", "!torch"),
        ("errors", "contract"),
    ],
)
def test_an_arrow_turned_round_is_seen(module, target):
    assert list(forbidden([(module, 1, target)]))


def test_a_file_and_a_folder_stay_small():
    """About 400 lines and about 12 files; more wants two rooms, or a floor more."""
    long = {name: n for name, file in MODULES.items() if (n := len(file.read_text(encoding="utf-8").splitlines())) > 400}
    folders = defaultdict(set)
    for file in MODULES.values():
        if file.parent != ROOT and file.name not in ("__init__.py", "__main__.py"):
            folders[file.parent.relative_to(ROOT).as_posix()].add(file.name)
    assert long == {} and {name: len(files) for name, files in folders.items() if len(files) > 13} == {}


def test_every_folder_of_code_says_what_it_holds():
    packages = [file for file in MODULES.values() if file.name == "__init__.py" and file.parent != ROOT]
    assert [p.parent.name for p in packages if not ast.get_docstring(ast.parse(p.read_text(encoding="utf-8")))] == []
