"""A site whose files and applications are folders of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import yaml

from include.respaldo.filetree.file_list import read_list
from include.respaldo.filetree.verification import differences
from include.respaldo.jobs.take_backup import plan_batches, take_backup
from include.respaldo.model import keys
from include.respaldo.model.backup import Category, Manifest, Source, backup_id
from include.respaldo.model.batches import Batch
from include.respaldo.model.file_tree import Entry, StoredTree
from tests.jobs.site import Site
from tests.restic_keys import store_repository

PASSWORD = "what encrypts the repository"
UPLOADS = Source(Category.FILES, "local", "uploads")


class Trees:
    """What a site has besides databases: at first one folder, ``uploads``."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.uploads = site.folder / "uploads"
        self.uploads.mkdir()
        site.more["AIRFLOW_CONN_REPOSITORY"] = json.dumps({
            "conn_type": "generic",
            "password": PASSWORD,
        })
        self.configure(
            repository={"connection": "repository"},
            files=[{"name": "uploads", "path": str(self.uploads)}],
            unusual={"files": 5},
        )

    def configure(self, **sections: Any) -> None:
        """Replace sections of the configuration; a category of them has a repository at once."""
        before = yaml.safe_load(self.site.config_path.read_text())
        self.site.config_path.write_text(yaml.safe_dump(before | sections))
        for category in (Category.FILES, Category.APPLICATIONS):
            if category.value in sections and category.value not in before:
                store_repository(self.site.deployment().vaults.primary, category, PASSWORD)

    def fill(self, files: int = 10) -> None:
        """Make some files, in a few folders."""
        for number in range(files):
            folder = self.uploads / f"folder {number % 3}"
            folder.mkdir(exist_ok=True)
            (folder / f"{number}.txt").write_text(f"file {number}\n" * 50)

    def plan(
        self,
        *only: str,
        category: Category = Category.FILES,
        down: Iterable[str] = (),
        run: str | None = None,
    ) -> tuple[Batch, ...]:
        deployment = self.site.deployment(down)
        run = run or backup_id(deployment.clock.now())
        return plan_batches(deployment, category, run, only)

    def back_up(self, *only: str, down: Iterable[str] = (), run: str | None = None) -> str:
        """Take a backup; return its id."""
        batches = self.plan(*only, run=run)
        take_backup(self.site.deployment(down), batches)
        return batches[0].backup_id

    def manifest(self, run: str, source: Source = UPLOADS, down: Iterable[str] = ()) -> Manifest:
        return self.site.deployment(down).vaults.read_verified(
            keys.manifest_key(source, run), Manifest.from_bytes
        )

    def tree(self, run: str, source: Source = UPLOADS) -> StoredTree:
        tree = self.manifest(run, source).tree
        assert tree is not None
        return tree

    def entries(self, run: str, source: Source = UPLOADS) -> dict[str, Entry]:
        """Return what a backup's list says."""
        manifest = self.manifest(run, source)
        (file,) = manifest.files
        path = self.site.folder / "list.parquet"
        key = keys.backup_prefix(source, run) + file.name
        self.site.deployment().vaults.download(key, path, sha256=file.sha256)
        return {entry.path: entry for entry in read_list(path)}

    def restored(self, run: str, source: Source = UPLOADS, region: str = "primary") -> list[str]:
        """Restore a whole backup from a region; return how it differs from its list."""
        deployment = self.site.deployment()
        tree = self.tree(run, source)
        to = self.site.folder / f"restored-{region}-{run}"
        deployment.repository(source.category, region).restore(  # type: ignore[arg-type]
            tree.snapshot, tree.root, [], to, deployment.progress
        )
        self.last_restored = to
        return differences(self.entries(run, source).values(), to)

    def repository_objects(self, region: str) -> dict[str, str]:
        """Return the objects of the repository, locks left out."""
        return {
            key: mark
            for key, mark in self.site.objects(region).items()
            if key.startswith("restic/") and "/locks/" not in key
        }

    def snapshots(self, region: str = "primary") -> list[str]:
        return [k for k in self.repository_objects(region) if "/snapshots/" in k]


def landed(site: Site) -> Iterator[Path]:
    """Yield the files that landings hold, mirrors left out."""
    root = site.deployment().landing_zone.root
    for path in root.rglob("*"):
        if path.is_file() and path.relative_to(root).parts[0] != "mirrors":
            yield path
