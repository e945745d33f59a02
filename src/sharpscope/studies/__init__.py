"""Studies that come with the package, as YAML; ``sharpscope list studies`` names them."""
