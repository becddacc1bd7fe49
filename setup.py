"""Packaging of avocado-framework-plugin-pool; tool settings are in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

setup(
    name="avocado-framework-plugin-pool",
    version="0.1.0",
    description="Avocado plugin: saved states of virtual machines, from a cache and shared pools",
    long_description=Path(__file__).with_name("README.rst").read_text(encoding="utf-8"),
    long_description_content_type="text/x-rst",
    license="GPL-2.0-or-later",
    python_requires=">=3.11",
    packages=find_packages(include=["avocado_pool_plugin", "avocado_pool_plugin.*"]),
    package_data={"avocado_pool_plugin": ["py.typed", "etc/avocado/conf.d/*.conf", "ssh/*.sh"]},
    install_requires=[
        "avocado-framework>=113.0",
        "avocado-framework-plugin-vt>=113.0",
        "aexpect",
        "filelock>=4.2",
        "blake3",
        "rich",
    ],
    extras_require={
        # Avocado 113 imports pkg_resources, which later setuptools lack
        "test": [
            "setuptools<81",
            "hypothesis",
            "mypy",
            "pytest>=8",
            "pytest-timeout",
            "pytest-xdist>=3.6",
            "ruff",
        ],
    },
    entry_points={
        "avocado.plugins.init": ["pool = avocado_pool_plugin.plugins.init:PoolInit"],
        "avocado.plugins.settings": ["pool = avocado_pool_plugin.plugins.settings:PoolSettings"],
        "avocado.plugins.cli": ["pool = avocado_pool_plugin.plugins.cli:PoolRun"],
        "avocado.plugins.cli.cmd": ["pool = avocado_pool_plugin.plugins.cmd:Pool"],
        "avocado.plugins.test.pre": ["pool = avocado_pool_plugin.plugins.test:PoolPreTest"],
        "avocado.plugins.test.post": ["pool = avocado_pool_plugin.plugins.test:PoolPostTest"],
        "avocado.plugins.job.prepost": ["pool = avocado_pool_plugin.plugins.job:PoolJob"],
        "avocado.plugins.result": ["pool = avocado_pool_plugin.plugins.job:PoolResult"],
        "avocado.plugins.suite.runner": [
            "pool-graph = avocado_pool_plugin.plugins.runner:PoolGraphRunner",
        ],
        "avocado.plugins.states": [
            "qcow2 = avocado_pool_plugin.states.qcow2:QCOW2Backend",
            "qcow2ext = avocado_pool_plugin.states.qcow2:QCOW2ExtBackend",
            "ramfile = avocado_pool_plugin.states.ramfile:RamfileBackend",
            "qcow2vt = avocado_pool_plugin.states.qcow2:QCOW2VTBackend",
        ],
        "avocado.plugins.pool.steps": [
            "noop = avocado_pool_plugin.plugins.steps.tests:noop",
            "list = avocado_pool_plugin.plugins.steps.tests:list_tests",
            "check = avocado_pool_plugin.plugins.steps.check:check",
            "create = avocado_pool_plugin.plugins.steps.states:create",
            "clean = avocado_pool_plugin.plugins.steps.states:clean",
            "collect = avocado_pool_plugin.plugins.steps.states:collect",
            "get = avocado_pool_plugin.plugins.steps.states:GET",
            "set = avocado_pool_plugin.plugins.steps.states:SET",
            "unset = avocado_pool_plugin.plugins.steps.states:UNSET",
            "push = avocado_pool_plugin.plugins.steps.states:PUSH",
            "pop = avocado_pool_plugin.plugins.steps.states:POP",
            "update = avocado_pool_plugin.plugins.steps.tests:update",
            "run = avocado_pool_plugin.plugins.steps.tests:run",
        ],
    },
    zip_safe=False,
)
