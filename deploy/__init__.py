"""The demo, the container image, Kubernetes manifests, alerts and dashboards, and the programs that check them."""

from index.extras import tell_missing_packages

tell_missing_packages("deploy")
