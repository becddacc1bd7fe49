"""All tests of an Avocado-VT configuration, selected or not."""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

LOG = logging.getLogger("avocado." + __name__)

#: Tests of this kind have params that can ask for states.
VT_KIND = "avocado-vt"
#: Avocado-VT's warning about parallel tests, which a graph run gives places of their own.
PARALLEL_WARNING = "The VT NextRunner can be run only"


def whole_configuration(config: Mapping[str, Any]) -> list[Any]:
    """
    Return what Avocado-VT would run without any selection: references, ``only`` and ``no`` filters.

    :param config: of a job or suite
    """
    from avocado_vt.plugins.vt_resolver import VTResolver

    own = {**config, "vt.only_filter": "", "vt.no_filter": ""}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=PARALLEL_WARNING)
        resolution = VTResolver(own).resolve("")
    found = list(resolution.resolutions)
    LOG.debug("the whole configuration has %d tests", len(found))
    return found
