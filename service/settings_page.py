"""docs/settings.md, made from the settings themselves; a test compares the two."""

from pydantic import BaseModel

from service.settings import PREFIX, Settings

HEAD = """# Settings of the service

Read once at start from the environment. This page is what `python -m service settings` prints.
"""
# Each by the first setting under it, in the order of the class.
HEADINGS = {
    "registry": "The process",
    "verify_bundle": "Bundles",
    "redis_url": "Redis",
    "event_log": "Events",
    "profile_cache_mb": "Users and trending",
    "k_default": "Answers",
    "retrain_data": "Retraining",
    "api_keys_file": "Security",
    "max_in_flight": "Limits and operation",
}
BREAK = "\n"
TABLE = "| variable | default | meaning |\n|---|---|---|"


def settings_page() -> str:
    """The whole page."""
    lines = [HEAD]
    for name, field in Settings.model_fields.items():
        if name in HEADINGS:
            lines.append(f"{'' if len(lines) == 1 else BREAK}## {HEADINGS[name]}\n\n{TABLE}")
        default = "required" if field.is_required() else _shown(field.default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def _shown(default: object) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, BaseModel):
        return f"`{default.model_dump_json(exclude_defaults=True)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
