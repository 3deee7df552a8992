"""Builds the C extension against the limited API of Python 3.11, with the library beside it.

RINGLANE_LIBRARY is the folder of libringlane.so, RINGLANE_INCLUDE that of ringlane.h; scripts/python.sh sets them and
copies the library into the package. The wheel then holds all that is needed, and is found relative to the extension.
"""

import os
import re

from setuptools import Extension, setup

include = os.environ.get("RINGLANE_INCLUDE", "../../include")
library = os.environ.get("RINGLANE_LIBRARY", "ringlane")
version = os.environ.get("RINGLANE_VERSION", "0.0.0")
if not re.fullmatch(r"[0-9]+(\.[0-9]+)*", version):
    raise SystemExit(f"RINGLANE_VERSION is no version: {version!r}")

setup(
    version=version,
    ext_modules=[
        Extension(
            "ringlane._native",
            ["ringlane/_native.c"],
            include_dirs=[include],
            library_dirs=[library],
            libraries=["ringlane"],
            define_macros=[("_GNU_SOURCE", None)],
            extra_compile_args=["-std=c11", "-O2", "-Wall", "-Wextra", "-Wno-missing-field-initializers",
                                "-Wno-cast-function-type", "-Werror", "-fvisibility=hidden"],
            extra_link_args=["-Wl,-rpath,$ORIGIN", "-Wl,-z,nodelete", "-Wl,--strip-all"],
            py_limited_api=True,
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
