import subprocess
import sys

import pytest

import index
import service
import trainer


def test_every_public_name_is_there():
    from index import Bundle, InputError, ItemIndex, Registry, open_bundle, open_registry

    assert [Bundle.__name__, ItemIndex.__name__, Registry.__name__] == ["Bundle", "ItemIndex", "Registry"]
    assert callable(open_bundle)
    assert callable(open_registry)
    assert issubclass(InputError, ValueError)
    assert all(getattr(index, name) is not None for name in index.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'index' has no attribute 'nonsense'"):
        index.nonsense  # noqa: B018


def test_the_packages_have_one_version():
    assert index.__version__ == trainer.__version__ == service.__version__


def test_importing_the_packages_alone_loads_no_heavy_library():
    code = "import sys, index, trainer, service; print({'faiss', 'numpy', 'torch', 'fastapi'} & sys.modules.keys())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
