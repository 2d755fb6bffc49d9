"""The version of this package, which model releases record."""

VERSION = "0.2.0"
