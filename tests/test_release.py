"""What is published: the files that say what a release is, beside what the package says of itself."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from ruamel.yaml import YAML

from suite import __version__

ROOT = Path(__file__).resolve().parent.parent


def test_the_citation_is_of_this_version_and_of_no_person() -> None:
    citation = YAML(typ="safe").load(ROOT / "CITATION.cff")
    assert citation["version"] == __version__
    assert citation["authors"] == [{"name": "The Lowlands developers"}]
    assert "doi" not in citation


def test_the_citation_keeps_to_the_formats_own_schema() -> None:
    schema = ["--builtin-schema", "vendor.citation-file-format", "CITATION.cff"]
    subprocess.run([sys.executable, "-m", "check_jsonschema", *schema], cwd=ROOT, check=True)


def _pins() -> dict[str, Version]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in (line.split("==") for line in lines)}


def test_every_dependency_is_pinned_within_its_bounds() -> None:
    pins = _pins()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for requirement in map(Requirement, project["dependencies"]):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_containers_torch_is_the_pinned_one() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    for name in ("torch", "torchvision"):
        assert f'"{name}=={_pins()[name]}+cpu"' in dockerfile


def test_the_container_is_built_from_all_that_the_sdist_holds() -> None:
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text())
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for name in pyproject["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]:
        assert f"!{name}" in ignored
