"""Every measure, task and built-in submission has a text for its page."""

from __future__ import annotations

import pytest

from leaderboard.site.texts import Text, measure_text, submission_text, task_text
from suite.entries.loading import builtin_files
from suite.measures.registry import measures
from suite.tasks import task_functions


def test_every_measure_has_a_text_and_its_facts() -> None:
    assert len(measures()) >= 46
    for name, measure in measures().items():
        text = measure_text(name)
        assert text.paragraphs, name
        assert text.first == measure.description
        assert text.facts["unit"] == measure.unit
        assert text.facts["source"] == measure.source


def test_every_task_and_built_in_submission_has_a_text() -> None:
    assert all(task_text(name).paragraphs for name in task_functions())
    assert all(submission_text(name).paragraphs for name in builtin_files())


def test_a_variant_has_the_text_of_its_task() -> None:
    assert task_text("sparse_regression[alpha=0.01]") == task_text("sparse_regression")


def test_paragraphs_are_each_on_one_line() -> None:
    paragraphs = task_text("sparse_regression").paragraphs
    assert len(paragraphs) > 2
    assert all("\n" not in paragraph and "  " not in paragraph for paragraph in paragraphs)


@pytest.mark.parametrize("text", [task_text, measure_text, submission_text])
def test_an_unknown_name_has_no_text(text: object) -> None:
    assert text("no such name") == Text()  # type: ignore[operator]
