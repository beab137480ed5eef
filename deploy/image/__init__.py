"""The Dockerfile, carried out in a bare Debian root where no container engine is at hand."""
