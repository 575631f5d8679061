"""URLs of stores: the place that `dvc push` uses, or a refusal that names the right form."""

from __future__ import annotations

from pathlib import Path

import pytest

from nofrost.errors import UserError
from nofrost.store import default_store, open_store
from nofrost.store.location import Bucket, parse_location


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("s3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3://bucket/exp#1", "s3://bucket/exp#1"),
        ("s3://bucket/%41 b;c&d=e", "s3://bucket/%41 b;c&d=e"),
        ("s3://bucket/ünï/🧊", "s3://bucket/ünï/🧊"),
        ("/some/folder", "/some/folder"),
        ("/some#/fold?er%20;s", "/some#/fold?er%20;s"),
        ("file:///some/fold%20er%23", "/some/fold er#"),
        ("file://localhost/x", "/x"),
        ("folder", "folder"),
        ("a#1?b", "a#1?b"),
        ("./s3:x", "s3:x"),
        ("./C:\\x", "C:\\x"),
        ("~/x", str(Path.home() / "x")),
        ("~nobody-of-this-name/x", "~nobody-of-this-name/x"),
    ],
)
def test_a_store_knows_its_url(url: str, shown: str) -> None:
    assert open_store(url).url == shown


@pytest.mark.parametrize(
    ("url", "form"),
    [
        ("", "write s3://BUCKET/PREFIX or a folder"),
        ("s3://", "write s3://BUCKET/PREFIX or a folder"),
        ("s3:///x", "write s3://BUCKET/PREFIX or a folder"),
        ("s3:bucket/x", "here s3://bucket/x"),
        ("s3:/bucket/x", "here s3://bucket/x"),
        ("S3://bucket/x", "here s3://bucket/x"),
        ("S3:bucket", "here s3://bucket"),
        ("s3a://bucket/x", "here s3://bucket/x"),
        ("gs://bucket/x", "write s3://BUCKET/PREFIX or a folder"),
        ("gs:bucket/x", "'./gs:bucket/x' for a folder of that name"),
        ("https://host/x", "write s3://BUCKET/PREFIX or a folder"),
        ("file://host/x", "here file:///x"),
        ("file:/x", "here file:///x"),
        ("file:st", "here st,"),
        ("FILE:///x", "here file:///x"),
        ("://x", "write s3://BUCKET/PREFIX or a folder"),
        ("C:\\data", "without a drive"),
        ("c:/data", "without a drive"),
        ("data\\store", "with '/' between its parts"),
        ("..\\store", "with '/' between its parts"),
        ("\\\\host\\share", "with '/' between its parts"),
        ("s3://bucket/a?b", "cut off what follows the '?'"),
        ("s3://bucket?versionId=3", "cut off what follows the '?'"),
        ("s3://bucket/a#", "cut off what follows the '#'"),
        ("s3://bucket#x", "cut off what follows the '#'"),
        ("s3://bucket/../x", "'.', '..' or an empty name"),
        ("s3://bucket/a/../x", "'.', '..' or an empty name"),
        ("s3://bucket/a/./x", "'.', '..' or an empty name"),
        ("s3://bucket/a//x", "'.', '..' or an empty name"),
        ("s3://bucket//", "'.', '..' or an empty name"),
        ("s3://bucket/x ", "begins or ends with a space"),
        (" s3://bucket/x", "begins or ends with a space"),
        ("folder ", "begins or ends with a space"),
        ("s3://bucket/x\n", "contains a control character"),
        ("s3://bucket/a\tb", "contains a control character"),
        ("folder\n", "contains a control character"),
        ("fol\0der", "contains a control character"),
        ("s3://bucket/\x7f", "contains a control character"),
        ("fol\udce9der", "not UTF-8"),
        ("file:///a?b", "'?' as %3F"),
        ("file:///a#b", "'#' as %23"),
        ("file:///a%zz", "'%' as %25"),
        ("file:///a%00", "contains a control character"),
        ("file:///a%ff", "not UTF-8"),
    ],
)
def test_other_urls_are_refused_with_the_right_form(
    url: str, form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as caught:
        open_store(url)
    message = str(caught.value)
    assert message.startswith(f"{url!r} is not a store: ")
    assert form in message
    assert message.isprintable()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "s3://AKIAKEY:hunter2@bucket/x",
        "s3:AKIAKEY:hunter2@bucket/x",
        "s3:/AKIAKEY:hunter2@bucket/x",
        "S3://AKIAKEY:hunter2@bucket/x",
        "s3://AKIAKEY:hunter2/3@bucket/x",
        "https://user:hunter2@host/x",
        "https:user:hunter2@host",
    ],
)
def test_a_login_in_a_url_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match=r"login") as caught:
        open_store(url)
    assert "hunter2" not in str(caught.value)


URLS = [
    *(f"s3://bucket/{prefix}" for prefix in ("exp#1", "a#b#c", "%41", "a b", "a;b", "a/", "ü", "a?b", "a#", "../x")),
    *(f"s3://bucket/{prefix}" for prefix in ("a/../x", "a//b", "/", "")),
    *("S3://bucket/x", "s3:/bucket/x", "s3:bucket/x", "file:///x%20y", "file:/x", "C:/x", "~/x"),
    *("/x#y", "/x?y", "/x%20y", "/x;y", "../x#1", "x/", "x/../y", "'/x y'", "/x/../y", "/x y"),
]


@pytest.mark.parametrize("url", URLS)
def test_a_remote_of_dvc_is_where_dvc_has_it_or_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DVC's own resolution of its remote is the reference."""
    from dvc.config import Config
    from dvc.fs import get_cloud_fs

    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(f"[core]\n remote = r\n['remote \"r\"']\n url = {url}\n")
    monkeypatch.chdir(tmp_path)
    filesystem, _, path = get_cloud_fs(Config(str(tmp_path / ".dvc")), name="r")
    try:
        place = parse_location(default_store())
    except UserError:
        assert url not in ("s3://bucket/a b", "s3://bucket/ü", "/x#y", "/x?y", "../x#1", "~/x")
        return
    ours = f"{place.name}/{place.prefix}".rstrip("/") if isinstance(place, Bucket) else str(place)
    assert isinstance(place, Bucket) == (filesystem.protocol == "s3")
    assert ours == path.rstrip("/")
