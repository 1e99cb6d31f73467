"""Files that anyone may have made, through `lowlands measure`: the right value or one sentence, and no traceback."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save, save_file

from leaderboard.cli import main
from suite.seeding import torch_stream
from tests.faults.test_malformed import mutated, quiet
from tests.suite.commands.test_checkpoint import ODD_DATA, SOURCE
from tests.suite.data.test_archive import FAULTS, X

Report = Callable[[str, str], None]
FILES = 1_000
MEASURES = ("--measure", "l2_norm", "--measure", "train_error")


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A network, its source and its data."""
    generator = torch_stream("faults", "measure")
    net = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator)
    save_file(net.state_dict(), tmp_path / "net.safetensors")
    (tmp_path / "net.py").write_text(SOURCE)
    np.savez(tmp_path / "data.npz", x=X, y=np.array([0, 1, 2, 1]))
    return tmp_path


def _measured(here: Path, checkpoint: str = "net.safetensors", data: str = "data.npz", *options: str) -> str:
    """What came of it: the values as JSON, or the sentence; fails on anything else."""
    files = [str(here / checkpoint), "--data", str(here / data), "--architecture", f"{here / 'net.py'}:build"]
    result = CliRunner().invoke(main, ["measure", *files, "--json", *(options or MEASURES)])
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code in (0, 2)
    if result.exit_code:
        assert re.fullmatch(r"Error: .+\n", result.output)
    return result.output


def _checkpoints(whole: dict[str, torch.Tensor]) -> dict[str, bytes]:
    """Files of weights that are none, or of another network."""
    good, legacy = save(whole), io.BytesIO()
    torch.save(whole, legacy)
    size = struct.unpack("<Q", good[:8])[0]
    header = json.loads(good[8 : 8 + size])
    renamed = {f"backbone.{name}": tensor for name, tensor in whole.items()}

    def with_header(change: object) -> bytes:
        text = json.dumps(change).encode()
        return struct.pack("<Q", len(text)) + text + good[8 + size :]

    first = next(name for name in header if name != "__metadata__")
    return {
        "0 bytes": b"", "text": b"weights", "truncated": good[:-40], "a header cut off": good[:20],
        "a header of 2^63 bytes": struct.pack("<Q", 2**63) + good[8:],
        "a header that is a list": with_header([1]),
        "a shape of 10^12 rows": with_header(header | {first: header[first] | {"shape": [10**12, 6]}}),
        "offsets outside": with_header(header | {first: header[first] | {"data_offsets": [0, 10**9]}}),
        "offsets that overlap": with_header({name: entry | {"data_offsets": [0, 4]} for name, entry in header.items()}),
        "an unknown type": with_header(header | {first: header[first] | {"dtype": "F7"}}),
        "a pickle": pickle.dumps({"w": [1.0]}), "torch.save": legacy.getvalue(),
        "no tensors": save({}), "another prefix": save(renamed),
        "another shape": save({name: tensor.flatten() for name, tensor in whole.items()}),
        "weights that are not numbers": save({name: tensor * torch.nan for name, tensor in whole.items()}),
    }  # fmt: skip


def test_files_of_every_kind_of_damage(here: Path, report: Report) -> None:
    refused, taken = 0, 0
    for make, sentence in FAULTS.values():
        (here / "odd.npz").write_bytes(make())
        output = _measured(here, data="odd.npz")
        assert "Error: " in output
        assert " ".join(sentence.split()) in " ".join(output.split()) or "it must hold x and y" in output
        refused += 1
    whole = {"x": X, "y": np.array([0, 1, 2, 1])}
    for arrays, _ in ODD_DATA.values():
        np.savez(here / "odd.npz", **(whole | arrays))  # type: ignore[arg-type]
        assert "Error: " in _measured(here, data="odd.npz")
        refused += 1
    weights = load_file(here / "net.safetensors")
    for name, content in _checkpoints(weights).items():
        (here / "odd.safetensors").write_bytes(content)
        assert "Error: " in _measured(here, "odd.safetensors"), name
        refused += 1
    np.savez(here / "big.npz", x=X.astype(">f8"), y=whole["y"].astype(">i4"))
    np.savez_compressed(here / "small.npz", x=X, y=whole["y"].astype("u1"), notes=np.array(["a", "b"]))
    expected = _measured(here)
    for name in ("big.npz", "small.npz"):
        assert _measured(here, data=name) == expected
        taken += 1
    save_file({f"module.{name}": tensor for name, tensor in weights.items()}, here / "parallel.safetensors")
    assert _measured(here, "parallel.safetensors") == expected  # DataParallel's prefix
    taken += 1
    save_file({name: torch.zeros_like(tensor) for name, tensor in weights.items()}, here / "zero.safetensors")
    everything = _measured(here, "zero.safetensors", "data.npz", "--matched-loss", "0.01")
    assert "no normalized margin" in json.dumps(json.loads(everything)["skipped"])
    taken += 1
    report(
        f"{refused + taken} kinds of damaged, foreign and odd data and weights, through `lowlands measure`",
        f"{refused} refused in one sentence with status 2, {taken} measured rightly; 0 tracebacks",
    )


def test_mutated_archives(here: Path, report: Report) -> None:
    outcomes: Counter[str] = Counter()
    content = (here / "data.npz").read_bytes()
    expected = _measured(here)

    @settings(quiet, max_examples=FILES)
    @given(mutated(st.just(content)))
    def check(data: bytes) -> None:
        (here / "odd.npz").write_bytes(data)
        output = _measured(here, data="odd.npz")
        assert output == expected or "Error: " in output
        outcomes["measured" if output == expected else "refused"] += 1

    check()
    report(
        f"{sum(outcomes.values()):,} mutated archives (bytes lost, replaced, doubled), through `lowlands measure`",
        f"{outcomes['refused']:,} refused in one sentence, {outcomes['measured']} measured with the undamaged values; "
        "0 tracebacks",
    )
