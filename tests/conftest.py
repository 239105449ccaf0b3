"""What every test runs under: shapes checked at run time, no silent broadcasting, compiled programs kept out of the home.

The import hook has to be installed before anything of headstart is imported, hence at this file's top level.
"""

import atexit
import os
import shutil
import tempfile

_CACHE = tempfile.mkdtemp(prefix="headstart-tests-")
atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
# Through the environment, so that the processes that tests start use it as well.
os.environ["JAX_COMPILATION_CACHE_DIR"] = _CACHE
os.environ["JAX_NUMPY_RANK_PROMOTION"] = "raise"
os.environ["JAX_ENABLE_X64"] = "0"
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Programs here are tiny and many: compiling them is what takes time. XLA_FLAGS= tests them as users compile them.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true")

from jaxtyping import install_import_hook  # noqa: E402

install_import_hook("headstart", "typecheck.checked")
