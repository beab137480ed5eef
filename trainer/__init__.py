"""Makes a bundle out of interactions, texts and images. The only package that imports torch."""

import os

# Torch's threads spin while they wait for one another; where another process wants their cores a step then takes
# three to five times as long. OpenMP reads this when torch is loaded, so it is set before anything here loads it.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
