"""The demo, the container image, Kubernetes manifests, alerts and dashboards, and the programs that check them."""
