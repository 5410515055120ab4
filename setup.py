"""Puts the configs into the wheel; all metadata stands in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies `configs/` to `convnext_dense/.configs`, where an installed package finds them by name."""

    def run(self):
        """Build the package, then add the configs; an editable install finds those of the checkout."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "convnext_dense", ".configs")
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build
        shutil.copytree("configs", target, ignore=shutil.ignore_patterns("__pycache__"))


setup(cmdclass={"build_py": BuildWithConfigs})
