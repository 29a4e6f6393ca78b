"""Models that grade text: MT-Bench, AlpacaEval and Z-Bench runs over one client whose answers are never paid twice."""
