"""The in-memory registry keeps every promise of the port."""

import pytest

from agentloop.lifecycle import MemoryRegistry
from agentloop.lifecycle.testing import RegistrySuite


class TestMemoryRegistry(RegistrySuite):
    @pytest.fixture
    def registry(self):
        return MemoryRegistry()
