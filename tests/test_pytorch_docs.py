"""The page of the site on PyTorch: its examples run as printed."""

import doctest
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "pytorch.md"


def test_the_examples_of_the_page_run(torch):
    if not PAGE.exists():
        pytest.skip("a checkout has the page, an installed package has not")
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    failures, examples = doctest.testfile(str(PAGE), module_relative=False, optionflags=flags)
    assert examples > 20
    assert failures == 0
