"""All trained tasks by name."""

from trainers.world.classification import CLASSIFICATION
from trainers.world.generation import GENERATION
from trainers.world.open_ended import OPEN_ENDED

TRAINED = CLASSIFICATION | GENERATION | OPEN_ENDED
