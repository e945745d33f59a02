"""Files that datasets come in: fetched and verified, unpacked with care, and decoded to arrays; never unpickled."""
