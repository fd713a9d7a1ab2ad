"""What the registry ships: the pack and nothing else, whole without the rest, and free of what its scanner refuses."""

import os
import re
import shutil
import subprocess
import sys
import zipfile

import pytest

from pack import ROOT
from pages import broken
from shipped import repository_files, shipped_files, unpack

TOP = {
    "LICENSE",
    "README.md",
    "__init__.py",
    "__main__.py",
    "adoption",
    "api",
    "atomic_write.py",
    "comfyui",
    "contract.py",
    "docs",
    "errors.py",
    "locales",
    "models",
    "node_list.json",
    "nodes",
    "picture_file.py",
    "pyproject.toml",
    "requirements-scale.txt",
    "requirements-standalone.txt",
    "requirements.txt",
    "standalone",
    "subgraphs",
    "web",
    "workflows",
}
SHIPPED = shipped_files()
# The registry's scanner, by the names that its findings have (they are given out with each version's status_reason), and the
# rules that its standards and comfy-cli state. It reads text without parsing it: docstrings and JavaScript count as well.
NEVER = {
    "python_command_injection_risk": r"subprocess|\bos\s*\.\s*(system|popen|exec\w*|spawn\w*|startfile)\b",
    "python_bytecode_manipulation": r"__import__|\bmarshal\b|(?<![.\w])compile\s*\(|types\.(Code|Function)Type",
    "eval and exec (S102, S307)": r"(?<![.\w])(eval|exec)\s*\(|new Function\s*\(",
    "pip at run time": r"pip\s*\.\s*(main|_internal)|\bensurepip\b|easy_install",
    "obfuscated code": r"(\\x[0-9a-fA-F]{2}){8}|(\\u[0-9a-fA-F]{4}){40}|\brot.?13\b|zlib\.decompress|\batob\s*\(|fromCharCode",
    "unsafe deserialisation": r"(pickle|yaml|dill)\s*\.\s*(loads?|unsafe_load|Unpickler)\b|weights_only\s*=\s*False",
    "sockets and servers": r"socket\s*\.\s*socket\b|\.(bind|listen|accept)\s*\(|http\.server|socketserver",
    "windows_process_manipulation": r"\bctypes\b|\bwinreg\b|OpenProcess",
    "contains_rm_rf": r"\brm -(rf|fr)\b",
    "imports_cryptography_py": r"\bcryptography\b|\bCrypto\.",
    "contains_btc_address": r"\b(bc1[a-z0-9]{25,}|[13][a-km-zA-HJ-NP-Z1-9]{26,34})\b",
    "contains_custom_url_dependency": r"git\+https?:|--(extra-)?index-url|--find-links|\bpip3? install (-\S+ )*https?:",
    "SUSP_SVG_Onload_Onerror": r"\bon(load|error)\s*=",
}
# What the pack is for needs these. Each file is one more that the registry's people look at: tell them why, as here.
KNOWN = {
    "python_network_operations": (
        r"aiohttp\s*\.\s*ClientSession|urllib\.request|urlopen|http\.client|\brequests\s*\.|\bhttpx\b|"
        r"\.(connect|send|sendall|sendto|recv\w*)\s*\(|\bsocket\s*\.|XMLHttpRequest|(?<![.\w])fetch\s*\(|WebSocket",
        {
            "comfyui/client.py": "ComfyUI's own queue, over loopback; with `serve --comfyui`, those that its user names",
            "api/download.py": "fetches the photo that a client of the local API names, if its address is public or allowed",
            "api/hosted/client.py": "the node of the hosted service",
            "api/hosted/exchange.py": "the node of the hosted service",
            "api/local/store/postgres.py": "PostgreSQL, where several fronts share it",
            "api/local/store/sqlite.py": "SQLite's connect",
            "api/local/routes/access.py": "this machine's name, against DNS rebinding",
            "standalone/cli/doctor_rows/api.py": "`doctor`, which a user types, asks ComfyUI on this machine",
            "standalone/cli/file_download.py": "`models download`, which a user types",
            "standalone/server/page/client.js": "the page of `serve`, which calls the server that it comes from",
            "standalone/server/page/page.js": "the page of `serve`, which asks that server what it offers",
            "web/js/template_list.js": "the templates' titles, from the pack's own folder",
            "web/js/templates.js": "the drawn face, from the pack's own folder",
        },
    ),
    "python_database_connections": (
        r"sqlite3\s*\.\s*connect|psycopg",
        {
            "api/local/store/postgres.py": "the local API's jobs, where several fronts share them",
            "api/local/store/sqlite.py": "the local API's jobs",
            "pyproject.toml": "a library without types",
            "requirements-scale.txt": "which nobody needs who has one machine",
        },
    ),
    "python_environment_manipulation": (
        r"\bos\s*\.\s*(environ|getenv|putenv|unsetenv)\b|from os import",
        {
            "__main__.py": "how ONNX Runtime's threads wait, on the command line",
            "api/hosted/profiles.py": "the hosted service's key",
            "api/local/config.py": "the local API's token",
            "models/published.py": "a mirror of Hugging Face, by the name that its own library reads",
            "standalone/cli/comfyui_options.py": "the token of the ComfyUIs that its user names",
            "standalone/cli/comfyui.py": "which ComfyUI the shell came through",
            "standalone/cli/doctor_rows/files.py": "whether there is a key",
            "standalone/cli/generate.py": "how many threads",
            "standalone/cluster/connection.py": "how processes that Ray starts find the pack",
            "standalone/cli/main.py": "fewer messages of the libraries, on the command line",
        },
    ),
}
READ = {".py", ".js", ".json", ".toml", ".txt", ".html", ".css", ".yaml", ".yml", ".svg"}


