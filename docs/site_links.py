"""Links of the pages that leave `docs/`, for the site, which `mkdocs.yml` builds: each file that they name becomes a page.

A link such as `../headstart/guidance/distill.py#Distill.make` opens the file where the repository is browsed. The site has no
repository beside it, so it shows the file as a page, at the line that defines the symbol.
"""

import ast
import functools
import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

ROOT = Path(__file__).resolve().parent.parent
PIECES = re.compile(r"^(```|~~~).*?^\1|`[^`\n]*`|\]\(([^)\s]+)\)", re.DOTALL | re.MULTILINE)
"""Blocks of code, code in a line, and the targets of links, so that nothing within code is taken for a link."""


def targets(text: str) -> list[str]:
    """The targets of a page's links and pictures, those to other sites left out."""
    found = [match.group(2) for match in PIECES.finditer(text)]
    return [target for target in found if target and not re.match(r"\w+:", target)]


def split(target: str, page: str) -> tuple[str, str]:
    """The file that a link of `page` names, from the root of the repository as `page` is, and the place in it, or ""."""
    name, _, place = target.partition("#")
    return (normpath(join(dirname(page), name)) if name else page), place


@functools.cache
def defined(path: Path) -> dict[str, int]:
    """{symbol, `Class.member` included: the line that defines it, from 1} of a Python file."""
    found = {}

    def visit(body, prefix):
        for node in body:
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                found[prefix + node.name] = node.lineno
                visit(node.body, f"{prefix}{node.name}.")
            for target in [*getattr(node, "targets", ()), getattr(node, "target", None)]:
                if isinstance(target, ast.Name):
                    found[prefix + target.id] = node.lineno

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return found


def uri(path: str) -> str:
    """The page or file of the site that shows a file of the repository."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return path.lower() if path.endswith(".md") else f"source/{path}.md"


def relinked(text: str, page: str) -> str:
    """The Markdown of a page with its links as the site has them."""

    def link(match):
        target = match.group(2)
        if not target or re.match(r"\w+:", target):
            return match.group()
        path, place = split(target, page)
        if place and path.endswith(".py"):
            place = f"__codelineno-0-{defined(ROOT / path)[place]}"
        return f"]({relpath(uri(path), dirname(uri(page)) or '.')}{'#' if place else ''}{place})"

    return PIECES.sub(link, text)


def shown(path: str) -> str:
    """The page of a file outside `docs/`: Markdown as it is, anything else as code with numbered lines."""
    text = (ROOT / path).read_text(encoding="utf-8")
    if path.endswith(".md"):
        return text
    language = {".py": "python", ".toml": "toml", ".json": "json"}.get(Path(path).suffix, "text")
    return f'---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n````{language} linenums="1"\n{text}\n````\n'


_shown: dict[str, str] = {}
"""{page of the site: the file that it shows}, of the files outside `docs/`."""


def on_files(files, config):
    """Add a page for every file outside `docs/` to which a page links, and for those to which such a page links."""
    from mkdocs.structure.files import File

    waiting = [(f"docs/{file.src_uri}", file.content_string) for file in files.documentation_pages()]
    while waiting:
        page, text = waiting.pop()
        for path in {split(target, page)[0] for target in targets(text)}:
            if path.startswith("docs/") or files.get_file_from_path(uri(path)):
                continue
            files.append(File.generated(config, uri(path), content=shown(path)))
            _shown[uri(path)] = path
            waiting += [(path, shown(path))] if path.endswith(".md") else []
    return files


def on_page_markdown(markdown, page, config, files):
    """A page with its links as the site has them; code is shown as it is."""
    place = _shown.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return relinked(markdown, place) if place.endswith(".md") else markdown
