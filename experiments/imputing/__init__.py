"""Parts of the data imputation experiment."""
