"""Renders docs/settings.md from the settings; a test compares the two."""

from pydantic import BaseModel

from service.settings import GROUPS, PREFIX

HEAD = """# Settings of the service

The service reads these environment variables once, when it starts. `python -m service settings` prints this page.

"""
TABLE = "| variable | default | meaning |\n|---|---|---|"


def settings_page() -> str:
    """The whole page, with one table for each group."""
    return HEAD + "\n\n".join(_section(title, group) for title, group in GROUPS)


def _section(title: str, group: type[BaseModel]) -> str:
    lines = [f"## {title}\n\n{TABLE}"]
    for name in group.__annotations__:
        field = group.model_fields[name]
        default = "required" if field.is_required() else _render_default(field.default)
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def _render_default(default: object) -> str:
    if default is None or default == ():
        return "none"
    if isinstance(default, BaseModel):
        return f"`{default.model_dump_json(exclude_defaults=True)}`"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"
