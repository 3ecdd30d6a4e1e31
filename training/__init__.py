"""From a feature table to a signed, registered bundle."""
