"""What runs and deploys the product: the demo now, Kubernetes and dashboards with it."""
