"""What is drawn of each loss."""

from catalogue.curves.boxes import BOXES
from catalogue.curves.classification import CLASSIFICATION
from catalogue.curves.embeddings import EMBEDDINGS
from catalogue.curves.gan import GAN
from catalogue.curves.penalties import PENALTIES
from catalogue.curves.probabilities import PROBABILITIES
from catalogue.curves.ranking import RANKING
from catalogue.curves.regression import REGRESSION
from catalogue.curves.segmentation import SEGMENTATION

PLOTS = {
    **REGRESSION,
    **CLASSIFICATION,
    **PROBABILITIES,
    **SEGMENTATION,
    **BOXES,
    **EMBEDDINGS,
    **RANKING,
    **GAN,
    **PENALTIES,
}
