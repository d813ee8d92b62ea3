"""The papers of the atlas: one entry each, under the key that models and claims refer to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paper:
    """Where something comes from."""

    authors: str
    year: int
    title: str
    identifier: str  # doi:… or arXiv:…

    @property
    def citation(self) -> str:
        """`LeCun et al. (1998), Gradient-based learning…, doi:10.1109/5.726791`."""
        return f"{self.authors} ({self.year}), {self.title}, {self.identifier}"


PAPERS = {
    "lecun1998": Paper(
        "LeCun, Bottou, Bengio, Haffner", 1998,
        "Gradient-based learning applied to document recognition", "doi:10.1109/5.726791",
    ),
    "glorot2010": Paper(
        "Glorot, Bengio", 2010,
        "Understanding the difficulty of training deep feedforward neural networks",
        "https://proceedings.mlr.press/v9/glorot10a.html",
    ),
    "he2015init": Paper(
        "He, Zhang, Ren, Sun", 2015,
        "Delving deep into rectifiers: surpassing human-level performance on ImageNet classification",
        "arXiv:1502.01852",
    ),
    "he2015": Paper(
        "He, Zhang, Ren, Sun", 2015,
        "Deep residual learning for image recognition", "arXiv:1512.03385",
    ),
    "zhang2021": Paper(
        "Zhang, Lipton, Li, Smola", 2021, "Dive into deep learning", "arXiv:2106.11342",
    ),
    "szegedy2014": Paper(
        "Szegedy, Liu, Jia, Sermanet, Reed, Anguelov, Erhan, Vanhoucke, Rabinovich", 2014,
        "Going deeper with convolutions", "arXiv:1409.4842",
    ),
    "ioffe2015": Paper(
        "Ioffe, Szegedy", 2015,
        "Batch normalization: accelerating deep network training by reducing internal covariate shift",
        "arXiv:1502.03167",
    ),
    "hu2018": Paper(
        "Hu, Shen, Sun", 2018, "Squeeze-and-excitation networks", "arXiv:1709.01507",
    ),
}  # fmt: skip
