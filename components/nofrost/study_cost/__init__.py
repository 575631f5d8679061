"""What a study costs before it is run: trainings, passes of the models, minutes on this machine, hours on a GPU.

Passes are counted in one step of each phase, and in one evaluation with each suite, of tiny networks. What one takes is
measured with the study's own networks. Not counted are what is neither a pass nor its gradient (reading, corrupting),
model properties, further test sets, and that attacks spare images which are wrong already. A training attack that stops
early (FAT) is counted as for an untrained network, for which it needs the fewest steps.
"""

from nofrost.study_cost.cost import RunCost, Speeds, StudyCost, study_cost
from nofrost.study_cost.dataset_images import Images, published_images
from nofrost.study_cost.passes import Passes, passes_of_image, passes_of_selection, passes_of_suite
from nofrost.study_cost.speed import Speed

__all__ = [
    "Images",
    "Passes",
    "RunCost",
    "Speed",
    "Speeds",
    "StudyCost",
    "passes_of_image",
    "passes_of_selection",
    "passes_of_suite",
    "published_images",
    "study_cost",
]
