"""A batch of problems in torch: f, x, slopes, boxes, regularisers, and what was found."""
