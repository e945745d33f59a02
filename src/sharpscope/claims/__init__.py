"""Published statements about sharpness, as YAML; ``sharpscope list claims`` names them."""
