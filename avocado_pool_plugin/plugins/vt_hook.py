"""
Executed by Avocado-VT inside a method of its test (param ``test_pre_hook``).

Functions defined here would not see what is imported here, so there is one import and one call.
"""

from avocado_pool_plugin.plugins.vt import install

install(self, params)  # type: ignore[name-defined]  # noqa: F821
