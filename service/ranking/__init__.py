"""From a profile to ranked, explained items. No HTTP, no Redis."""
