"""The databases Muster runs on."""
