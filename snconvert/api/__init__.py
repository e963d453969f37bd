"""The Python API: the same verbs as the command line, on files and on live models."""

from snconvert.api.files import apply_file as apply_file
from snconvert.api.files import bake_file as bake_file
from snconvert.api.files import remove_file as remove_file
from snconvert.api.files import upgrade_file as upgrade_file
from snconvert.api.reading import inspect as inspect
from snconvert.api.reading import verify as verify
