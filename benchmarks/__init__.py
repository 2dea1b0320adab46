"""Speed and scale of jensen, as ratios against what can be installed from PyPI."""
