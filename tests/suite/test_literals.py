"""Values on the command line: as Python and JSON write them, or one sentence."""

from __future__ import annotations

import ast
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.entries.loading import load
from suite.errors import InputError
from suite.literals import literal, split
from suite.tasks import find_task

scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc ,()[]=", max_size=5)
)  # fmt: skip
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3), max_leaves=6)


def tupled(value: Any) -> Any:
    return tuple(map(tupled, value)) if isinstance(value, list) else value


@given(values)
def test_what_json_and_python_write_is_read(value: Any) -> None:
    expected = tupled(value)
    for text in (json.dumps(value), repr(value), repr(expected), f" {json.dumps(value, indent=1)} "):
        read = literal(text)
        assert read == expected
        assert type(read) is type(expected)


@given(st.text("0123456789.eE+-_()[],' tru", max_size=10))
def test_what_is_read_is_what_python_reads(text: str) -> None:
    try:
        value = literal(text)
    except InputError:
        return
    if value is None or isinstance(value, str | bool):
        return
    assert value == tupled_of_python(text)


def tupled_of_python(text: str) -> Any:
    value = ast.literal_eval(text.replace("true", "True").strip())
    return tupled(json.loads(json.dumps(value)))


@pytest.mark.parametrize(
    "text",
    ["", "no", "nesterov", "inf", "nan", "1e999", "007", "1__0", "1j", "(1", "1)", "[1)", "'a", "a'b'", "{}",
     "print(1)", "__import__('os')", "1+1", "--1", "[1,,2]"],
)  # fmt: skip
def test_what_is_no_value_is_one_sentence(text: str) -> None:
    with pytest.raises(InputError, match=r"is no value|bracket") as caught:
        literal(text)
    assert "\n" not in str(caught.value)


def test_commas_in_brackets_and_quotes_do_not_split() -> None:
    assert split("sgd[lr=0.1,momentum=0.9], task ,'a,b',(1,2)") == [
        "sgd[lr=0.1,momentum=0.9]", "task", "'a,b'", "(1,2)",
    ]  # fmt: skip
    assert split("") == []
    assert split("a,") == ["a", ""]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ("lr=0.3,momentum=0.9,nesterov=false", {"lr": 0.3, "momentum": 0.9, "nesterov": False}),
        ("nesterov=False", {"nesterov": False}),
        ("nesterov=true,momentum=1e-1", {"nesterov": True, "momentum": 0.1}),
        ("foreach=null", {"foreach": None}),
        ("foreach=none", {"foreach": None}),
    ],
)
def test_settings_are_values_and_not_texts(options: str, settings: dict[str, Any]) -> None:
    space = load(f"torch.optim:SGD[{options}]").submission.space
    assert {name: space[name] for name in settings} == settings
    assert all(type(space[name]) is type(value) for name, value in settings.items())


@pytest.mark.parametrize("options", ["betas=(0.9,0.95)", "betas=[0.9,0.95]", "betas=[ 0.9, 0.95 ],lr=0.1"])
def test_settings_of_several_numbers(options: str) -> None:
    submission = load(f"torch.optim:Adam[{options}]").submission
    assert submission.space["betas"] == (0.9, 0.95)
    assert submission.name == f"Adam[{options}]"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("sgd[nesterov=fast]", "'fast' is no value"),
        ("sgd[lr=inf]", "'inf' is no value"),
        ("sgd[lr]", "is not of the form name=value"),
        ("sgd[lr=1,lr=2]", "names a setting twice"),
        ("sgd[lr=(1]", "lacks the end of a bracket"),
    ],
)
def test_settings_that_are_none_are_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        load(text)


@pytest.mark.parametrize("text", ["sparse_regression[alpha=nan]", "sparse_regression[alpha=inf]"])
def test_variants_are_finite(text: str) -> None:
    with pytest.raises(InputError, match="alpha must be of type float"):
        find_task(text)


def test_a_variant_that_divides_by_zero_is_one_sentence() -> None:
    with pytest.raises(InputError, match="mnist5k_mlp"):
        find_task("mnist5k_mlp[batch=0]")
