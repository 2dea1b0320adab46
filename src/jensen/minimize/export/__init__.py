"""Networks for other tools: CVXPY expressions, LP and MPS files."""
