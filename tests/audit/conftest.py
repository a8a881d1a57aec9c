"""A good clip of a real person, and the built-in person, which is only too short."""

from __future__ import annotations

from pathlib import Path

import pytest

from udh_core.avatar.folder import Avatar, open_avatar


@pytest.fixture(scope="package")
def small(person_avatar: Path) -> Avatar:
    """The built-in person, prepared."""
    return open_avatar(person_avatar)


@pytest.fixture(scope="package")
def grid(real_minute: Path) -> Avatar:
    """A minute of a real, good clip, prepared."""
    return open_avatar(real_minute)
