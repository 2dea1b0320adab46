"""`argmin`, exact conjugates and proximal maps: one problem after the other, by walk, programme or cuts."""
