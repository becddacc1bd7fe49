"""The verbs of ``TransferOps`` on single files."""

import shutil

import pytest

from avocado_pool_plugin.core.errors import PoolError
from avocado_pool_plugin.states import pool
from avocado_pool_plugin.states.pool import TransferOps
from tests.support.states import stamp


def test_verbs_on_single_files(tmp_path, lab):
    params = lab.params()
    cache, shared = tmp_path / "c" / "x.state", tmp_path / "p" / "deep" / "x.state"
    location = f":{shared}"
    assert TransferOps.list_paths(f":{shared.parent}", params) == []
    assert TransferOps.compare(str(cache), location, params) is False, "absent is not equal"
    with pytest.raises(PoolError):
        TransferOps.download(str(cache), location, params)
    with pytest.raises(PoolError):
        TransferOps.upload(str(cache), location, params)
    assert TransferOps.compare(str(cache), location, params) is False
    cache.parent.mkdir(exist_ok=True)
    cache.write_bytes(b"x" * (3 << 20))
    TransferOps.upload(str(cache), location, params)
    before = stamp(shared)
    TransferOps.upload(str(cache), location, params)
    assert stamp(shared) == before, "equal is skipped"
    assert TransferOps.compare(str(cache), location, params) is True
    assert TransferOps.list_paths(f":{shared.parent}", params) == ["x.state"]
    with cache.open("r+b") as file:
        file.seek(2 << 20)
        file.write(b"y")
    # no record of ours beside the cache's file says what it should be: what is there counts
    shutil.rmtree(cache.parent / ".pool")
    assert TransferOps.compare(str(cache), location, params) is False
    TransferOps.download_local(str(cache), str(shared), params)
    assert cache.read_bytes() == b"x" * (3 << 20)
    TransferOps.delete(location, params)
    TransferOps.delete_local(str(shared), params)
    assert TransferOps.list_local(str(shared.parent), params) == []


def test_a_subclass_may_replace_one_kind(tmp_path, lab):
    """Dispatch is by way of the class that was called."""

    class Own(TransferOps):
        @classmethod
        def list_local(cls, pool_path, params):
            return [pool_path]

        @classmethod
        def list_remote(cls, pool_path, params):
            return [pool_path]

    assert Own.list_paths(f":{tmp_path}", lab.params()) == [str(tmp_path)]
    assert Own.list_paths(f":{tmp_path};", lab.params()) == [str(tmp_path)]
    assert Own.list_paths("far:/x", lab.params()) == ["far:/x"]


def test_names_of_the_module():
    """What users of avocado-i2n import and patch."""
    assert pool.SKIP_LOCKS is False and pool.os.path.exists("/")
    assert pool.QCOW2ImageTransfer.ops is pool.TransferOps
    assert pool.SourcedStateBackend.transport is pool.QCOW2ImageTransfer
    assert pool.RootSourcedStateBackend.transport is pool.QCOW2ImageTransfer
    assert isinstance(pool.TransferOps._session_cache, dict)
    for verb in ("list", "compare", "download", "upload", "delete"):
        for kind in ("local", "remote", "link"):
            assert callable(getattr(pool.TransferOps, f"{verb}_{kind}"))