def found(pattern, files=None):
    """The files of the archive in which a pattern is."""
    files = files or {name: (ROOT / name).read_text(encoding="utf-8") for name in SHIPPED if READ & {os.path.splitext(name)[1]}}
    return {name for name, text in files.items() if re.search(pattern, text)}


def test_it_is_the_pack_and_nothing_else():
    assert {name.split("/")[0] for name in SHIPPED} == TOP
    assert "docs/architecture.md" in repository_files() and "docs/architecture.md" not in SHIPPED


def test_it_is_the_whole_pack():
    """No pattern of .comfyignore reaches into a folder of the pack."""
    folders = tuple(f"{name}/" for name in TOP - {"docs"} if (ROOT / name).is_dir())
    assert (
        len(folders) == 10 and [name for name in repository_files() if name.startswith(folders) and name not in SHIPPED] == []
    )
    size = sum((ROOT / name).stat().st_size for name in SHIPPED)
    assert size < 30e6, "users download it with each update"


@pytest.mark.skipif(not (ROOT / ".git").exists() or not shutil.which("git"), reason="needs git, and a clone")
def test_the_files_are_those_that_git_knows_or_would_take():
    command = [
        "git",
        "-C",
        ROOT,
        "-c",
        f"core.excludesFile={os.devnull}",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]
    listed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout.split("\0")
    assert repository_files() == sorted({name for name in listed if name and (ROOT / name).is_file()})


@pytest.mark.parametrize("rule", NEVER)
def test_nothing_is_in_it_that_the_scanner_refuses(rule):
    assert found(NEVER[rule]) == set()


