"""Makes a bundle out of interactions, texts and images. The only package that imports torch.

Its public face is the command line, `python -m trainer --help`. The same steps from Python:

    from trainer.config import load_config
    from trainer.data import load_dataset
    from trainer.export import export_run
    from trainer.fit import fit
    from trainer.run_folder import RunFolder
"""

import os

from index import __version__
from index.extras import tell_missing_packages

__all__ = ["__version__"]

tell_missing_packages("trainer")

# While torch's threads wait for one another they spin; where another process needs their cores, a step then takes
# several times as long. A short spin keeps the speed of an idle machine and most of that of a shared one. OpenMP reads
# the variable when torch is loaded, so it is set before any module here loads torch.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
