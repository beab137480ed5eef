"""Makes a bundle out of interactions, texts and images. The only package that imports torch."""

import os

# Torch's threads spin while they wait for one another; where another process wants their cores a step then takes
# several times as long. A short spin keeps the speed of a quiet machine and most of that of a shared one. OpenMP
# reads this when torch is loaded, so it is set before anything here loads it.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
