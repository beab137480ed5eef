"""Set before anything imports torch or faiss: tiny models are faster on one thread than on several that spin."""

import os

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # subprocesses of tests inherit it
