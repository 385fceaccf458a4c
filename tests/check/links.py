#!/usr/bin/env python3
"""Each link of a page to a file of the repository, or to a heading, leads somewhere, and no text cites a document that is not
in the repository."""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CITED = re.compile(r"(?<![\w./])(?:docs|tests|libsplice|balancer|packetbridge|tools|provision|scripts)/[\w./-]+\.md\b")


def anchor(heading: str) -> str:
    """As GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def anchors(page: pathlib.Path) -> set[str]:
    fences, found = False, set()
    for line in page.read_text().splitlines():
        fences ^= line.startswith("```")
        if not fences and re.match(r"#+ ", line):
            found.add(anchor(line.lstrip("#")))
    return found


def complaints_about_links(page: pathlib.Path) -> list[str]:
    complaints = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, heading = target.partition("#")
            leads_to = (page.parent / path).resolve() if path else page
            where = f"{page.relative_to(ROOT)}:{number}: {target}"
            if not leads_to.exists():
                complaints.append(f"{where}: there is no such file")
            elif heading and leads_to.suffix == ".md" and heading not in anchors(leads_to):
                complaints.append(f"{where}: the page has no such heading")
    return complaints


def main() -> int:
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.split("\n")
    pages = [ROOT / name for name in files if name.endswith(".md")]
    complaints = [each for page in pages for each in complaints_about_links(page)]
    for name in files:
        path = ROOT / name
        if not path.is_file() or path.suffix not in {".h", ".hpp", ".c", ".cpp", ".py", ".sh", ".md", ".txt", ".cmake", ".yaml"}:
            continue
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            complaints += [f"{name}:{number}: {cited}: there is no such page" for cited in CITED.findall(line) if not (ROOT / cited).exists()]
    for complaint in complaints:
        print(complaint)
    print(f"links: {len(pages)} pages, {len(complaints)} that lead nowhere")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
