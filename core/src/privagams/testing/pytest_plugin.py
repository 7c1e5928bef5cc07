"""Loaded by every pytest run: a failed assertion of the kit shows its values. Nothing else happens here."""

import pytest

pytest.register_assert_rewrite("privagams.testing.laws")
