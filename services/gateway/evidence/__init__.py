"""Evidence: URLs that read an artefact for a while, given out and served."""
