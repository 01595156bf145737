"""The tables of a survey, and data sets made of them."""
