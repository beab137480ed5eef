"""Makes a bundle out of interactions, texts and images. The only package that imports torch."""
