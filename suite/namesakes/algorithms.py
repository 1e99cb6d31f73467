"""What `namesakes.toml` says: which optimizers claim one name, how they are set alike, and why they differ. No torch.

The file is data, read once. An algorithm has a formula or none, settings that all members share, and members; a member
has settings of its own where its switches or its names differ. A reason belongs to a class and a version.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from suite.errors import unknown

Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Reason:
    """Why an implementation differs, for the version that it was read in.

    Attributes:
        version: of the package; for others the reason is not shown.
        source: the file in the package and the line.
        text: one or two sentences.
    """

    version: str
    source: str
    text: str


@dataclass(frozen=True)
class Member:
    """An implementation with settings: ``module:Class``, or a formula's name.

    Attributes:
        use: the class.
        settings: all that is passed beside the parameters.
        decay: what is passed besides for weight decay of 0.1 in the collections' sense; None if it has none.
        own: those settings that all members do not share, as its label shows them.
        formula: whether it is the paper's.
        groups: whether parameters are given as groups with the flag `use_muon`.
        reason: why it differs.
    """

    use: str
    settings: Settings
    decay: Settings | None = None
    own: Settings = field(default_factory=dict)
    formula: bool = False
    groups: bool = False
    reason: Reason | None = None

    @property
    def label(self) -> str:
        """The class and the settings of its own, as text."""
        text = ", ".join(f"{key}={value}" for key, value in self.own.items())
        return f"{self.use}({text})" if text else self.use


@dataclass(frozen=True)
class Algorithm:
    """A name that several implementations claim.

    Attributes:
        name: as the command takes it. title: as its paper writes it.
        settings: those that all members share, in torch's names.
        members: the paper's formula first, where there is one.
        note: what to know of all of them; may be empty.
    """

    name: str
    title: str
    settings: Settings
    members: tuple[Member, ...]
    note: str = ""


def _tuples(value: Any) -> Any:
    """Lists as tuples, as constructors have them."""
    if isinstance(value, dict):
        return {key: _tuples(one) for key, one in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _member(said: Mapping[str, Any], shared: Settings, decay: Settings | None) -> Member:
    own, reason = dict(said.get("with", {})), said.get("reason")
    without, formula = set(said.get("without", ())), ":" not in said["use"]
    given = {} if formula else {key: value for key, value in shared.items() if key not in without}
    return Member(
        use=said["use"],
        settings=given | own,
        decay=said.get("decay", decay) or None,
        own={key: value for key, value in own.items() if key not in shared or shared[key] != value},
        formula=formula,
        groups=said.get("groups", False),
        reason=Reason(**reason) if reason else None,
    )


@functools.cache
def algorithms() -> Mapping[str, Algorithm]:
    """Every algorithm by name, in the order of the file."""
    path = Path(__file__).with_name("namesakes.toml")
    found = {}
    for name, said in _tuples(tomllib.loads(path.read_text(encoding="utf-8"))).items():
        shared, decay = said["settings"], said.get("decay")
        members = tuple(_member(one, shared, decay) for one in said["members"])
        found[name] = Algorithm(name, said["title"], shared, members, said.get("note", ""))
    return found


def algorithm(name: str) -> Algorithm:
    """The algorithm of this name, whatever its case, hyphens and underscores.

    Raises:
        InputError: there is none.
    """

    def plain(text: str) -> str:
        return text.lower().replace("-", "").replace("_", "").replace(" ", "")

    known = {plain(key): one for key, one in algorithms().items()}
    known |= {plain(one.title): one for one in algorithms().values()}
    if plain(name) not in known:
        raise unknown("algorithm", name, algorithms())
    return known[plain(name)]
