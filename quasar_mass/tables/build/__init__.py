"""From catalogues and spectrum files to the tables of a survey."""
