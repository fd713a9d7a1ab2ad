"""The GitHub workflows, run: each `run` step in a shell, in a fresh clone, with what a runner has by then and nothing else.

Stand-ins take the place of pip, comfy-cli and gh, and of the test suite itself, which has tests of its own. zizmor reads the
workflows for what goes wrong on GitHub: their syntax, permissions, secrets, and actions that aren't pinned.
"""

import contextlib
import itertools
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import yaml

from dev_tools import load_dev
from pack import ROOT
from shipped import repository_files

GITHUB = ROOT / ".github"
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in (GITHUB / "workflows").glob("*.yml")}
VERSION = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)[1]
POSIX = pytest.mark.skipif(os.name != "posix" or not shutil.which("bash"), reason="the steps that need a shell run on Ubuntu")
# What a step may say in ${{ }}, beside the matrix.
KNOWN = {
    "github.workspace": "{workspace}",
    "github.token": "a-token",
    "secrets.REGISTRY_ACCESS_TOKEN": "a-secret",
    "vars.PIP_EXTRA_INDEX_URL": "",
}
# Each notes how it was called. comfy comes with pip, and what comfy installs is where it was told.
STAND_INS = {
    "pip": 'if [ "$*" = "install comfy-cli" ]; then cp "$STAND_INS/comfy" "$BIN"; else exit 1; fi',
    "comfy": 'case "$*" in *" install "*) mkdir -p "$3"; touch "$3/main.py";; esac',
    "gh": "",
}


def combinations(job):
    """The values of a job's matrix, one dictionary for each of its runs; of one run without values where it has none."""
    matrix = dict(job.get("strategy", {}).get("matrix", {}))
    more = matrix.pop("include", [])
    product = [dict(zip(matrix, values, strict=True)) for values in itertools.product(*matrix.values())]
    return [*product, *more] if matrix else (more or [{}])


RUNS = [
    pytest.param(job, values, id="-".join([name, job_name, *values.values()]))
    for name, workflow in WORKFLOWS.items()
    for job_name, job in workflow["jobs"].items()
    for values in combinations(job)
]


def filled(text, values):
    """A text with its ${{ }} put in; KeyError for what nobody knows."""
    known = KNOWN | {f"matrix.{name}": value for name, value in values.items()}
    return re.sub(r"\$\{\{ *(.*?) *\}\}", lambda found: known[found[1]], str(text))


def is_wanted(condition, values):
    if condition in (None, "always()"):
        return True
    name, value = re.fullmatch(r"matrix\.(\w+) == '(.*)'", condition).groups()
    return values[name] == value


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The repository with all that isn't committed yet, and a release that has its date."""
    folder = tmp_path_factory.mktemp("source")
    for name in repository_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    changelog = folder / "CHANGELOG.md"
    text = changelog.read_text(encoding="utf-8")
    changelog.write_text(text.replace(f"## [{VERSION}] - Unreleased", f"## [{VERSION}] - 2026-11-27"), encoding="utf-8")
    return folder


class Runner:
    """A runner's machine at the start of a job: git, bash and the usual small tools, and no Python until it is set up."""

    def __init__(self, base, source):
        self.source, self.workspace, self.bin, self.temp = source, base / "work", base / "bin", base / "temp"
        stand_ins = base / "stand-ins"
        for folder in (self.workspace, self.bin, self.temp, stand_ins):
            folder.mkdir()
        self.calls = base / "calls"
        self.calls.touch()
        for name, does in STAND_INS.items():
            self._script(stand_ins / name, f'echo "{name} $*" >> "$CALLS"\n{does}')
        shutil.copy(stand_ins / "gh", self.bin)
        for name in ("bash", "mkdir", "touch", "cp", "cat"):
            (self.bin / name).symlink_to(shutil.which(name))
        self.env = {"PATH": str(self.bin), "BIN": str(self.bin), "STAND_INS": str(stand_ins), "CALLS": str(self.calls)}
        self.env |= {"RUNNER_TEMP": str(self.temp), "GITHUB_REF_NAME": f"v{VERSION}", "HOME": str(base)}

    def _script(self, path, text):
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def use(self, action, given):
        name = action.split("@")[0]
        if name == "actions/checkout":
            shutil.copytree(self.source, self.workspace / given.get("path", ""), dirs_exist_ok=True, copy_function=os.link)
        elif name == "actions/setup-python":
            # -S: of Python itself and nothing that was installed here.
            self._script(self.bin / "python", f'exec "{sys.executable}" -S "$@"')
            shutil.copy(Path(self.env["STAND_INS"]) / "pip", self.bin)
        else:
            assert name == "actions/upload-artifact"

    def run(self, script, folder, env):
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=self.workspace / folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def run_suite(self, script, folder, env, monkeypatch):
        """`python …dev.py test …`: it begins, and understands its options. Returns whose tests it would run."""
        _, path, command, *options = shlex.split(script)
        assert "dev.py test" in (ROOT / "README.md").read_text(encoding="utf-8")
        assert "--no-host" in self.run(f"python {path} test --help", folder, env)
        dev, asked = load_dev(self.workspace / folder / path), []
        which = lambda options, pack, host, all_hosts: asked.extend(["pack"] * pack + ["host"] * host) or 0  # noqa: E731
        monkeypatch.setattr(dev.suites, "test", which)
        monkeypatch.setattr(dev.suites, "test_scale", lambda options: asked.append("scale") or 0)
        monkeypatch.setattr(dev.sys, "argv", [path, command, *options])
        assert dev.main() == 0
        return asked


