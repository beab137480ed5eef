"""The bundle that serves: opening it, replacing it while requests are answered, monitoring it, publishing another."""
