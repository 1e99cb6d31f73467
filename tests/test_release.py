"""What is published: the files that say what a release is, beside what the package says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
