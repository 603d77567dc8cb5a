"""Other people's packs into Muster's, and Muster's into plain osquery's."""
