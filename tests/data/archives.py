"""Small archives in published formats, as tests make them."""

import hashlib
import io
import tarfile
import zipfile

import numpy as np

from sharpscope.data.files.download import RemoteFile


def tar(path, files, mode="w:gz"):
    """Write a tar file of ``{name: contents}``; names are written as they are."""
    with tarfile.open(path, mode) as archive:
        for name, contents in files.items():
            header = tarfile.TarInfo(name)
            header.size = len(contents)
            archive.addfile(header, io.BytesIO(contents))
    return path


def zipped(path, files):
    """Write a zip file of ``{name: contents}``."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, contents in files.items():
            archive.writestr(name, contents)
    return path


def npy(array, **options):
    """Return an array as the bytes of a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def published(name, contents):
    """Return what tells a file with these contents from others."""
    return RemoteFile(name, hashlib.sha256(contents).hexdigest())
