"""The purposes Kith serves, one TOML file each."""