def play(runner, job, values, monkeypatch):
    """Run the steps of a job as GitHub would. Returns whose tests it would run."""
    suites = []
    env = {name: filled(text, values).format(workspace=runner.workspace) for name, text in job.get("env", {}).items()}
    for step in job["steps"]:
        if not is_wanted(step.get("if"), values):
            continue
        if "uses" in step:
            runner.use(step["uses"], {name: filled(text, values) for name, text in step.get("with", {}).items()})
            continue
        script, folder = filled(step["run"], values), step.get("working-directory", "")
        assert "a-secret" not in script, "a secret goes into the environment"
        more = env | {name: filled(text, values) for name, text in step.get("env", {}).items()}
        if re.match(r"python \S*dev\.py test\b", script):
            suites += runner.run_suite(script, folder, more, monkeypatch)
        else:
            runner.run(script, folder, more)
    return suites


@POSIX
@pytest.mark.parametrize(("job", "values"), RUNS)
def test_every_step_runs(job, values, source, tmp_path, monkeypatch):
    runner = Runner(tmp_path, source)
    tested = set(play(runner, job, values, monkeypatch))
    if "comfyui" in values:
        assert (runner.workspace / "ComfyUI" / "main.py").is_file() and tested == {"host"}
        assert f"--version {values['comfyui']}" in runner.calls.read_text()
    else:
        assert tested == {"scale" if job is WORKFLOWS["scale"]["jobs"]["scale"] else "pack"}


@POSIX
def test_a_release_is_published_with_its_section_of_the_changelog(source, tmp_path, monkeypatch):
    play(Runner(tmp_path, source), WORKFLOWS["release"]["jobs"]["release"], {}, monkeypatch)
    _, publish, release = (tmp_path / "calls").read_text().splitlines()
    notes = tmp_path / "temp" / "notes.md"
    assert publish == f"comfy --skip-prompt node publish --token a-secret --changelog-file {notes}"
    assert release == f"gh release create v{VERSION} --title v{VERSION} --notes-file {notes} --verify-tag"
    assert notes.read_text(encoding="utf-8").startswith(("### ", "The first version."))


@pytest.mark.parametrize(("job", "values"), RUNS)
def test_what_also_runs_on_windows_is_a_plain_command(job, values):
    """PowerShell is the shell there."""
    if "windows" in values.get("os", ""):
        scripts = [step["run"] for step in job["steps"] if "run" in step]
        assert scripts and [script for script in scripts if not re.fullmatch(r"[\w. /-]+", script)] == []


@POSIX
@pytest.mark.parametrize(
    ("step", "error"),
    [
        ({"run": "true"}, None),
        ({"run": "false"}, AssertionError),
        ({"run": "python -c 'import numpy'"}, AssertionError),
        ({"run": "comfy node validate"}, AssertionError),
        ({"run": "python dev.py test --host-only --no-host"}, SystemExit),
        ({"run": "python elsewhere/dev.py test"}, AssertionError),
        ({"run": "echo ${{ secrets.REGISTRY_ACCESS_TOKEN }}"}, AssertionError),
        ({"run": "echo ${{ matrix.nosuch }}"}, KeyError),
        ({"uses": "someone/else@v1"}, AssertionError),
    ],
)
def test_a_step_that_fails_on_a_runner_is_seen(step, error, source, tmp_path, monkeypatch):
    steps = [{"uses": "actions/checkout@v7"}, {"uses": "actions/setup-python@v7"}, step]
    with pytest.raises(error) if error else contextlib.nullcontext():
        play(Runner(tmp_path, source), {"steps": steps}, {}, monkeypatch)


def test_nothing_is_known_to_be_wrong_with_them():
    zizmor = shutil.which("zizmor", path=sysconfig.get_path("scripts"))
    done = subprocess.run([zizmor, "--offline", "--no-progress", GITHUB], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and "No findings" in done.stdout, done.stdout + done.stderr


def test_the_comment_at_an_action_s_commit_is_its_version():
    """zizmor wants a commit; which version it is, only the comment says, and Dependabot reads it."""
    for path in (GITHUB / "workflows").glob("*.yml"):
        used = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
        assert used and [one for one in used if not re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
