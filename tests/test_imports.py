import gc
import sys

import pytest

from convnext_dense.imports import uncollected


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_is_as_it_was_and_what_was_there_before_is_collected(enabled):
    before = gc.isenabled()
    (gc.enable if enabled else gc.disable)()
    try:
        frozen = gc.get_freeze_count()
        with pytest.raises(ZeroDivisionError), uncollected():
            assert not gc.isenabled()
            raise ZeroDivisionError
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() == frozen, "nothing was imported, so nothing is kept from it"
    finally:
        (gc.enable if before else gc.disable)()


def test_what_is_imported_is_kept_from_the_collector():
    sys.modules.pop("this_module", None)
    frozen = gc.get_freeze_count()
    with uncollected():
        sys.modules["this_module"] = type(sys)("this_module")
    del sys.modules["this_module"]
    assert gc.get_freeze_count() > frozen
    gc.unfreeze()