@pytest.mark.parametrize("rule", KNOWN)
def test_what_the_scanner_asks_about_is_in_few_files_that_need_it(rule):
    pattern, reasons = KNOWN[rule]
    assert found(pattern) == set(reasons)


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("python_command_injection_risk", "import subprocess"),
        ("python_command_injection_risk", "os.system('ls')"),
        ("python_bytecode_manipulation", "__import__('os')"),
        ("eval and exec (S102, S307)", "x = eval(text)"),
        ("pip at run time", "pip.main(['install', 'x'])"),
        ("obfuscated code", "exec('" + "\\x61" * 8 + "')"),
        ("unsafe deserialisation", "pickle.load(file)"),
        ("sockets and servers", "s.bind(('', 80))"),
        ("windows_process_manipulation", "import ctypes"),
        ("contains_rm_rf", "rm -rf folder"),
        ("imports_cryptography_py", "from cryptography import fernet"),
        ("contains_btc_address", "1" + "Abc" * 10),
        ("contains_custom_url_dependency", "git+https://example.org/x"),
        ("SUSP_SVG_Onload_Onerror", '<svg onload="x()">'),
    ],
)
def test_what_is_refused_is_seen(rule, text):
    assert found(NEVER[rule], {"a.py": text}) == {"a.py"}


def test_every_rule_is_tried():
    tried = {mark.args[1][i][0] for mark in test_what_is_refused_is_seen.pytestmark for i in range(len(mark.args[1]))}
    assert tried == set(NEVER)


def test_no_line_is_made_for_machines():
    """Minified code is obfuscated code to the scanner."""
    scripts = [name for name in SHIPPED if name.endswith((".py", ".js"))]
    lines = {name: max(map(len, (ROOT / name).read_text(encoding="utf-8").splitlines()), default=0) for name in scripts}
    assert len(scripts) > 100 and {name: n for name, n in lines.items() if n > 300} == {}


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return unpack(tmp_path_factory.mktemp("custom_nodes") / "facegen")


def test_comfy_cli_s_security_check_finds_nothing(archive):
    """The rules that `comfy node publish` looks for, on the files that it would upload."""
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--no-cache", "--select", "S102,S307,E702", str(archive)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("page", [n for n in SHIPPED if n.endswith(".md") and not n.startswith("web/")])
def test_links_of_its_pages_lead_to_what_is_shipped_too(archive, page):
    assert list(broken(archive / page)) == []


def test_the_readme_says_which_commands_need_more_than_the_archive():
    """A command of the README's either names what is shipped, or needs the clone that the README speaks of."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line.strip() for block in re.findall(r"```\n(.*?)```", readme, re.DOTALL) for line in block.splitlines()]
    of_a_clone = [command for command in commands if command.startswith(("python3 dev.py ", ".venv/bin/python "))]
    assert "dev.py" not in SHIPPED and "commands below that begin with `python3 dev.py` need one" in " ".join(readme.split())
    assert of_a_clone and readme.index("need one") < readme.index(of_a_clone[0])
    files = {word for command in commands if command not in of_a_clone for word in command.split() if word.endswith(".txt")}
    assert files == {"requirements.txt"} <= set(SHIPPED)


def test_its_command_line_runs_without_the_rest(archive, tmp_path):
    """That its modules import nothing outside is tested with the arrows, and that ComfyUI runs it in tests/host."""
    command = [sys.executable, str(archive), "models", "list"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "buffalo_l" in done.stdout, done.stderr


@pytest.mark.skipif(not shutil.which("comfy"), reason="needs comfy-cli")
def test_comfy_cli_validates_and_packs_the_same(tmp_path):
    """In a copy of the repository, as `comfy node publish` does it. comfy-cli isn't among the tests' requirements, because it
    brings 170 MB and usage tracking; the test workflow installs it beside them."""
    copy = tmp_path / "copy"
    for name in repository_files():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy / name)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", "-C", copy, *command], check=True, timeout=300)
    env = os.environ | {"DO_NOT_TRACK": "1", "HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}

    def comfy(*command):
        done = subprocess.run(
            ["comfy", "--skip-prompt", "node", *command], cwd=copy, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    said = comfy("validate")
    assert "All validation checks passed" in said and "Warning" not in said
    comfy("pack")
    with zipfile.ZipFile(copy / "node.zip") as packed:
        assert sorted(packed.namelist()) == SHIPPED
