"""lm-eval models built of a backbone, a scorer and a decoder (masked LMs), or of lm-eval's own HFLM."""
