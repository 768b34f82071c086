"""Where dumps lie until they are verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.respaldo.errors import ConfigurationError
from include.respaldo.model.keys import encode_name
from include.respaldo.vault.landing import LandingZone

ODD = encode_name('we"ird; drop--$(x)')


@pytest.fixture
def zone(tmp_path: Path) -> LandingZone:
    return LandingZone((tmp_path / "zone").as_uri())


def test_folders_are_made_for_the_owner_alone(zone: LandingZone) -> None:
    path = zone.path("tenant", ODD, "dump.pgc")

    assert path == zone.root / "tenant" / ODD / "dump.pgc"
    assert not path.exists()
    for folder in (path.parent, path.parent.parent, zone.root):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_uri_leads_back_to_its_path(zone: LandingZone) -> None:
    path = zone.path("tenant", ODD, "dump 100%")

    assert zone.uri_of(path).startswith("file:///")
    assert zone.path_of(zone.uri_of(path)) == path
    assert LandingZone(zone.uri).path_of(zone.uri_of(path)) == path


@pytest.mark.parametrize("part", ["", ".", "..", "a/b", "/etc", "a\0b"])
def test_a_name_never_leaves_its_place(zone: LandingZone, part: str) -> None:
    with pytest.raises(ConfigurationError, match="not a name"):
        zone.path("tenant", part)


def test_what_lies_outside_is_refused(zone: LandingZone, tmp_path: Path) -> None:
    for uri in (
        "file:///etc/passwd",
        f"{zone.uri}/../other",
        f"{zone.uri}/%2e%2e/other",
        f"{zone.uri}-sibling/x",
    ):
        with pytest.raises(ConfigurationError, match="outside the landing zone"):
            zone.path_of(uri)
    with pytest.raises(ConfigurationError, match="outside"):
        zone.uri_of(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="outside"):
        zone.remove_tree(tmp_path)


def test_a_link_that_leads_outside_is_refused(zone: LandingZone, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = zone.path("link")
    link.symlink_to(outside)

    with pytest.raises(ConfigurationError, match="outside"):
        zone.path_of(f"{zone.uri}/link/dump")
    zone.remove_tree(link)

    assert outside.exists()
    assert not link.exists()


def test_trees_and_files_are_removed_and_may_be_gone_already(zone: LandingZone) -> None:
    path = zone.path("tenant", "acme", "dump")
    path.write_bytes(b"x")

    zone.remove_tree(path)
    zone.remove_tree(path)
    zone.remove_tree(path.parent)
    zone.remove_tree(path.parent)

    assert not path.parent.exists()
    with pytest.raises(ConfigurationError, match="never removed"):
        zone.remove_tree(zone.root)


def test_free_space_is_told_before_anything_landed(zone: LandingZone) -> None:
    assert zone.free_bytes() > 0


@pytest.mark.parametrize("uri", ["s3://bucket/landing", "/var/tmp", "file://host/x", "file:x"])
def test_other_places_are_refused_with_what_is_supported(uri: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        LandingZone(uri)
    assert "file:///" in refused.value.hint
