"""Set before anything imports torch or faiss: tiny models are faster on one thread than on several that spin."""

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # subprocesses of tests inherit it

from hypothesis import settings  # noqa: E402 - after the variables above

# A busy machine is no failure of a law: examples may take as long as they need.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
